"""A study that is killed by ``test_resume.py``: saves after every call, prints what it ends in.

``python -m tests.studies.overnight DIRECTORY``
"""

import hashlib
import sys

import jax
import jax.numpy as jnp
import numpy as np

from jaxopt_course.studies import Float, search
from jaxopt_course.studies import _table as tables


def slow(key, hyperparameters, rows):
    """Some milliseconds of work."""
    step = lambda x, _: (jnp.tanh(hyperparameters["gain"] * x @ x), None)
    x = jax.lax.scan(step, jax.random.normal(key, (64, 64)), None, length=100)[0]
    return jnp.sum(x**2)


def main(directory: str) -> None:
    tables.SECONDS, tables.SHARE = 0.0, 1e9
    print("begins", flush=True)  # noqa: T201
    result = search(
        slow,
        {"gain": Float(0.1, 1.0)},
        key=jax.random.key(0),
        trials=64,
        seeds=2,
        metric=lambda score: score,
        strategy="map",
        resume=directory,
    )
    digest = hashlib.sha256(result.points.tobytes() + result.scores.tobytes())
    print("trainings done:", sum(result.chunks.values()))  # noqa: T201
    print("ends in", digest.hexdigest(), np.isfinite(result.scores).sum())  # noqa: T201


if __name__ == "__main__":
    main(sys.argv[1])
