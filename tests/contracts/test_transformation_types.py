"""Transformations have optax's two types: what is built takes extra arguments."""

import jax
import jax.numpy as jnp
import optax
import pytest

import jaxopt_course as jc
from jaxopt_course import core, transforms
from jaxopt_course.tasks import function_task
from tests.catalogue import TRANSFORMATIONS
from tests.catalogue.member import bowl


def of_a_user():
    """Gradient descent as a user writes it: ``update`` takes no extra arguments."""
    init = lambda params: jc.EmptyState()
    descend = lambda updates, state, params=None: (jax.tree.map(lambda g: -0.1 * g, updates), state)
    return jc.GradientTransformation(init, descend)


def replaced(value):
    """``value`` with every transformation in it replaced by the user's."""
    if isinstance(value, optax.GradientTransformation):
        return of_a_user()
    if isinstance(value, dict):
        return {name: replaced(part) for name, part in value.items()}
    return value


def holds_one(value):
    values = value.values() if isinstance(value, dict) else [value]
    return any(isinstance(part, optax.GradientTransformation) for part in values)


WRAPPERS = {
    name: member
    for name, member in TRANSFORMATIONS.items()
    if any(holds_one(value) for value in member.fixed.values())
}


def test_the_names_are_optaxs_own_types():
    """That every transformation is of the second one is asserted by test_transformations."""
    assert jc.GradientTransformation is optax.GradientTransformation
    for package in (jc, core):
        assert package.GradientTransformationExtraArgs is optax.GradientTransformationExtraArgs


def check_steps(tx):
    params, grads = {"w": jnp.ones((2, 3))}, {"w": jnp.full((2, 3), 0.5)}
    offered = {"value": bowl(params), "grad": grads, "value_fn": bowl}
    update = jax.jit(lambda grads, state, params: tx.update(grads, state, params, **offered))
    updates, _ = update(grads, tx.init(params), params)
    assert jax.tree.structure(updates) == jax.tree.structure(params)


@pytest.mark.parametrize("name", WRAPPERS)
def test_wrappers_accept_a_users_own(name):
    member = WRAPPERS[name]
    fixed = {argument: replaced(value) for argument, value in member.fixed.items()}
    check_steps(member._replace(fixed=fixed).build())


@pytest.mark.parametrize(
    "compose",
    [
        lambda own: transforms.chain(transforms.clip(1.0), own),
        lambda own: transforms.named_chain(("own", own)),
        lambda own: transforms.monitor({"own": own}),
        lambda own: transforms.inject_hyperparams(lambda rate: own)(0.1),
    ],
    ids=["chain", "named_chain", "monitor", "inject_hyperparams"],
)
def test_compositions_accept_a_users_own(compose):
    check_steps(compose(of_a_user()))


def test_trainings_accept_a_users_own():
    model = lambda params, x: x @ params["w"]
    task = function_task(
        lambda key: {"w": jnp.ones((1, 1))}, model, jc.problems.problem("regression")
    )
    x, key = jnp.ones((4, 1)), jax.random.key(0)
    result = jc.fit(task, of_a_user(), (x, 0 * x), key=key, epochs=20, batch_size=2, progress=False)
    assert float(jnp.abs(result.state.params["w"]).max()) < 0.01
    assert float(jc.minimize(bowl, jnp.ones(2), of_a_user()).value) < 1e-9
    assert jc.minimization.trajectory(bowl, jnp.ones(2), of_a_user(), 3).shape[0] == 4


@pytest.mark.parametrize("name", WRAPPERS)
@pytest.mark.parametrize("bad", [None, 0.1, jc.sgd, (lambda p: (), lambda u, s: (u, s))])
def test_wrappers_refuse_what_is_not_a_transformation(name, bad, as_users_run_it):
    member = WRAPPERS[name]
    for argument, value in member.fixed.items():
        if bad is None and argument in ("grafting", "linesearch", "hessian_diagonal_fn"):
            continue  # where None has a meaning
        if isinstance(value, optax.GradientTransformation):
            with pytest.raises(TypeError, match="must be a gradient transformation, got") as error:
                member._replace(fixed=member.fixed | {argument: bad}).build()
            assert ("Was it meant to be called?" in str(error.value)) == (bad is jc.sgd)
