"""Updates equal to optax's, where optax has the optimizer, over 200 random steps."""

import jax
import numpy as np
import optax
import pytest

from jaxopt_course import optimizers, transforms
from tests.catalogue import PAIRS
from tests.optimizers.trajectories import distance, updates_of
from tests.tiers import everyday_first


CASES = [  # the last arguments of each are its richest
    pytest.param(name, args, marks=() if args is variants[-1] else pytest.mark.exhaustive)
    for name, variants in PAIRS.items()
    for args in variants
]


def ours(name):
    return getattr(optimizers, name, None) or getattr(transforms, name)


@pytest.mark.parametrize(("name", "args"), CASES)
def test_updates_are_those_of_optax(name, args, standard_promotion):
    """``args``: positional ones as a tuple, or a dict of keywords."""
    build = lambda factory: factory(**args) if isinstance(args, dict) else factory(*args)
    theirs = updates_of(build(getattr(optax, name, None) or getattr(optax.contrib, name)))
    # rms and stddev of optax multiply by a reciprocal root; the last bits differ
    # Alone, the trust ratio makes parameters grow to 1e30 in 200 steps, and rounding with them.
    tolerance = 1e-4 if name == "scale_by_trust_ratio" else 1e-12
    assert distance(updates_of(build(ours(name))), theirs) <= tolerance


def test_a_running_mean_without_debiasing_is_ema_sgd(standard_promotion):
    theirs = optax.chain(optax.ema(0.9, debias=False), optax.scale(-0.1))
    assert distance(updates_of(optimizers.ema_sgd(0.1, 0.9)), updates_of(theirs)) <= 1e-12


@pytest.mark.parametrize("b2", everyday_first(1, [0.999, 0.9999, 0.99999]))
@pytest.mark.parametrize("x64", [True, False])
def test_float32_is_no_further_from_the_truth_than_optax(x64, b2, standard_promotion):
    mine, theirs = ours("adam")(0.1, b2=b2), optax.adam(0.1, b2=b2)
    truth = updates_of(theirs)
    with jax.enable_x64(x64):
        mine, theirs = (distance(updates_of(tx, dtype=np.float32), truth) for tx in (mine, theirs))
    assert mine <= theirs + 1e-6, f"{mine:.1e} against {theirs:.1e}"


@pytest.mark.parametrize("name", ["sgd", "adagrad", "rmsprop"])
def test_the_others_too_are_as_near_in_float32(name, standard_promotion):
    mine, theirs = ours(name)(0.1), getattr(optax, name)(0.1)
    truth = updates_of(theirs)
    mine, theirs = (distance(updates_of(tx, dtype=np.float32), truth) for tx in (mine, theirs))
    assert mine <= theirs + 1e-6
