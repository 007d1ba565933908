"""KL-Shampoo and KL-SOAP against formulas in NumPy, and the factors of Gaussian gradients."""

import functools

import jax
import numpy as np
import pytest

from jaxopt_course.optimizers import kl_shampoo, kl_soap, scale_by_kl_shampoo
from tests.optimizers.trajectories import GRADIENTS, STEPS, alone, distance, flat


KERNELS = GRADIENTS["dense"]["kernel"]
TENSORS = np.random.default_rng(2).normal(size=(STEPS, 3, 2, 4))


# In NumPy, from the paper: matrices instead of tensors, and tensors by their Kronecker products.


def times(factors, x):
    """The Kronecker product of the factors, as one large matrix, times the vector of ``x``."""
    return (functools.reduce(np.kron, factors, np.eye(1)) @ x.reshape(-1)).reshape(x.shape)


def rows(x, axis):
    return np.moveaxis(x, axis, 0).reshape(x.shape[axis], -1)


def by_hand(grads, rate, b1, b2, eps, frequency, initial, soap):
    shape = grads.shape[1:]
    mean, squares, updates = np.zeros(shape), np.zeros(shape), []
    factors, values = [np.zeros((n, n)) for n in shape], [np.full(n, initial) for n in shape]
    for t, g in enumerate(grads):
        if t == 0:
            updates.append(np.zeros(shape))
            whites = [g] * len(shape)
        else:
            mean = b1 * mean + (1 - b1) * g
            turned = times([q.T for q in bases], mean)
            squares = b2 * squares + (1 - b2) * times([q.T for q in bases], g) ** 2
            if soap:
                step = turned / (1 - b1**t) / (np.sqrt(squares / (1 - b2**t)) + eps)
            else:
                step = turned / (np.sqrt(functools.reduce(np.multiply.outer, values)) + eps)
            updates.append(-rate * times(bases, step))
            inverse = [q @ np.diag(1 / np.sqrt(v)) for q, v in zip(bases, values, strict=True)]
            whites = [
                times([np.eye(len(h)) if j == i else h.T for j, h in enumerate(inverse)], g)
                for i in range(len(shape))
            ]
        products = [rows(x, i) @ rows(x, i).T * len(h) / g.size for i, (x, h) in enumerate(
            zip(whites, factors, strict=True))]  # fmt: skip
        factors = [b2 * h + (1 - b2) * p for h, p in zip(factors, products, strict=True)]
        if t == 0:
            bases = [np.linalg.eigh(h)[1][:, ::-1] for h in factors]
            continue
        found = [np.diag(q.T @ p @ q) for q, p in zip(bases, products, strict=True)]
        values = [b2 * v + (1 - b2) * d for v, d in zip(values, found, strict=True)]
        if t % frequency == 0:
            bases = [np.linalg.qr(h @ q)[0] for h, q in zip(factors, bases, strict=True)]
    return flat(np.stack(updates))


@pytest.mark.parametrize("soap", [False, True])
@pytest.mark.parametrize("grads", [KERNELS, TENSORS])
def test_each_is_its_formula(grads, soap):
    theirs = by_hand(grads, 0.1, 0.9, 0.8, 1e-3, 5, 0.3, soap)
    build = kl_soap if soap else kl_shampoo
    numbers = {"precondition_frequency": 5, "initial_eigenvalue": 0.3}
    ours = alone(build(0.1, 0.9, 0.8, 1e-3, 0.0, **numbers), grads)
    np.testing.assert_array_equal(ours[0], 0.0)
    assert distance(ours[1:], theirs[1:]) <= 1e-10


def test_vectors_have_eigenvalues_only():
    """The factor of a single axis is the second moment, and its diagonal is kept."""
    grads = GRADIENTS["dense"]["bias"]
    mean, square, updates = 0.0, 0.3, [np.zeros(3)]
    for g in grads[1:]:
        mean = 0.9 * mean + 0.1 * g
        updates.append(-0.1 * mean / (np.sqrt(square) + 1e-3))
        square = 0.8 * square + 0.2 * g**2
    numbers = (0.1, 0.9, 0.8, 1e-3, 0.0)
    ours = alone(kl_shampoo(*numbers, initial_eigenvalue=0.3), grads)
    assert distance(ours, np.stack(updates)) <= 1e-12
    ours = alone(kl_shampoo(*numbers, initial_eigenvalue=0.3), grads[:, 0])
    assert distance(ours, np.stack(updates)[:, :1]) <= 1e-12


def test_a_long_axis_keeps_eigenvalues_without_a_basis():
    """With no basis at all it is KL-Shampoo in the basis of the parameters."""
    row, column, mean, updates = np.full(4, 0.3), np.full(3, 0.3), 0.0, [np.zeros(12)]
    for g in KERNELS[1:]:
        mean = 0.9 * mean + 0.1 * g
        updates.append((-0.1 * mean / (np.sqrt(np.outer(row, column)) + 1e-3)).reshape(-1))
        new = np.mean(g**2 / column, axis=1), np.mean(g**2 / row[:, None], axis=0)
        row, column = 0.8 * row + 0.2 * new[0], 0.8 * column + 0.2 * new[1]
    tx = kl_shampoo(0.1, 0.9, 0.8, 1e-3, 0.0, max_precond_dim=2, initial_eigenvalue=0.3)
    assert distance(alone(tx, KERNELS), np.stack(updates)) <= 1e-10


A = np.linalg.qr(np.random.default_rng(3).normal(size=(4, 4)))[0] * np.array([4.0, 2.0, 1.0, 0.5])
B = np.diag([3.0, 1.0, 0.5]) @ np.linalg.qr(np.random.default_rng(4).normal(size=(3, 3)))[0]


def test_factors_of_gaussian_gradients_are_theirs_up_to_scale():
    """L -> A A' and R -> B' B for gradients A Z B.

    With b2 = 0.9995 they are means over about 4,000 gradients of three and four independent columns
    and rows, which fluctuate by about 1 %.
    """
    steps = 20_000
    z = jax.random.normal(jax.random.key(0), (steps, 4, 3))
    grads = A @ z @ B
    tx = scale_by_kl_shampoo(0.0, 0.9995, 0.0, initial_eigenvalue=1.0)
    step = lambda state, g: (tx.update(g, state)[1], None)
    state, _ = jax.jit(lambda g: jax.lax.scan(step, tx.init(g[0]), g))(grads)
    unit = lambda m: np.asarray(m) / np.trace(m)
    found = zip(*map(jax.device_get, state[2:]), (A @ A.T, B.T @ B), strict=True)
    for factor, basis, values, wanted in found:
        assert np.linalg.norm(unit(factor) - unit(wanted)) <= 0.03
        whole = basis * values @ basis.T
        assert np.linalg.norm(unit(whole) - unit(wanted)) <= 0.03
    scale = np.trace(state.factors[0]) * np.trace(state.factors[1])
    assert np.isclose(scale, np.trace(A @ A.T) * np.trace(B.T @ B), rtol=0.05)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: kl_shampoo(0.1, 1.0), r"scale_by_kl_shampoo: `b1` must lie in \[0, 1\)"),
        (lambda: kl_soap(0.1, eps=-1.0), r"scale_by_kl_soap: `eps` must lie in \[0, inf\)"),
        (lambda: kl_soap(0.1, initial_eigenvalue=0.0), r"`initial_eigenvalue` must lie in \(0"),
        (lambda: kl_shampoo(0.1, precondition_frequency=0), "`precondition_frequency` must lie"),
        (lambda: kl_shampoo(0.1, max_precond_dim=-1), "`max_precond_dim` must lie in"),
    ],
)
def test_what_is_wrong_is_said(call, sentence, as_users_run_it):
    with pytest.raises(ValueError, match=sentence):
        call()
