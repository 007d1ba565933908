"""Muon: against its formula in NumPy, torch and optax."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxopt_course.optimizers import MuonDimensionNumbers, muon, orthogonalized, scale_by_muon
from tests.optimizers.trajectories import GRADIENTS, alone, distance, flat
from tests.tiers import everyday_first


KERNELS = GRADIENTS["dense"]["kernel"]


def quintic(x, coefficients, steps):
    """Newton and Schulz on the singular values, which is what it is in exact arithmetic."""
    u, s, v = np.linalg.svd(x, full_matrices=False)
    s = s / (np.linalg.norm(s) + 1e-8)
    c0, c1, c2 = coefficients
    for _ in range(steps):
        s = c0 * s + c1 * s**3 + c2 * s**5
    return u @ np.diag(s) @ v


@pytest.mark.parametrize("shape", [(4, 3), (3, 4), (5, 5), (1, 4)])
def test_newton_schulz_maps_singular_values(shape, key):
    coefficients = (3.4445, -4.7750, 2.0315)
    x = jax.random.normal(key, shape)
    ours = orthogonalized(x, jnp.array(coefficients), 5)
    np.testing.assert_allclose(ours, quintic(np.asarray(x), coefficients, 5), atol=1e-11)


@pytest.mark.parametrize(
    "preconditioning", everyday_first(1, ["frobenius", "spectral", "aol", "schatten"])
)
def test_with_coefficients_that_converge_a_batch_becomes_orthogonal(preconditioning, key):
    x = jax.random.normal(key, (3, 5, 4), complex)
    q = orthogonalized(x, jnp.array([1.875, -1.25, 0.375]), 40, preconditioning)
    np.testing.assert_allclose(q.conj().mT @ q, jnp.stack([jnp.eye(4)] * 3), atol=1e-10)
    if preconditioning != "aol":  # it rescales rows, so its polar factor is another
        u, _, v = jnp.linalg.svd(x, full_matrices=False)
        np.testing.assert_allclose(q, u @ v, atol=1e-8)


def muon_by_hand(grads, rate, beta):
    mean, updates = 0.0, []
    for t, g in enumerate(grads, 1):
        mean = beta * mean + (1 - beta) * g
        ahead = beta * mean / (1 - beta ** (t + 1)) + (1 - beta) * g / (1 - beta**t)
        shape = np.sqrt(max(1, g.shape[1] / g.shape[0]))
        updates.append(-rate * shape * quintic(ahead, (3.4445, -4.7750, 2.0315), 5))
    return flat(np.stack(updates))


@pytest.mark.parametrize("grads", [KERNELS, KERNELS.transpose(0, 2, 1)])
def test_muon_is_its_formula(grads):
    """Jordan et al.; the bias correction, which is optax's, cancels but for eps and a weight."""
    assert distance(alone(muon(0.1, beta=0.9), grads), muon_by_hand(grads, 0.1, 0.9)) <= 1e-10


def test_torch_agrees_on_muon():
    """To bfloat16, in which torch iterates; its layers are transposed."""
    torch = pytest.importorskip("torch")
    x = np.random.default_rng(0).normal(size=(6, 4))
    w = torch.nn.Parameter(torch.zeros(4, 6, dtype=torch.float64))
    w.grad = torch.tensor(x.T)
    torch.optim.Muon([w], lr=0.1, weight_decay=0.0).step()
    ours, _ = (tx := muon(0.1)).update(jnp.array(x), tx.init(jnp.array(x)), jnp.array(x))
    theirs = w.detach().numpy().T
    # 0.05: five steps with slopes up to 3.4 amplify the roundings of 2^-8
    assert np.linalg.norm(ours - theirs) <= 0.05 * np.linalg.norm(theirs)


SPECS = {
    "a": MuonDimensionNumbers(2, (0, 3)),
    "b": MuonDimensionNumbers((0, -1), 1),
    "c": None,
    "d": {"w": MuonDimensionNumbers()},
}
SHAPED = {"a": (2, 3, 4, 5), "b": (3, 4, 2), "c": (3, 3), "d": {"w": (4, 2)}}


@pytest.mark.exhaustive
@pytest.mark.parametrize("specs", [SPECS, lambda params: SPECS])
def test_dimension_numbers_are_those_of_optax(specs, standard_promotion):
    rng = np.random.default_rng(0)
    is_shape = lambda x: isinstance(x, tuple)
    grads = jax.tree.map(lambda s: jnp.array(rng.normal(size=s)), SHAPED, is_leaf=is_shape)
    theirs = jax.tree.map(
        lambda s: optax.contrib.MuonDimensionNumbers(*s) if s else None,
        SPECS,
        is_leaf=lambda x: x is None or isinstance(x, MuonDimensionNumbers),
    )
    updates = []
    for factory, dimensions in ((muon, specs), (optax.contrib.muon, theirs)):
        tx = factory(0.1, muon_weight_dimension_numbers=dimensions)
        updates.append(tx.update(grads, tx.init(grads), grads)[0])
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-10, atol=1e-13), *updates)


def test_the_coefficients_of_muon_are_data():
    """A population with its own quintic each, against each alone."""
    x = jnp.array(KERNELS[0])

    def first_update(c0):
        tx = muon(0.1, (c0, -4.7750, 2.0315))
        return tx.update(x, tx.init(x), x)[0]

    together = jax.vmap(first_update)(jnp.array([3.0, 3.4445]))
    np.testing.assert_allclose(together[1], first_update(3.4445), rtol=1e-12)
    assert float(jnp.max(jnp.abs(together[0] - together[1]))) > 1e-3


def test_half_precision_is_orthogonalized_in_float32():
    x = jnp.array(KERNELS[0], jnp.float16)
    tx = scale_by_muon()
    ours, _ = tx.update(x, tx.init(x))
    wide, _ = tx.update(x.astype(jnp.float32), tx.init(x))
    np.testing.assert_array_equal(ours, wide.astype(jnp.float16))
