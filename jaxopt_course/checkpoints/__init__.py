"""Checkpoints: a verified store of pytrees on disk, fingerprints, and safetensors files."""

from ._fingerprint import Fingerprint as Fingerprint
from ._fingerprint import data_fingerprint as data_fingerprint
from ._fingerprint import fingerprint as fingerprint
from ._manifest import CheckpointCorruptError as CheckpointCorruptError
from ._manifest import CheckpointError as CheckpointError
from ._manifest import CheckpointLockedError as CheckpointLockedError
from ._manifest import CheckpointMismatchError as CheckpointMismatchError
from ._manifest import CheckpointWarning as CheckpointWarning
from ._manifest import briefly as briefly
from ._safetensors import export_safetensors as export_safetensors
from ._safetensors import import_safetensors as import_safetensors
from ._store import Checkpoint as Checkpoint
from ._store import CheckpointInfo as CheckpointInfo
from ._store import CheckpointStore as CheckpointStore
