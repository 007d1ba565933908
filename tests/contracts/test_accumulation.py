"""Accumulated batches are one large batch: for every transformation, and under every wrapper.

k batches with unequal weights through ``MultiSteps(transformation)`` lead where one batch of all
their rows leads: the weighted mean of the gradients and of the losses, at once.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxopt_course import optimizers, transforms
from jaxopt_course.core import (
    GradientTransformationExtraArgs,
)
from jaxopt_course.transforms import (
    MultiSteps,
    evaluation_params,
)
from tests.catalogue import RECIPES, TRANSFORMATIONS, wrappers
from tests.catalogue.member import bowl, matrices


K, GROUPS = 3, 4
RNG = np.random.default_rng(0)
PARAMS = {"w": jnp.asarray(RNG.normal(size=(4, 3))), "b": jnp.asarray(RNG.normal(size=3))}
WEIGHTS = jnp.array([[1.0, 5.0, 2.0], [3.0, 0.0, 1.0], [0.5, 7.0, 7.0], [2.0, 2.0, 9.0]])
VALUES = jnp.asarray(RNG.uniform(1, 2, size=(GROUPS, K)))
GRADS = jax.tree.map(lambda p: jnp.asarray(RNG.normal(size=(GROUPS, K, *p.shape))), PARAMS)
# The two ways of taking a mean differ in rounding, which optimizers amplify a little.
TOLERANCE = 1e-6

CALL_VALUE_FN = {  # search or differentiate the loss itself, and the loss of the group is gone
    "hutchinson_estimator_diag_hessian",
    "lbfgs:line search",
    "newton_cg",
    "sam:opaque",
    "scale_by_newton_cg",
    "scale_by_sophia",
    "sophia",
}


def flat(x):
    return x.reshape(-1, *x.shape[2:])


def mean(x):
    weights = WEIGHTS.reshape(GROUPS, K, *[1] * (x.ndim - 2))
    return jnp.sum(x * weights, 1) / jnp.sum(weights, 1)


SMALL = jax.tree.map(flat, (GRADS, VALUES, WEIGHTS))
LARGE = (jax.tree.map(mean, GRADS), mean(VALUES), WEIGHTS.sum(1))


def end(tx, batches):
    """The parameters, and the averages if there are any, after the updates on ``batches``."""

    def step(carry, batch):
        params, state = carry
        grads, value, weight = batch
        offers = {"value": value, "grad": grads, "value_fn": bowl, "weight": weight}
        updates, state = tx.update(grads, state, params, **offers)
        return (transforms.apply_updates(params, updates), state), None

    def run(params, batches):
        params, state = jax.lax.scan(step, (params, tx.init(params)), batches)[0]
        return params, evaluation_params(state, params)

    return jax.jit(run)(PARAMS, batches)


def check(large, small):
    """``small``, which accumulates, leads where ``large`` does with one batch a group."""
    wanted, found = end(large, LARGE), end(small, SMALL)
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(y, x, rtol=TOLERANCE, atol=TOLERANCE), wanted, found
    )


def marked(name):
    everyday = name in ("adam", "sgd", "polyak_sgd", "reduce_on_plateau")
    return pytest.param(name, marks=() if everyday else pytest.mark.exhaustive)


@pytest.mark.parametrize("name", [marked(name) for name in TRANSFORMATIONS])
def test_accumulated_batches_are_one_large_batch(name):
    tx = TRANSFORMATIONS[name].build()
    if name in CALL_VALUE_FN:
        with pytest.raises(ValueError, match=r"larger `batch_size`"):
            end(MultiSteps(tx, K), SMALL)
    else:
        check(tx, MultiSteps(tx, K))


def vectors(tree):
    return jax.tree.map(lambda marked: not marked, matrices(tree))


def of_catalogue(name):
    """The wrapper of that name in the catalogue, around a transformation of ours."""
    member = wrappers.MEMBERS[name]
    argument = next(a for a in ("inner", "optimizer", "fast_optimizer") if a in member.fixed)
    return lambda inner: member._replace(fixed=member.fixed | {argument: inner}).build()


WRAPPERS = {
    name: of_catalogue(name)
    for name, member in wrappers.MEMBERS.items()
    if {"inner", "optimizer", "fast_optimizer"} & set(member.fixed)
} | {
    "chain": lambda inner: transforms.chain(inner, transforms.add_decayed_weights(0.1)),
    "named_chain": lambda inner: transforms.named_chain(
        ("inner", inner), ("ema", transforms.ema(0.5)), ("adam", optimizers.scale_by_adam())
    ),
    "plateau": lambda inner: transforms.chain(
        inner, transforms.reduce_on_plateau(0.5, patience=1, accumulation_size=2)
    ),
    # What a mask leaves out passes in every batch, as it is; here it is frozen.
    "masked": lambda inner: transforms.chain(
        transforms.masked(inner, matrices),
        transforms.masked(transforms.set_to_zero(), vectors),
    ),
    "partition": lambda inner: transforms.partition(
        {"vector": inner, "other": optimizers.sgd(0.0)}, wrappers.kinds
    ),
    "inject_hyperparams": lambda inner: transforms.inject_hyperparams(
        lambda factor: transforms.chain(inner, transforms.scale(factor))
    )(lambda t: 1 / (1 + jnp.asarray(t, float))),
    "schedule_free": lambda inner: optimizers.schedule_free(inner, 0.1),
    "accelerated": lambda inner: optimizers.accelerated(inner),
}
REFUSE = {"cautious", "conditionally_mask", "conditionally_transform"}  # each reads every gradient


def check_wrapped(wrap, tx, *, refused):
    """Both orders of ``wrap`` and an accumulation around ``tx``."""
    check(wrap(tx), MultiSteps(wrap(tx), K))
    if refused:
        with pytest.raises(ValueError, match="must not accumulate gradients"):
            end(wrap(MultiSteps(tx, K)), SMALL)
    else:
        check(wrap(tx), wrap(MultiSteps(tx, K)))


def marked_wrapper(name):
    everyday = name in ("ema_params", "plateau")
    return pytest.param(name, marks=() if everyday else pytest.mark.exhaustive)


@pytest.mark.parametrize("name", [marked_wrapper(name) for name in WRAPPERS])
def test_in_whichever_order_a_wrapper_is_put(name):
    check_wrapped(WRAPPERS[name], optimizers.adam(0.1), refused=name in REFUSE)


def can_be_combined(wrap, tx):
    try:
        jax.eval_shape(lambda: wrap(tx).init(PARAMS))
    except (ValueError, TypeError):
        return False
    return True


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", [n for n in RECIPES if n not in CALL_VALUE_FN])
def test_every_transformation_in_one_of_the_wrappers(name):
    """The wrappers take turns, so that each is around about ten transformations."""
    tx, turn = TRANSFORMATIONS[name].build(), list(TRANSFORMATIONS).index(name)
    names = list(WRAPPERS)[turn % len(WRAPPERS) :] + list(WRAPPERS)
    wrapper = next(each for each in names if can_be_combined(WRAPPERS[each], tx))
    check_wrapped(WRAPPERS[wrapper], tx, refused=wrapper in REFUSE)


# A check that nothing can fail is not a check.


def test_an_accumulation_that_ignores_weights_is_found():
    accumulation = MultiSteps(optimizers.sgd(0.1), K)

    def update(updates, state, params=None, weight=None, **extra_args):
        return accumulation.update(updates, state, params, **extra_args)

    with pytest.raises(AssertionError):
        check(optimizers.sgd(0.1), GradientTransformationExtraArgs(accumulation.init, update))


def test_the_value_of_the_last_batch_is_found():
    last = {}

    def outer(updates, state, params=None, *, value, **extra_args):
        last["value"] = value
        return accumulation.update(updates, state, params, value=value, **extra_args)

    def inner(updates, state, params=None, *, value, **extra_args):
        return polyak.update(updates, state, params, value=last["value"], **extra_args)

    polyak = optimizers.polyak_sgd(100.0)
    accumulation = MultiSteps(GradientTransformationExtraArgs(polyak.init, inner), K)
    with pytest.raises(AssertionError):
        check(polyak, GradientTransformationExtraArgs(accumulation.init, outer))


def test_an_average_over_every_batch_is_found():
    def average(inner):
        def update(updates, state, params=None, **extra_args):
            updates, own = inner.update(updates, state["inner"], params, **extra_args)
            point = transforms.apply_updates(params, updates)
            ema = jax.tree.map(lambda m, p: 0.5 * m + 0.5 * p, state["ema"], point)
            return updates, {"inner": own, "ema": ema}

        init = lambda params: {"inner": inner.init(params), "ema": params}
        return GradientTransformationExtraArgs(init, update)

    def mean_of(tx, batches):
        state = tx.init(PARAMS)
        for i in range(len(batches[1])):
            grads, value, weight = jax.tree.map(lambda x, i=i: x[i], batches)
            _, state = tx.update(grads, state, PARAMS, value=value, weight=weight)
        return state["ema"]["b"]

    sgd = optimizers.sgd(0.1)
    wanted = mean_of(average(sgd), LARGE)
    assert np.abs(mean_of(average(MultiSteps(sgd, K)), SMALL) - wanted).max() > TOLERANCE
