"""Floor 1: data sets, tables, files, splits, folds, scaling, batches, streams, augmentation."""

from ._affine import affine, resample
from ._augmentation import (
    Augmentation,
    compose,
    cutout,
    gaussian_noise,
    random_affine,
    random_flip,
)
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
from ._columns import column_labels, column_numbers, open_table
from ._dataset import Dataset, check_examples, check_features, hash_dataset
from ._download import download
from ._folds import Folds, bootstrap_weights, class_weights, k_fold
from ._idx import mnist, read_idx
from ._mixup import mixup
from ._scaling import Scaler, fit_scaler, scale_features, unscale_features
from ._split import Split, split
from ._streams import array_stream, padded_stream, prefetched
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
    "Augmentation",
    "BatchTable",
    "Dataset",
    "Folds",
    "Quadratic",
    "Scaler",
    "Split",
    "UnknownColumnError",
    "affine",
    "array_stream",
    "bootstrap_weights",
    "breast_cancer",
    "check_examples",
    "check_features",
    "class_weights",
    "column_labels",
    "column_numbers",
    "compose",
    "cutout",
    "diabetes",
    "digit_images",
    "digits",
    "download",
    "epoch_batches",
    "epoch_order",
    "fit_scaler",
    "gaussian_noise",
    "hash_dataset",
    "ill_conditioned_quadratic",
    "iris",
    "k_fold",
    "linear_regression",
    "load",
    "mixup",
    "mnist",
    "open_table",
    "padded_stream",
    "prefetched",
    "random_affine",
    "random_flip",
    "read_idx",
    "read_table",
    "resample",
    "scale_features",
    "spirals",
    "split",
    "teacher",
    "two_moons",
    "unscale_features",
    "wine",
]
