"""SOAP-Muon against its formula in NumPy, and against exact polar factors of SOAP's steps."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxopt_course.optimizers import MuonDimensionNumbers, adamw, soap, soap_muon
from tests.optimizers.test_matrix import soap_by_hand
from tests.optimizers.trajectories import FIRST, GRADIENTS, MATRICES, alone, distance, updates_of


KERNELS = GRADIENTS["dense"]["kernel"]
TENSORS = np.random.default_rng(2).normal(size=(20, 3, 2, 4))
SLOW = ((3.0, -3.2, 1.2), (2.5, -2.0, 0.6))


@pytest.mark.parametrize("grads", [KERNELS, KERNELS.transpose(0, 2, 1)])
def test_it_is_its_formula(grads):
    steps = soap_by_hand(grads, -1.0, 0.9, 0.8, 1e-3, 5).reshape(grads.shape)
    shape = np.sqrt(max(1, grads.shape[2] / grads.shape[1]))
    orthogonal = np.zeros_like(grads)
    for t, x in enumerate(steps[1:], 1):
        u, s, v = np.linalg.svd(x, full_matrices=False)
        s = s / (np.linalg.norm(s) + 1e-3)
        for c0, c1, c2 in SLOW:
            s = c0 * s + c1 * s**3 + c2 * s**5
        orthogonal[t] = u @ np.diag(s) @ v
    theirs = -0.1 * shape * orthogonal.reshape(len(grads), -1)
    numbers = {"precondition_frequency": 5, "ns_coeffs": SLOW}
    ours = alone(soap_muon(0.1, 0.9, 0.8, 1e-3, **numbers), grads)
    np.testing.assert_array_equal(ours[0], 0.0)
    assert distance(ours[1:], theirs[1:]) <= 1e-10


def test_a_converged_iteration_gives_polar_factors_of_soap():
    """A tensor is a batch of matrices, and all of its axes have a basis of SOAP."""
    cubic = {"ns_coeffs": (1.5, -0.5, 0.0), "ns_steps": 60}
    dimensions = MuonDimensionNumbers((0, 1), 2)
    tx = soap_muon(0.1, muon_weight_dimension_numbers=dimensions, consistent_rms=1.0, **cubic)
    steps = alone(soap(0.1, weight_decay=0.0), TENSORS).reshape(-1, 6, 4)
    u, _, v = np.linalg.svd(steps[1:], full_matrices=False)
    theirs = 0.1 * np.sqrt(6) * (u @ v).reshape(len(u), -1)
    ours = alone(tx, TENSORS)
    assert distance(ours[1:], theirs) <= 1e-8
    assert np.isclose(np.sqrt(np.mean(ours[-1] ** 2)), 0.1)


def test_other_leaves_are_those_of_adamw():
    options = {"adam_b1": 0.8, "adam_b2": 0.95, "adam_weight_decay": 0.05}
    tx = soap_muon(0.1, 0.9, 0.8, 1e-3, 0.2, adam_learning_rate=0.03, **options)
    both = updates_of(tx, FIRST, MATRICES)
    biases = updates_of(adamw(0.03, 0.8, 0.95, 1e-3, weight_decay=0.05), FIRST["b"], MATRICES["b"])
    weights = updates_of(soap_muon(0.1, 0.9, 0.8, 1e-3, 0.2), FIRST["w"], MATRICES["w"])
    assert distance(both, np.concatenate([biases, weights], axis=1)) <= 1e-12


def test_decay_reaches_the_masked_matrices():
    params = {"a": jnp.ones((3, 2)), "b": jnp.ones((3, 2))}
    tx = soap_muon(0.1, weight_decay=0.2, mask={"a": True, "b": False})
    zeros = jax.tree.map(jnp.zeros_like, params)
    updates, _ = tx.update(zeros, tx.init(params), params)
    np.testing.assert_allclose(updates["a"], -0.02, rtol=1e-12)
    np.testing.assert_array_equal(updates["b"], 0.0)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: soap_muon(0.1, ns_steps=0), r"soap_muon: `ns_steps` must lie in \[1, inf\)"),
        (lambda: soap_muon(0.1, ns_coeffs=(1.0, 2.0)), "soap_muon: `ns_coeffs` must be three"),
        (lambda: soap_muon(0.1, b2=1.0), r"scale_by_soap: `b2` must lie in \[0, 1\)"),
    ],
)
def test_what_is_wrong_is_said(call, sentence, as_users_run_it):
    with pytest.raises(ValueError, match=sentence):
        call()
