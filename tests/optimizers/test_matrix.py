"""Shampoo, SOAP and Adam-mini against formulas in NumPy, and what all methods of matrices keep."""

import functools
import string

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxopt_course.optimizers import (
    adam,
    adam_mini,
    muon,
    sam,
    scale_by_muon,
    scale_by_shampoo,
    scale_by_soap,
    sgd,
    shampoo,
    soap,
    sophia,
)
from jaxopt_course.schedules import cosine_decay_schedule
from jaxopt_course.transforms import chain, normalize, scale_by_learning_rate
from tests.optimizers.trajectories import GRADIENTS, STEPS, alone, distance, flat
from tests.tiers import everyday_first


KERNELS = GRADIENTS["dense"]["kernel"]
TENSORS = np.random.default_rng(2).normal(size=(STEPS, 3, 2, 4))


# In NumPy, from the papers.


def along(x, matrix, axis):
    """Multiply every fibre of ``x`` along ``axis`` by the matrix."""
    letters = string.ascii_lowercase[: x.ndim]
    new = letters.replace(letters[axis], "z")
    return np.einsum(f"{letters},z{letters[axis]}->{new}", x, matrix)


def unfolded(x, axis):
    return np.moveaxis(x, axis, 0).reshape(x.shape[axis], -1)


def power(matrix, exponent):
    values, vectors = np.linalg.eigh(matrix)
    return vectors @ np.diag(values**exponent) @ vectors.T


def shampoo_by_hand(grads, rate, eps, period=1):
    updates, k = [], grads.ndim - 1
    factors = [eps * np.eye(n) for n in grads.shape[1:]]
    for t, g in enumerate(grads):
        factors = [h + unfolded(g, i) @ unfolded(g, i).T for i, h in enumerate(factors)]
        if t % period == 0:
            roots = [power(h, -1 / (2 * k)) for h in factors]
        for i, root in enumerate(roots):
            g = along(g, root, i)
        updates.append(-rate * g)
    return flat(np.stack(updates))


@pytest.mark.parametrize("grads", [KERNELS, TENSORS])
@pytest.mark.parametrize("period", [1, 7])
def test_shampoo_is_its_formula(grads, period):
    """Gupta et al., algorithms 1 and 2."""
    theirs = shampoo_by_hand(grads, 0.1, 1e-2, period)
    assert distance(alone(shampoo(0.1, 1e-2, period), grads), theirs) <= 1e-10


def test_shampoo_of_vectors_and_scalars_is_adagrad():
    grads = GRADIENTS["dense"]["bias"]
    theirs = -0.1 * grads / np.sqrt(1e-2 + np.cumsum(grads**2, axis=0))
    assert distance(alone(shampoo(0.1, 1e-2), grads), theirs) <= 1e-12
    assert distance(alone(shampoo(0.1, 1e-2), grads[:, 0]), theirs[:, :1]) <= 1e-12


def test_a_long_axis_of_shampoo_keeps_the_diagonal_of_its_factor():
    """Axes of 4 and 3: the one of 4 has a diagonal, the one of 3 a full factor."""
    left, right, updates = np.full(4, 1e-2), 1e-2 * np.eye(3), []
    for g in KERNELS:
        left, right = left + np.sum(g**2, axis=1), right + g.T @ g
        updates.append(-0.1 * left[:, None] ** -0.25 * g @ power(right, -0.25))
    ours = alone(shampoo(0.1, 1e-2, max_precond_dim=3), KERNELS)
    assert distance(ours, flat(np.stack(updates))) <= 1e-10


def soap_by_hand(grads, rate, b1, b2, eps, frequency):
    shape = grads.shape[1:]
    mean, squares, updates = np.zeros(shape), np.zeros(shape), []
    factors = [np.zeros((n, n)) for n in shape]
    turned = lambda x: functools.reduce(lambda y, iq: along(y, iq[1].T, iq[0]), enumerate(bases), x)
    for t, g in enumerate(grads):
        update = np.zeros(shape)
        if t > 0:
            mean = b1 * mean + (1 - b1) * g
            squares = b2 * squares + (1 - b2) * turned(g) ** 2
            step = turned(mean) / (1 - b1**t) / (np.sqrt(squares / (1 - b2**t)) + eps)
            for i, q in enumerate(bases):
                step = along(step, q, i)
            update = -rate * step
        factors = [
            b2 * h + (1 - b2) * unfolded(g, i) @ unfolded(g, i).T for i, h in enumerate(factors)
        ]
        if t == 0:
            bases = [np.linalg.eigh(h)[1][:, ::-1] for h in factors]
        elif t % frequency == 0:
            bases = [np.linalg.qr(h @ q)[0] for h, q in zip(factors, bases, strict=True)]
        updates.append(update)
    return flat(np.stack(updates))


@pytest.mark.parametrize("grads", [KERNELS, TENSORS])
def test_soap_is_its_formula(grads):
    """Vyas et al., algorithms 3 and 4; the first step only makes the basis."""
    theirs = soap_by_hand(grads, 0.1, 0.9, 0.8, 1e-3, 5)
    ours = alone(soap(0.1, 0.9, 0.8, 1e-3, 0.0, precondition_frequency=5), grads)
    np.testing.assert_array_equal(ours[0], 0.0)
    assert distance(ours[1:], theirs[1:]) <= 1e-10


def test_soap_of_vectors_is_adam_one_step_late():
    grads = GRADIENTS["dense"]["bias"]
    ours = alone(soap(0.1, 0.9, 0.8, 1e-3, 0.0), grads)
    assert distance(ours[1:], alone(adam(0.1, 0.9, 0.8, 1e-3), grads[1:])) <= 1e-12


def adam_mini_by_hand(grads, rate, b1, b2, eps, over):
    mean, square, updates = 0.0, 0.0, []
    for t, g in enumerate(grads, 1):
        mean = b1 * mean + (1 - b1) * g
        square = b2 * square + (1 - b2) * np.mean(g**2, axis=over, keepdims=True)
        updates.append(-rate * mean / (1 - b1**t) / (np.sqrt(square / (1 - b2**t)) + eps))
    return flat(np.stack(updates))


@pytest.mark.parametrize(
    ("grads", "over"),
    [(KERNELS, 0), (TENSORS, (0, 1)), (GRADIENTS["dense"]["bias"], 0), (GRADIENTS["gain"], ())],
)
def test_adam_mini_is_its_formula(grads, over):
    """Zhang et al., algorithm 1: a second moment for each output neuron, or for the leaf."""
    ours = alone(adam_mini(0.1, 0.9, 0.99, 1e-3), grads)
    assert distance(ours, adam_mini_by_hand(grads, 0.1, 0.9, 0.99, 1e-3, over)) <= 1e-12


def test_blocks_of_adam_mini_can_be_chosen_and_embeddings_go_by_token():
    state, *_ = adam_mini(0.1).init({"embedding": jnp.ones((4, 3)), "kernel": jnp.ones((4, 3))})
    assert jax.tree.map(jnp.shape, state.nu) == {"embedding": (4, 1), "kernel": (1, 3)}
    tx = adam_mini(0.1, 0.9, 0.99, 1e-3, kept_axes=lambda path, leaf: range(leaf.ndim))
    assert distance(alone(tx, KERNELS), alone(adam(0.1, 0.9, 0.99, 1e-3), KERNELS)) <= 1e-12


# All of them


A = np.diag(np.logspace(0, 1.5, 6)) @ np.linalg.qr(np.random.default_rng(3).normal(size=(6, 6)))[0]
B = np.linalg.qr(np.random.default_rng(4).normal(size=(5, 5)))[0] @ np.diag(np.logspace(0, 1.5, 5))
SOLUTION = np.random.default_rng(5).normal(size=(6, 5))


def ill_conditioned(w):
    """|A (W - W*) B|^2 / 2, with condition number 10^6."""
    return jnp.sum((A @ (w - SOLUTION) @ B) ** 2) / 2


CONVERGES = {
    "muon": (muon, 0.1, 1e-3),
    "shampoo": (shampoo, 1.0, 1e-3),
    "soap": (functools.partial(soap, weight_decay=0.0), 0.1, 1e-3),
    "adam_mini": (adam_mini, 0.1, 0.1),
    "sophia": (functools.partial(sophia, gamma=1.0, weight_decay=0.0), 0.1, 0.1),
    "sam": (
        lambda rate: sam(adam(rate), chain(normalize(), sgd(1e-4)), opaque_mode=True),
        0.1,
        0.1,
    ),
}


@pytest.mark.parametrize("name", everyday_first(2, CONVERGES))
def test_each_solves_an_ill_conditioned_least_squares_problem(name):
    factory, rate, bound = CONVERGES[name]
    tx = factory(cosine_decay_schedule(rate, 1000))

    def body(carry, _):
        w, state = carry
        updates, state = tx.update(jax.grad(ill_conditioned)(w), state, w, value_fn=ill_conditioned)
        return (w + updates, state), None

    start = jnp.zeros((6, 5))
    (w, _), _ = jax.jit(lambda w: jax.lax.scan(body, (w, tx.init(w)), length=1000))(start)
    assert float(ill_conditioned(w) / ill_conditioned(start)) < bound


@pytest.mark.exhaustive
@pytest.mark.parametrize("build", [shampoo, lambda a: soap(a, precondition_frequency=2), muon])
def test_meta_gradients_are_finite_from_a_symmetric_start(build):
    """All factors are multiples of the identity, whose eigenvectors have no derivative."""

    def final(rate, size):
        w = size * jnp.eye(3)
        tx = build(rate)
        state = tx.init(w)
        for _ in range(3):
            updates, state = tx.update(2 * w, state, w)
            w = w + updates
        return jnp.sum(w**2)

    slopes_of = jax.jit(jax.grad(final, (0, 1)))
    for size in (1.0, 0.0):
        slopes = slopes_of(0.1, size)
        assert all(bool(jnp.isfinite(slope)) for slope in slopes)


@pytest.mark.exhaustive
@pytest.mark.parametrize("build", [scale_by_muon, scale_by_shampoo, scale_by_soap])
def test_complex_matrices_turn_with_their_basis(build):
    """A unitary change of rows changes the update alike: true only with the right conjugates."""
    rng = np.random.default_rng(6)
    draw = lambda *shape: rng.normal(size=shape) + 1j * rng.normal(size=shape)
    turn, grads = np.linalg.qr(draw(4, 4))[0], draw(5, 4, 3)

    def last(tx, grads):
        state = tx.init(jnp.array(grads[0]))
        body = lambda state, g: tx.update(g, state)[::-1]
        return jax.jit(lambda grads: jax.lax.scan(body, state, grads)[1])(grads)[-1]

    np.testing.assert_allclose(last(build(), turn @ grads), turn @ last(build(), grads), atol=1e-9)


@pytest.mark.parametrize(
    ("call", "error", "sentence"),
    [
        (lambda: muon(0.1, "diom"), ValueError, "muon: `ns_coeffs` must be one of .*mean 'dion'"),
        (lambda: muon(0.1, ns_steps=0), ValueError, r"`ns_steps` must lie in \[1, inf\), got 0"),
        (lambda: muon(0.1, "dion", 3), ValueError, "`ns_coeffs` has 5 rows.*`ns_steps` is 3"),
        (lambda: muon(0.1, (1.0, 2.0)), ValueError, "`ns_coeffs` must be three numbers"),
        (lambda: muon(0.1, (1.0, 2.0, None)), TypeError, "`ns_coeffs` must be a number"),
        (lambda: muon(0.1, beta=1.0), ValueError, r"scale_by_muon: `beta` must lie in \[0, 1\)"),
        (lambda: muon(0.1, preconditioning="aoi"), ValueError, "Did you mean 'aol'"),
        (lambda: muon(0.1, consistent_rms=-1.0), ValueError, "scale_by_shape: `consistent_rms`"),
        (lambda: scale_by_muon().update(jnp.ones(2), scale_by_muon().init(jnp.ones(2))),
         ValueError, r"a leaf must have two axes or more.*shape \(2,\)"),
        (lambda: shampoo(0.1, -1.0), ValueError, r"scale_by_shampoo: `eps` must lie in \[0, inf\)"),
        (lambda: shampoo(0.1, 1.0, 0), ValueError, r"`preconditioning_period` must lie in \[1"),
        (lambda: shampoo(0.1, max_precond_dim=2.5), TypeError, "`max_precond_dim` must be an int"),
        (lambda: soap(0.1, b2=1.0), ValueError, r"scale_by_soap: `b2` must lie in \[0, 1\)"),
        (lambda: soap(0.1, precondition_frequency=0), ValueError, "`precondition_frequency`"),
        (lambda: adam_mini(0.1, -0.1), ValueError, r"scale_by_adam_mini: `b1` must lie in \[0, 1"),
        (lambda: sophia(0.1, gamma=-1.0), ValueError, r"scale_by_sophia: `gamma` must lie in"),
        (lambda: sophia(0.1, update_interval=0), ValueError, "`update_interval` must lie in"),
        (lambda: sophia(0.1).update(jnp.ones(2), sophia(0.1).init(jnp.ones(2)), jnp.ones(2)),
         ValueError, "reads the loss: call"),
        (lambda: sophia(0.1).update(jnp.ones(2), sophia(0.1).init(jnp.ones(2))),
         ValueError, "scale_by_sophia reads the parameters"),
        (lambda: sam(sgd(0.1), sgd(0.1), 0), ValueError, r"sam: `sync_period` must lie in \[1"),
        (lambda: (tx := sam(sgd(0.1), sgd(0.1), opaque_mode=True)).update(
            jnp.ones(2), tx.init(jnp.ones(2)), jnp.ones(2)),
         ValueError, "sam: in opaque mode `update` needs `grad_fn`"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(call, error, sentence, as_users_run_it):
    with pytest.raises(error, match=sentence):
        call()


def test_a_link_of_shampoo_descends_behind_any_rate():
    tx = chain(scale_by_shampoo(), scale_by_learning_rate(0.1))
    assert distance(alone(tx, KERNELS), alone(shampoo(0.1), KERNELS)) == 0.0
