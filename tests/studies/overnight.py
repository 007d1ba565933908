"""A study that is killed by ``test_resume.py``: saves after every call, prints what it ends in.

``python -m tests.studies.overnight search|population DIRECTORY``
"""

import hashlib
import sys

import jax
import jax.numpy as jnp
import numpy as np

from jaxopt_course.optimizers import sgd

# Two private names: what is trained is counted, and saved after every call.
from jaxopt_course.studies import Float, _cohort, population_based_training, search
from jaxopt_course.studies import _table as tables
from jaxopt_course.training import make_training
from tests.training.problems import line, line_task


def slow(key, hyperparameters, rows):
    """Some milliseconds of work."""
    step = lambda x, _: (jnp.tanh(hyperparameters["gain"] * x @ x), None)
    x = jax.lax.scan(step, jax.random.normal(key, (64, 64)), None, length=100)[0]
    return jnp.sum(x**2)


def search_in(directory):
    tables.SECONDS, tables.SHARE = 0.0, 1e9
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
    return result, sum(result.chunks.values())


def population_in(directory):
    rounds, advance = [], _cohort.Cohort.advance

    def counted(self, points, end):
        rounds.append(end)
        return advance(self, points, end)

    _cohort.Cohort.advance = counted
    build = lambda hyperparameters: (line_task(), sgd(hyperparameters["rate"], momentum=0.9))
    result = population_based_training(
        make_training(build, line(), batch_size=4),
        {"rate": Float(1e-6, 1e-3, log=True)},
        key=jax.random.key(0),
        members=8,
        rounds=64,
        interval=20,
        resume=directory,
    )
    return result, len(rounds)


def main(study: str, directory: str) -> None:
    print("begins", flush=True)  # noqa: T201
    result, done = {"search": search_in, "population": population_in}[study](directory)
    digest = hashlib.sha256(result.points.tobytes() + result.scores.tobytes())
    print("pieces done:", done)  # noqa: T201
    print("ends in", digest.hexdigest(), np.isfinite(result.scores).sum())  # noqa: T201


if __name__ == "__main__":
    main(*sys.argv[1:])
