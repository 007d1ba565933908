"""A training whose loss is finite and whose gradient is NaN: the step, the row, the line."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

import jaxopt_course as jc


class Embedding(nn.Module):
    """Two layers that embed both members of a pair; their distance is the prediction."""

    safe: bool = False

    @nn.compact
    def __call__(self, pairs):
        hidden = nn.relu(nn.Dense(16, name="first")(pairs))
        left, right = jnp.moveaxis(nn.Dense(4, name="second")(hidden), 1, 0)
        squares = jnp.sum((left - right) ** 2, axis=-1, keepdims=True)
        if self.safe:  # the slope of sqrt(x) at 0 is infinite, that of sqrt(x + eps) is not
            return jnp.sqrt(squares + 1e-12)
        return jnp.sqrt(squares)


rng = np.random.default_rng(0)
pairs = rng.normal(size=(512, 2, 8)).astype(np.float32)
pairs[123, 1] = pairs[123, 0]  # a duplicate, as real data have it
distances = np.linalg.norm(pairs[:, 0] - pairs[:, 1], axis=-1, keepdims=True)
options = {"key": jax.random.key(0), "epochs": 20, "batch_size": 32, "progress": False}


def task(*, safe):
    """The regression of the distance."""
    return jc.linen_task(Embedding(safe), pairs[:1], jc.problems.problem("regression"))


found = None
try:
    jc.fit(task(safe=False), jc.adam(1e-2), (pairs, distances), on_divergence="raise", **options)
except jc.training.DivergenceError as error:
    found = error
print(found)

watched = {"key": options["key"], "steps": found.step + 1, "batch_size": 32}
report = jc.diagnostics.watch(task(safe=False), jc.adam(1e-2), (pairs, distances), **watched)
print(report)

run = jc.fit(task(safe=True), jc.adam(1e-2), (pairs, distances), **options)
print(run)

assert (found.part, found.rows) == ("gradient", [123])
assert found.origin.endswith("(Embedding.__call__)")
assert report.first_bad_step == found.step
assert run.history["loss"][-1] < 0.5 * run.history["loss"][0]
