"""Checkpoints: a verified store of pytrees on disk, fingerprints, and safetensors files."""

from ._errors import CheckpointCorruptError as CheckpointCorruptError
from ._errors import CheckpointError as CheckpointError
from ._errors import CheckpointLockedError as CheckpointLockedError
from ._errors import CheckpointMismatchError as CheckpointMismatchError
from ._errors import CheckpointWarning as CheckpointWarning
from ._errors import briefly as briefly
from ._fingerprint import Fingerprint as Fingerprint
from ._fingerprint import data_fingerprint as data_fingerprint
from ._fingerprint import fingerprint as fingerprint
from ._safetensors import export_safetensors as export_safetensors
from ._safetensors import import_safetensors as import_safetensors
from ._store import Checkpoint as Checkpoint
from ._store import CheckpointInfo as CheckpointInfo
from ._store import CheckpointStore as CheckpointStore
