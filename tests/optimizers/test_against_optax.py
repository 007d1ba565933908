"""Updates equal to optax's, where optax has the optimizer, over 200 random steps."""

import jax
import numpy as np
import optax
import pytest

from jaxopt_course import optimizers, transforms
from tests.optimizers.trajectories import distance, updates_of


def decay(t):
    return optax.exponential_decay(0.1, 10, 0.9)(t)


PAIRS = {  # name of the factory -> arguments
    "sgd": [(0.1,), (0.1, 0.9), (0.1, 0.9, True), (decay, 0.9)],
    "adagrad": [(0.1,), (0.1, 0.0, 1e-8)],
    "rmsprop": [
        (0.1,),
        (0.1, 0.99, 1e-6, 0.5, False),
        (0.1, 0.9, 1e-8, 0.0, True, True),
        (0.1, 0.9, 1e-6, 1.0, False, True, 0.9, True, True),
        (decay, 0.9, 1e-8, 0.0, True, False, 0.9, False, True),
    ],
    "adam": [(0.1,), (decay, 0.8, 0.95, 1e-3, 1e-4)],
    "adamw": [(0.1,), (decay, 0.9, 0.999, 1e-8, 0.0, None, 0.1)],
    "amsgrad": [(0.1,), (0.1, 0.8, 0.95, 1e-3, 1e-4, None, False, False)],
    "lion": [(0.1,), (decay, 0.8, 0.95, None, 0.1)],
    "sign_sgd": [(0.1,)],
    "signum": [(0.1, 0.8)],
    "scale_by_adam": [()],
    "scale_by_rms": [()],
    "scale_by_rss": [()],
    "scale_by_stddev": [()],
    "trace": [(0.9,), (0.9, True)],
    "ema": [(0.9,), (0.9, False)],
    "add_decayed_weights": [(0.1,)],
    "clip": [(0.3,)],
    "clip_by_global_norm": [(0.3,)],
    "clip_by_block_rms": [(0.3,)],
    "scale": [(-0.3,)],
    "scale_by_schedule": [(decay,)],
    "scale_by_learning_rate": [(0.1,), (decay,)],
}
CASES = [(name, args) for name, variants in PAIRS.items() for args in variants]


def ours(name):
    return getattr(optimizers, name, None) or getattr(transforms, name)


@pytest.mark.parametrize(("name", "args"), CASES)
def test_updates_are_those_of_optax(name, args, standard_promotion):
    theirs = updates_of(getattr(optax, name)(*args))
    # rms and stddev of optax multiply by a reciprocal root; the last bits differ
    assert distance(updates_of(ours(name)(*args)), theirs) <= 1e-12


@pytest.mark.parametrize("name", ["adam", "adamw"])
def test_nesterov_updates_are_those_of_optax(name, standard_promotion):
    theirs = updates_of(getattr(optax, name)(0.1, nesterov=True))
    assert distance(updates_of(ours(name)(0.1, nesterov=True)), theirs) <= 1e-12


def test_a_running_mean_without_debiasing_is_ema_sgd(standard_promotion):
    theirs = optax.chain(optax.ema(0.9, debias=False), optax.scale(-0.1))
    assert distance(updates_of(optimizers.ema_sgd(0.1, 0.9)), updates_of(theirs)) <= 1e-12


@pytest.mark.parametrize("b2", [0.999, 0.9999, 0.99999])
@pytest.mark.parametrize("x64", [True, False])
def test_float32_is_no_further_from_the_truth_than_optax(x64, b2, standard_promotion):
    mine, theirs = ours("adam")(0.1, b2=b2), optax.adam(0.1, b2=b2)
    truth = updates_of(theirs)
    with jax.enable_x64(x64):
        mine, theirs = (distance(updates_of(tx, np.float32), truth) for tx in (mine, theirs))
    assert mine <= theirs + 1e-6, f"{mine:.1e} against {theirs:.1e}"


@pytest.mark.parametrize("name", ["sgd", "adagrad", "rmsprop"])
def test_the_others_too_are_as_near_in_float32(name, standard_promotion):
    mine, theirs = ours(name)(0.1), getattr(optax, name)(0.1)
    truth = updates_of(theirs)
    mine, theirs = (distance(updates_of(tx, np.float32), truth) for tx in (mine, theirs))
    assert mine <= theirs + 1e-6
