"""Floor 4: trainings. One step function, compiled whole (`make_train`) or in pieces (`fit`)."""

from ._bundle import Bundle, Predictions, apply_bundle, load_bundle, save_bundle
from ._early_stopping import EarlyStopping, EarlyStoppingState
from ._evaluate import evaluate, predict
from ._fit import Record, fit
from ._minimize import MinimizeOutcome, Minimum, describe_minimum, minimize
from ._population import make_population
from ._state import Outcome, OutcomeCode, Rows, Run, TrainState, describe_outcome
from ._step import init_state, make_step
from ._train import make_train


__all__ = [
    "Bundle",
    "EarlyStopping",
    "EarlyStoppingState",
    "MinimizeOutcome",
    "Minimum",
    "Outcome",
    "OutcomeCode",
    "Predictions",
    "Record",
    "Rows",
    "Run",
    "TrainState",
    "apply_bundle",
    "describe_minimum",
    "describe_outcome",
    "evaluate",
    "fit",
    "init_state",
    "load_bundle",
    "make_population",
    "make_step",
    "make_train",
    "minimize",
    "predict",
    "save_bundle",
]
