"""The points to evaluate and to take gradients at, through wrappers that lay leaves out anew."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxopt_course.optimizers import accelerated, nesterov, schedule_free_sgd, sgd
from jaxopt_course.transforms import (
    chain,
    ema_params,
    evaluation_params,
    flatten,
    lookahead_params,
    masked,
    packed,
    partition,
    split_real_and_imaginary,
)
from tests.tiers import everyday_first


RNG = np.random.default_rng(0)
REAL = {name: jnp.asarray(RNG.normal(size=(4, 3))) for name in "abc"}
COMPLEX = jax.tree.map(lambda x: jax.lax.complex(x, x[::-1]), REAL)
GROUPS = {"a": "moved", "b": "still", "c": "moved"}

OPTIMIZERS = {
    "nesterov": (nesterov(0.1), lookahead_params),
    "accelerated": (accelerated(sgd(0.1)), lookahead_params),
    "schedule_free": (schedule_free_sgd(0.1), evaluation_params),
    "ema_params": (ema_params(sgd(0.1), 0.9), evaluation_params),
}
LAYOUTS = {
    "flatten": (flatten, REAL),
    "packed": (packed, REAL),
    "split_real_and_imaginary": (split_real_and_imaginary, COMPLEX),
}


def point_after_steps(tx, point, params):
    """The point after three steps downhill on |w|^2 / 2, from gradients at the right places."""
    state = tx.init(params)
    for _ in range(3):
        grads = lookahead_params(state, params)
        updates, state = tx.update(grads, state, params)
        params = optax.apply_updates(params, updates)
    found = point(state, params)
    assert any((x != y).any() for x, y in zip(found.values(), params.values(), strict=True))
    return found


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", everyday_first(3, OPTIMIZERS))
def test_another_layout_has_the_same_points(name, layout):
    (tx, point), (wrap, params) = OPTIMIZERS[name], LAYOUTS[layout]
    wanted = point_after_steps(tx, point, params)
    chex.assert_trees_all_close(point_after_steps(wrap(tx), point, params), wanted, rtol=1e-12)


@pytest.mark.parametrize("layout", ["none", *LAYOUTS])
@pytest.mark.parametrize("name", everyday_first(4, OPTIMIZERS))
def test_a_group_has_points_of_its_own(name, layout):
    tx, point = OPTIMIZERS[name]
    wrap, params = LAYOUTS.get(layout, (lambda tx: tx, REAL))
    wanted = point_after_steps(tx, point, params)
    parts = partition({"moved": wrap(tx), "still": sgd(0.0)}, GROUPS)
    chex.assert_trees_all_close(
        point_after_steps(parts, point, params), wanted | {"b": params["b"]}, rtol=1e-12
    )


def test_two_groups_look_ahead_each_along_its_own_velocity():
    both = partition({"moved": nesterov(0.1, 0.9), "still": nesterov(0.2, 0.5)}, GROUPS)
    wanted = [
        point_after_steps(tx, lookahead_params, REAL) for tx in (nesterov(0.1), nesterov(0.2, 0.5))
    ]
    found = point_after_steps(both, lookahead_params, REAL)
    chex.assert_trees_all_close(found, wanted[0] | {"b": wanted[1]["b"]}, rtol=1e-12)


def test_one_parameter_looks_ahead_once():
    only = lambda name: {key: key == name for key in REAL}
    apart = chain(masked(nesterov(0.1), only("a")), masked(nesterov(0.1), only("b")))
    lookahead_params(apart.init(REAL), REAL)
    together = chain(masked(nesterov(0.1), only("a")), flatten(nesterov(0.1)))
    with pytest.raises(ValueError, match=r"once for each parameter, got two .* for \['a'\]"):
        lookahead_params(together.init(REAL), REAL)


@pytest.mark.parametrize("point", [evaluation_params, lookahead_params])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_without_another_point_the_parameters_stay_the_same_arrays(layout, point):
    wrap, params = LAYOUTS[layout]
    found = point(wrap(sgd(0.1)).init(params), params)
    assert all(found[name] is params[name] for name in params)
