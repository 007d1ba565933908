"""What is known of a training before it starts: what its record and that of a search begin with."""

import dataclasses
import pathlib
import platform
from typing import Any

import flax
import jax
import numpy as np
import optax

from jaxopt_course._version import __version__
from jaxopt_course.data import Dataset, Split, hash_dataset

from ._options import TrainOptions


def describe_training(options: TrainOptions, dataset: Dataset, parts: Split) -> dict[str, Any]:
    """Options, data, versions and device, in a form that JSON can write."""
    config = {
        name: str(value) if isinstance(value, pathlib.Path) else value
        for name, value in dataclasses.asdict(
            dataclasses.replace(options, hyperparameters=dict(options.hyperparameters))
        ).items()
        if name not in ("config", "json", "overwrite")
    }
    if options.file is not None:
        config["file"] = str(options.file.resolve())
    return {
        "config": config,
        "dataset": {
            "name": dataset.name,
            "problem": dataset.problem,
            "sha256": hash_dataset(dataset),
            "feature_names": dataset.feature_names,
            "target_names": dataset.target_names,
        },
        "rows": dict(zip(("train", "validation", "test"), map(len, parts), strict=True)),
        "versions": describe_versions(),
        "device": str(jax.devices()[0].device_kind),
    }


def describe_versions() -> dict[str, str]:
    """Of all that figures depend on."""
    return {
        "jaxopt_course": __version__,
        "jax": jax.__version__,
        "flax": flax.__version__,
        "optax": optax.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
    }
