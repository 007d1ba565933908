"""What followed Muon: against formulas in NumPy, and what each method keeps."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.fft
import scipy.linalg

from jaxopt_course.optimizers import (
    MuonDimensionNumbers,
    adamw,
    dion,
    normuon,
    scale_by_dion,
    scale_by_muon,
    scale_by_normuon,
    scion,
)
from tests.optimizers.trajectories import GRADIENTS, alone, distance, flat


KERNELS = GRADIENTS["dense"]["kernel"]
TENSORS = np.random.default_rng(2).normal(size=(20, 3, 2, 4))


def quintic(x, eps):
    """Five steps of Newton and Schulz, by the singular values."""
    u, s, v = np.linalg.svd(x, full_matrices=False)
    s = s / (np.linalg.norm(s) + eps)
    for _ in range(5):
        s = 3.4445 * s - 4.7750 * s**3 + 2.0315 * s**5
    return u @ np.diag(s) @ v


# NorMuon


def normuon_by_hand(grads, rate, beta, beta2, eps):
    """Of kernels (in, out), without Nesterov momentum; a neuron is a column."""
    mean, squares, updates = 0.0, 0.0, []
    for t, g in enumerate(grads, 1):
        mean = beta * mean + (1 - beta) * g
        matrix = quintic(mean / (1 - beta**t), eps)
        squares = beta2 * squares + (1 - beta2) * np.mean(matrix**2, axis=0)
        step = matrix / (np.sqrt(squares) + eps)
        step = step * np.linalg.norm(matrix) / np.linalg.norm(step)
        updates.append(-rate * np.sqrt(max(1, g.shape[1] / g.shape[0])) * step)
    return flat(np.stack(updates))


@pytest.mark.parametrize("grads", [KERNELS, KERNELS.transpose(0, 2, 1)])
def test_normuon_is_its_formula(grads):
    """Li et al., algorithm 1, with the norm of the orthogonalized matrix."""
    tx = normuon(0.1, beta=0.9, beta2=0.8, eps=1e-3, nesterov=False)
    assert distance(alone(tx, grads), normuon_by_hand(grads, 0.1, 0.9, 0.8, 1e-3)) <= 1e-10


@pytest.mark.parametrize(
    "dimensions", [MuonDimensionNumbers(2, 1), MuonDimensionNumbers((0, 2), 1)]
)
@pytest.mark.parametrize("beta2", [0.0, 0.9])
def test_normuon_keeps_the_norm_and_equalizes_the_neurons(dimensions, beta2):
    options = {"eps": 0.0, "weight_dimension_numbers": dimensions}
    plain, ours = (
        alone(tx, TENSORS).reshape(TENSORS.shape)
        for tx in (scale_by_muon(**options), scale_by_normuon(beta2=beta2, **options))
    )
    over = (1, 2, 3) if dimensions.reduction_axis == (0, 2) else (2, 3)
    norms = [np.sqrt(np.sum(x**2, over)) for x in (plain, ours)]
    np.testing.assert_allclose(norms[1], norms[0], rtol=1e-12)
    neurons = np.sqrt(np.sum(ours**2, (1, 3) if len(over) == 3 else 3))
    spread = neurons.max(-1) / neurons.min(-1)
    if beta2 == 0:  # of the present step alone
        np.testing.assert_allclose(spread, 1, rtol=1e-12)
    else:
        assert spread.max() > 1.1


def test_other_leaves_of_normuon_are_those_of_adamw():
    grads = {"w": KERNELS, "b": GRADIENTS["dense"]["bias"]}
    params = jax.tree.map(lambda g: jnp.ones(g.shape[1:]), grads)
    tx = normuon(
        0.3,
        adam_learning_rate=0.1,
        adam_b1=0.8,
        adam_b2=0.95,
        eps=1e-3,
        adam_weight_decay=0.2,
        weight_dimension_numbers={"w": MuonDimensionNumbers(), "b": None},
    )
    theirs = adamw(0.1, 0.8, 0.95, 1e-3, weight_decay=0.2, nesterov=True)
    run = lambda tx, p, g: jax.lax.scan(lambda s, g: tx.update(g, s, p)[::-1], tx.init(p), g)[1]
    np.testing.assert_allclose(
        run(tx, params, grads)["b"], run(theirs, params["b"], grads["b"]), rtol=1e-12
    )


# Scion

CONVERGES = {"ns_coeffs": (1.875, -1.25, 0.375), "ns_steps": 40}  # to singular values of 1
NORM = {  # of a leaf (in, out), and the dual norm
    "spectral": (
        lambda x: np.linalg.norm(x, 2) * np.sqrt(x.shape[0] / x.shape[1]),
        lambda x: np.linalg.norm(x, "nuc") * np.sqrt(x.shape[1] / x.shape[0]),
    ),
    "sign": (lambda x: np.abs(x).max() * len(x), lambda x: np.abs(x).sum() / len(x)),
    "embedding": (
        lambda x: np.sqrt(np.mean(x**2, 1)).max(),
        lambda x: np.linalg.norm(x, axis=1).sum() * np.sqrt(x.shape[1]),
    ),
    "rms": (
        lambda x: np.sqrt(np.mean(x**2)),
        lambda x: np.linalg.norm(x) * np.sqrt(x.size),
    ),
}


@pytest.mark.parametrize("shape", [(4, 3), (3, 5)])
@pytest.mark.parametrize("name", NORM)
def test_a_step_of_scion_has_its_radius_as_norm_and_descends_most(name, shape):
    """Of all matrices of that norm none has a larger inner product with the gradient."""
    g = np.random.default_rng(0).normal(size=shape)
    norm, dual = NORM[name]
    step = -alone(scion(0.5, name, 3.0, **CONVERGES), g[None])[0].reshape(shape)
    assert norm(step) == pytest.approx(1.5, rel=1e-10)
    assert np.sum(step * g) == pytest.approx(1.5 * dual(g), rel=1e-10)


@pytest.mark.parametrize("name", NORM)
def test_constrained_scion_stays_within_its_radius(name):
    """A conditional gradient method: each point is between the last one and one on the boundary."""
    norm, _ = NORM[name]
    tx = scion(0.5, name, 3.0, weight_decay=1.0, **CONVERGES)
    params = jnp.zeros(KERNELS.shape[1:])

    def step(carry, g):
        params, state = carry
        updates, state = tx.update(g, state, params)
        return (params + updates, state), params + updates

    points = jax.jit(lambda g: jax.lax.scan(step, (params, tx.init(params)), g)[1])(KERNELS)
    norms = np.array([norm(np.asarray(x)) for x in points])
    assert norms[0] == pytest.approx(1.5)
    assert 1.5 < norms.max() <= 3.0 * (1 + 1e-10)


def test_biases_of_scion_and_tensors():
    """Leaves without dimension numbers have the rms norm; the last axis is that of the outputs."""
    bias = np.array([3.0, -1.0])
    step = alone(scion(0.5, "sign", 2.0), bias[None])[0]
    np.testing.assert_allclose(step, -bias / np.sqrt(5), rtol=1e-12)
    ours = alone(scion(0.5, **CONVERGES), TENSORS).reshape(len(TENSORS), 6, 4)
    flat_ones = alone(scion(0.5, **CONVERGES), TENSORS.reshape(-1, 6, 4))
    np.testing.assert_allclose(flat(ours), flat_ones, rtol=1e-12)


# Dion


def cosines(n, rank):
    """The matrix of the discrete cosine transform, by SciPy's definition."""
    return scipy.fft.dct(np.eye(n), norm="ortho").T[:rank].T


def dion_by_hand(grads, rate, beta, rank):
    """Of kernels (in, out); the projector P P' does not depend on the signs of a decomposition."""
    shape = np.sqrt(grads.shape[2] / grads.shape[1])
    wide = grads if grads.shape[1] <= grads.shape[2] else grads.transpose(0, 2, 1)
    rest, basis, updates = 0.0, cosines(wide.shape[2], rank), []
    for g in wide:
        total = rest + g
        p = scipy.linalg.orth(total @ basis)
        p = p @ np.linalg.qr(p.T @ total @ basis)[0]
        right = total.T @ p
        rest = total - (1 - beta) * p @ right.T
        basis = right / np.linalg.norm(right, axis=0)
        step = p @ basis.T
        updates.append(-rate * shape * (step if wide is grads else step.T))
    return flat(np.stack(updates))


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("grads", [KERNELS, KERNELS.transpose(0, 2, 1)])
def test_dion_is_its_formula(grads, rank):
    """Ahn et al., algorithm 1; a rank beyond the shorter side is that side."""
    ours = alone(dion(0.1, rank if rank < 3 else 99, 0.8), grads)
    assert distance(ours, dion_by_hand(grads, 0.1, 0.8, rank)) <= 1e-8


def test_steps_of_dion_converge_to_the_polar_factor_of_the_largest_directions():
    """With one gradient again and again the power iteration finds its singular vectors.

    What is applied of the three largest, s / (1 - b), is what arrives; the rest is kept.
    """
    u, _, v = np.linalg.svd(np.random.default_rng(0).normal(size=(5, 7)), full_matrices=False)
    g = u @ np.diag([8.0, 4.0, 2.0, 1e-3, 1e-4]) @ v
    steps = alone(scale_by_dion(3, 0.5), np.stack([g] * 60)).reshape(-1, 5, 7)
    wanted = np.sqrt(7 / 5) * u[:, :3] @ v[:3]
    np.testing.assert_allclose(steps[-1], wanted, atol=1e-2)
    assert np.linalg.norm(steps[0] - wanted) > 0.3


def test_dion_loses_nothing_of_a_gradient():
    """Error feedback: what is applied and what is kept add up to the gradients."""
    tx, zero = scale_by_dion(1, 0.0), jnp.zeros((4, 3))
    _, state = tx.update(jnp.asarray(KERNELS[0]), tx.init(zero))
    u, s, v = np.linalg.svd(KERNELS[0] - state.mu)
    assert s[1] < 1e-12 * s[0]  # of rank 1
    assert abs(u[:, 0] @ np.asarray(state.mu) @ v[0]) < 1e-12 * s[0]
    _, after = tx.update(zero, state)
    assert np.linalg.norm(after.mu) < np.linalg.norm(state.mu)
    _, still = tx.update(zero, tx.init(zero))
    np.testing.assert_array_equal(still.bases, tx.init(zero).bases)


@pytest.mark.parametrize(
    ("call", "error", "sentence"),
    [
        (lambda: normuon(0.1, "diom"), ValueError, "normuon: `ns_coeffs` must be one of .*'dion'"),
        (lambda: dion(0.1, 0), ValueError, r"scale_by_dion: `rank` must lie in \[1, inf\), got 0"),
        (lambda: dion(0.1, beta=1.0), ValueError, r"scale_by_dion: `beta` must lie in \[0, 1\)"),
        (lambda: scion(0.1, "sing"), ValueError, "scion: `norm` must be one of .*mean 'sign'"),
        (lambda: scion(0.1, radius=-1.0), ValueError, r"scion: `radius` must lie in \[0, inf\)"),
        (lambda: scion(0.1, ns_coeffs=(1.0,)), ValueError, "scion: `ns_coeffs` must be three"),
        (lambda: normuon(0.1, beta2=1.0), ValueError, r"scale_by_normuon: `beta2` must lie in \[0"),
    ],
)
def test_what_is_wrong_is_said(call, error, sentence, as_users_run_it):
    with pytest.raises(error, match=sentence):
        call()
