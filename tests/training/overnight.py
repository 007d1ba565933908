"""A training that is killed by ``test_faults.py``: saves after every step, prints what it ends in.

``python -m tests.training.overnight DIRECTORY [STEPS]``
"""

import hashlib
import pathlib
import sys

import jax
import jax.numpy as jnp
import numpy as np

from jaxopt_course.optimizers import adamw
from jaxopt_course.training import Checkpointing, EarlyStopping, Rows, fit
from jaxopt_course.transforms import ema_params

from .problems import N, blobs, build


def main(directory: pathlib.Path, steps: int) -> None:
    jax.config.update("jax_enable_x64", True)

    def say(record):
        print("step", record.step, flush=True)  # noqa: T201

    run = fit(
        build(None)[0],
        ema_params(adamw(0.01), 0.9),
        blobs(),
        key=jax.random.key(0),
        steps=steps,
        batch_size=9,
        rows=Rows(jnp.arange(40), jnp.ones(40), jnp.arange(40, N)),
        early_stopping=EarlyStopping(10**6),
        checkpoint=Checkpointing(directory / "checkpoints", every_steps=1, resume="auto"),
        log=directory / "log",
        segment=1,
        callbacks=[say],
    )
    digest = hashlib.sha256()
    run = run._replace(state=run.state._replace(key=jax.random.key_data(run.state.key)))
    for leaf in jax.tree.leaves(run):
        digest.update(np.asarray(leaf).tobytes())
    digest.update((directory / "log" / "history.jsonl").read_bytes())
    print("ends in", digest.hexdigest())  # noqa: T201


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]), int(sys.argv[2]))
