"""Floor 1: data sets, tables, synthetic problems, splits, scaling, and batches on the device."""

from ._batches import BatchTable, epoch_batches, epoch_order
from ._bundled import (
    DATASETS,
    breast_cancer,
    diabetes,
    digit_images,
    digits,
    iris,
    load,
    wine,
)
from ._dataset import Dataset, check_examples, check_features, hash_dataset
from ._scaling import Scaler, fit_scaler, scale_features, unscale_features
from ._split import Split, split
from ._synthetic import (
    Quadratic,
    ill_conditioned_quadratic,
    linear_regression,
    spirals,
    teacher,
    two_moons,
)
from ._table import UnknownColumnError, read_table


__all__ = [
    "DATASETS",
    "BatchTable",
    "Dataset",
    "Quadratic",
    "Scaler",
    "Split",
    "UnknownColumnError",
    "breast_cancer",
    "check_examples",
    "check_features",
    "diabetes",
    "digit_images",
    "digits",
    "epoch_batches",
    "epoch_order",
    "fit_scaler",
    "hash_dataset",
    "ill_conditioned_quadratic",
    "iris",
    "linear_regression",
    "load",
    "read_table",
    "scale_features",
    "spirals",
    "split",
    "teacher",
    "two_moons",
    "unscale_features",
    "wine",
]
