"""Annealed gradient noise: u_t = g_t + z_t, with z_t normal of variance eta / t^gamma.

Reference: Neelakantan et al., "Adding Gradient Noise Improves Learning for Very Deep Networks",
2015, https://arxiv.org/abs/1511.06807, equation 1 (there with 1 + t, t from 0).
"""

import warnings
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, Key, ScalarLike

from jaxopt_course.core import GradientTransformationExtraArgs, checks, numerics, own_key, tree


class AddNoiseState(NamedTuple):
    """State of :func:`add_noise`.

    count: number of updates, int32[].
    rng_key: the key of the next noise.
    """

    count: Int[Array, ""]
    rng_key: Key[Array, ""]


def add_noise(
    eta: ScalarLike,
    gamma: ScalarLike,
    key: jax.Array | int | None = None,
    *,
    seed: int | None = None,
) -> GradientTransformationExtraArgs:
    """Add normal noise whose variance decays as ``eta / t^gamma``, with t from 1.

    Args:
        eta: variance in the first step, in [0, inf). The paper uses 0.01, 0.3 and 1.
        gamma: exponent of the decay, in [0, inf). The paper uses 0.55.
        key: a typed key, or an int as its seed. Omitting it is deprecated and means 0.
        seed: deprecated name of an int ``key``.

    Examples:
        >>> tx, zeros = add_noise(eta=0.01, gamma=0.55, key=jax.random.key(0)), jnp.zeros(10_000)
        >>> round(float(jnp.std(tx.update(zeros, tx.init(zeros))[0])), 2)
        0.1
    """
    checks.numbers("add_noise", "[0, inf)", eta=eta, gamma=gamma)
    if seed is not None:
        warnings.warn("add_noise: use `key`, not `seed`.", DeprecationWarning, stacklevel=2)
        if key is not None:
            raise ValueError("add_noise: give `key` or `seed`, not both.")
        key = seed
    if key is None:
        warnings.warn("add_noise: `key` is missing, 0 is used.", stacklevel=2)
        key = 0

    def init(params):
        return AddNoiseState(jnp.zeros((), jnp.int32), own_key(key))

    def update(updates, state, params=None, **extra_args):
        checks.state("add_noise", state, AddNoiseState)
        checks.floats("add_noise", "gradient", updates)
        count = numerics.safe_increment(state.count)
        deviation = numerics.safe_sqrt(
            numerics.as_float(eta) / numerics.as_float(count) ** numerics.as_float(gamma)
        )
        next_key, now = jax.random.split(state.rng_key)
        leaves, structure = jax.tree.flatten(updates)
        noise = [
            jax.random.normal(own, jnp.shape(leaf), numerics.wide_dtype(jnp.result_type(leaf)))
            for own, leaf in zip(jax.random.split(now, len(leaves)), leaves, strict=True)
        ]
        noisy = tree.running_sum(jax.tree.unflatten(structure, noise), updates, deviation)
        return tree.cast_like(noisy, updates), AddNoiseState(count, next_key)

    return GradientTransformationExtraArgs(init, update)
