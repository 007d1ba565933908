"""Every optimizer of the catalogue finds a minimum, most of them that of a bowl."""

import functools
import inspect
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import pytest

from jaxopt_course import optimizers as o
from jaxopt_course.regularizers import prox_l1
from jaxopt_course.schedules import exponential_decay, linear_schedule
from jaxopt_course.surfaces import beale, rosenbrock
from jaxopt_course.transforms import chain, evaluation_params, lookahead_params, normalize
from tests.catalogue import TRANSFORMATIONS, factory_name


def bowl(params):
    return sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(params))


def game(params):
    """The gradient field of min over x, max over y of x y, out of which plain descent spirals."""
    x, y = params
    return jnp.stack([y, -x])


def near(point):
    return lambda params: jnp.sum((params - jnp.array(point)) ** 2) / 2


def ravine(params):
    return jnp.sum(jnp.array([[1.0, 10.0], [100.0, 1000.0]]) * params**2) / 2


class Case(NamedTuple):
    """From ``start`` at most ``bound`` away from ``end`` in ``steps`` steps."""

    tx: Any
    steps: int
    bound: float
    start: Any = (3.0, -2.0)
    end: Any = 0.0
    loss: Any = bowl
    gradient: Any = None


LASSO = functools.partial(prox_l1, strength=1.0)
TO_SPARSE = {"start": (3.0, 2.0), "end": (1.0, 0.0), "loss": near((2.0, 0.5))}
MATRIX = ((3.0, 1.0), (1.0, -2.0))

CASES = {
    "accelerated": Case(o.accelerated(o.sgd(0.1)), 200, 1e-2),
    "acprop": Case(o.acprop(0.1), 300, 1e-2),
    "adabelief": Case(o.adabelief(0.1), 300, 1e-2),
    "adadelta": Case(o.adadelta(eps=1e-3), 200, 1e-2, (0.3, -0.2)),
    "adafactor": Case(o.adafactor(0.3), 200, 1e-2),
    "adagrad": Case(o.adagrad(1.0, 0.0, 1e-8), 200, 1e-3),
    "adagrad_norm": Case(o.adagrad_norm(1.0), 200, 1e-3),
    "adam": Case(o.adam(0.1), 200, 1e-2),
    "adam_l2": Case(o.adam_l2(0.1, weight_decay=0.1), 200, 1e-2),
    "adam_mini": Case(o.adam_mini(0.1), 200, 1e-2, ((3.0, -2.0), (1.0, 0.5))),
    "adamax": Case(o.adamax(0.1), 300, 1e-2),
    "adamaxw": Case(o.adamaxw(0.1, weight_decay=0.1), 300, 1e-2),
    "adamw": Case(o.adamw(0.1, weight_decay=0.1), 200, 1e-2),
    "adan": Case(o.adan(0.1, as_published=True), 500, 1e-2),
    "ademamix": Case(o.ademamix(0.03, b3=0.99), 500, 1e-2),
    "adopt": Case(o.adopt(0.1, b2=0.99), 300, 1e-2),
    "amsgrad": Case(o.amsgrad(0.1), 300, 1e-2),
    "dadapt_adamw": Case(o.dadapt_adamw(), 500, 1e-2),
    "delta_bar_delta": Case(o.delta_bar_delta(0.01), 200, 1e-4),
    "dion": Case(o.dion(linear_schedule(0.2, 0.0, 200)), 200, 2e-2, {"w": MATRIX, "b": (1.0, 1.0)}),
    "dog": Case(o.dog(), 200, 1e-2),
    "dowg": Case(o.dowg(), 200, 1e-2),
    "ema_sgd": Case(o.ema_sgd(0.1), 200, 1e-2),
    "fista": Case(o.fista(LASSO, 0.1), 200, 5e-5, **TO_SPARSE),
    "fromage": Case(o.fromage(0.1), 200, 1e-3),
    "ftrl": Case(o.ftrl(1.0), 200, 1e-3),
    "heavy_ball": Case(o.heavy_ball(0.1), 200, 1e-2),
    "ista": Case(o.ista(LASSO, 0.1), 200, 5e-5, **TO_SPARSE),
    "kl_shampoo": Case(
        o.kl_shampoo(linear_schedule(0.3, 0.0, 300), initial_eigenvalue=10.0),
        300,
        1e-2,
        ((1.0, 1.0), (1.0, 1.0)),
        loss=ravine,
    ),
    "kl_soap": Case(
        o.kl_soap(linear_schedule(0.3, 0.0, 300)), 300, 1e-2, ((1.0, 1.0), (1.0, 1.0)), loss=ravine
    ),
    "lamb": Case(o.lamb(0.1), 300, 1e-2),
    "lars": Case(o.lars(0.1, trust_coefficient=0.2), 200, 1e-3),
    "lbfgs": Case(o.lbfgs(), 40, 1e-3, (-1.2, 1.0), (1.0, 1.0), rosenbrock),
    "lion": Case(o.lion(linear_schedule(0.1, 0.0, 200)), 200, 1e-2),
    "madgrad": Case(o.madgrad(0.5), 300, 1e-2),
    "mars": Case(o.mars(0.1), 500, 1e-2),
    "muon": Case(o.muon(linear_schedule(0.2, 0.0, 200)), 200, 1e-2, {"w": MATRIX, "b": (1.0, 1.0)}),
    "nadam": Case(o.nadam(0.1), 200, 1e-2),
    "nadamw": Case(o.nadamw(0.1, weight_decay=0.1), 200, 1e-2),
    "nesterov": Case(o.nesterov(0.1, momentum=0.5), 100, 1e-6),
    "newton_cg": Case(o.newton_cg(), 15, 1e-4, (1.0, 1.0), (3.0, 0.5), beale),
    "normuon": Case(
        o.normuon(linear_schedule(0.2, 0.0, 200)), 200, 1e-2, {"w": MATRIX, "b": (1.0, 1.0)}
    ),
    "noisy_sgd": Case(o.noisy_sgd(0.1, key=jax.random.key(0)), 200, 0.1),
    "novograd": Case(o.novograd(linear_schedule(0.1, 0.0, 200)), 200, 1e-1),
    "optimistic_adam_v2": Case(o.optimistic_adam_v2(0.1), 300, 1e-2),
    "optimistic_gradient_descent": Case(
        o.optimistic_gradient_descent(0.3), 300, 1e-2, gradient=game
    ),
    "polyak_sgd": Case(o.polyak_sgd(), 20, 1e-5),
    "prodigy": Case(o.prodigy(), 500, 1e-2),
    "proximal_adam": Case(o.proximal_adam(LASSO, 0.1), 400, 5e-4, **TO_SPARSE),
    "psgd_kron": Case(
        o.psgd_kron(linear_schedule(0.1, 0.0, 300), key=0),
        300,
        1e-2,
        ((1.0, 1.0), (1.0, 1.0)),
        loss=ravine,
    ),
    "radam": Case(o.radam(0.1), 300, 1e-2),
    "rmsprop": Case(o.rmsprop(exponential_decay(0.3, 50, 0.5)), 300, 1e-2),
    "rprop": Case(o.rprop(0.1), 100, 1e-4),
    "sam": Case(o.sam(o.sgd(0.1), chain(normalize(), o.sgd(0.05)), opaque_mode=True), 50, 0.05),
    "schedule_free": Case(o.schedule_free(o.sgd(0.5), 0.5), 200, 1e-2),
    "schedule_free_adamw": Case(o.schedule_free_adamw(0.3), 300, 1e-2),
    "schedule_free_plus": Case(o.schedule_free_plus(2.0, 0.5, weight_power=2.0), 200, 1e-2),
    "schedule_free_sgd": Case(o.schedule_free_sgd(0.5, warmup_steps=10), 200, 1e-2),
    "scion": Case(
        o.scion(linear_schedule(0.2, 0.0, 200), beta=0.5), 200, 1e-2, {"w": MATRIX, "b": (1.0, 1.0)}
    ),
    "sgd": Case(o.sgd(0.1, momentum=0.5), 100, 1e-6),
    "sgdw": Case(o.sgdw(0.1, momentum=0.5, weight_decay=0.1), 100, 1e-6),
    "shampoo": Case(o.shampoo(2.0), 300, 1e-2, ((1.0, 1.0), (1.0, 1.0)), loss=ravine),
    "sign_sgd": Case(o.sign_sgd(linear_schedule(0.1, 0.0, 200)), 200, 1e-2),
    "signum": Case(o.signum(linear_schedule(0.1, 0.0, 200)), 200, 1e-1),
    "simplified_ademamix": Case(
        o.simplified_ademamix(exponential_decay(0.01, 100, 0.5), b1=0.9, alpha=5.0), 1000, 1e-2
    ),
    "sm3": Case(o.sm3(1.0, momentum=0.5), 200, 1e-3),
    "soap": Case(
        o.soap(linear_schedule(0.3, 0.0, 300)), 300, 1e-2, ((1.0, 1.0), (1.0, 1.0)), loss=ravine
    ),
    "soap_muon": Case(o.soap_muon(exponential_decay(0.3, 30, 0.5)), 300, 1e-2),
    "sophia": Case(
        o.sophia(0.1, gamma=1.0), 400, 4e-3, loss=lambda w: (w[0] ** 2 + 1000 * w[1] ** 2) / 2
    ),
    "splus": Case(
        o.splus(linear_schedule(0.3, 0.0, 300), 0.5, ema_rate=0.5, inverse_every=5),
        300,
        1e-2,
        ((1.0, 1.0), (1.0, 1.0)),
        loss=ravine,
    ),
    "yogi": Case(o.yogi(0.1), 300, 1e-2),
}
NO_OPTIMIZER = {"hutchinson_estimator_diag_hessian", "trace_lookahead"}


def test_every_optimizer_of_the_catalogue_has_a_case():
    names = {factory_name(name) for name in TRANSFORMATIONS}
    of_optimizers = {name for name in names if inspect.isfunction(getattr(o, name, None))}
    scalings = {name for name in of_optimizers if name.startswith("scale_by_")}
    assert set(CASES) == of_optimizers - scalings - NO_OPTIMIZER


@pytest.mark.parametrize("name", CASES)
def test_it_finds_the_minimum(name):
    case = CASES[name]
    start = jax.tree.map(jnp.array, case.start, is_leaf=lambda x: isinstance(x, tuple))

    def step(carry, _):
        params, state = carry
        ahead = lookahead_params(state, params)
        value, grads = jax.value_and_grad(case.loss)(ahead)
        if case.gradient is not None:
            grads = case.gradient(ahead)
        offers = {"value": value, "grad": grads, "value_fn": case.loss}
        updates, state = case.tx.update(grads, state, params, **offers)
        return (jax.tree.map(jnp.add, params, updates), state), None

    @jax.jit
    def last(params):
        (params, state), _ = jax.lax.scan(step, (params, case.tx.init(params)), length=case.steps)
        return evaluation_params(state, params)

    for leaf in jax.tree.leaves(last(start)):
        assert jnp.linalg.norm(leaf - jnp.array(case.end)) <= case.bound


def test_ftrl_holds_back_an_entry_whose_gradient_is_noise():
    tx, params = o.ftrl(1.0, l1=1.0), jnp.array([3.0, 0.0])
    state, update = tx.init(params), jax.jit(tx.update)
    for t in range(200):
        updates, state = update(jnp.array([2 * params[0], 0.9 * (-1) ** t]), state, params)
        params = params + updates
    assert abs(params[0]) < 1e-3
    assert params[1] == 0
