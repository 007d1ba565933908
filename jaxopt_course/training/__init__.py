"""Floor 4: trainings. One step function, compiled whole (`make_train`) or in pieces (`fit`)."""

from ._bundle import Bundle, Predictions, apply_bundle, load_bundle, save_bundle
from ._checkpoint_errors import (
    CheckpointCorruptError,
    CheckpointError,
    CheckpointLockedError,
    CheckpointMismatchError,
    CheckpointWarning,
)
from ._checkpoints import Checkpoint, CheckpointInfo, CheckpointStore
from ._divergence import DivergenceError
from ._early_stopping import EarlyStopping, EarlyStoppingState
from ._evaluate import evaluate, predict
from ._fingerprint import Fingerprint, fingerprint
from ._fit import fit
from ._memory_plan import MemoryPlan, describe_plan, plan
from ._minimize import MinimizeOutcome, Minimum, describe_minimum, minimize
from ._population import make_population
from ._resume import Checkpointing
from ._safetensors import export_safetensors, import_safetensors
from ._session import Record
from ._sharding import batch_sharding, state_shardings
from ._stages import Stages, make_stages
from ._state import Outcome, OutcomeCode, Rows, Run, TrainState, describe_outcome
from ._step import init_state, make_step
from ._train import make_train
from ._trajectory import trajectory


__all__ = [
    "Bundle",
    "Checkpoint",
    "CheckpointCorruptError",
    "CheckpointError",
    "CheckpointInfo",
    "CheckpointLockedError",
    "CheckpointMismatchError",
    "CheckpointStore",
    "CheckpointWarning",
    "Checkpointing",
    "DivergenceError",
    "EarlyStopping",
    "EarlyStoppingState",
    "Fingerprint",
    "MemoryPlan",
    "MinimizeOutcome",
    "Minimum",
    "Outcome",
    "OutcomeCode",
    "Predictions",
    "Record",
    "Rows",
    "Run",
    "Stages",
    "TrainState",
    "apply_bundle",
    "batch_sharding",
    "describe_minimum",
    "describe_outcome",
    "describe_plan",
    "evaluate",
    "export_safetensors",
    "fingerprint",
    "fit",
    "import_safetensors",
    "init_state",
    "load_bundle",
    "make_population",
    "make_stages",
    "make_step",
    "make_train",
    "minimize",
    "plan",
    "predict",
    "save_bundle",
    "state_shardings",
    "trajectory",
]
