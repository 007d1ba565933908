"""SM3 and Adafactor, whose second moments are kept by rows and columns, in plain NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxopt_course import optimizers, transforms
from tests.catalogue.norms import slow_power
from tests.optimizers.trajectories import (
    FIRST,
    GRADS,
    MATRICES,
    STEPS,
    distance,
    of_torch,
    rates,
    torch_updates,
    updates_of,
)


def sm3_by_hand(grads, rate, momentum, eps=1e-8):
    """Anil et al. 2019, SM3-II on a matrix, with momentum; the sets are rows and columns."""
    rows, columns = np.zeros(grads.shape[1]), np.zeros(grads.shape[2])
    mean, updates = np.zeros(grads.shape[1:]), []
    for t, g in enumerate(grads):
        nu = np.minimum(rows[:, None], columns[None, :]) + g**2
        rows, columns = nu.max(axis=1), nu.max(axis=0)
        mean = momentum * mean + (1 - momentum) * g / np.sqrt(nu + eps)
        updates.append(-(rate(t) if callable(rate) else rate) * mean.ravel())
    return np.stack(updates)


@pytest.mark.parametrize("rate", [0.1, rates])
def test_sm3_is_its_formula(rate):
    ours = updates_of(optimizers.sm3(rate, 0.8), FIRST["w"], MATRICES["w"])
    assert distance(ours, sm3_by_hand(MATRICES["w"], rate, 0.8)) <= 1e-12


@pytest.mark.parametrize("b2", [1.0, 0.9])
def test_sm3_is_that_of_optax(b2, standard_promotion):
    """On matrices, tensors and vectors; on scalars optax's raises IndexError."""
    tensor = GRADS[:, :12].reshape(STEPS, 2, 3, 2)
    grads = MATRICES | {"t": tensor}
    params = FIRST | {"t": tensor[0]}
    ours, theirs = (
        updates_of(library.scale_by_sm3(0.8, b2, 1e-6), params, grads)
        for library in (optimizers, optax)
    )
    assert distance(ours, theirs) <= 1e-12


def test_sm3_of_a_vector_and_of_a_scalar_is_adagrad():
    ours = updates_of(transforms.masked(optimizers.sm3(0.1, 0.0), vectors))
    adagrad = optimizers.adagrad(0.1, 0.0, 1e-8)
    theirs = updates_of(transforms.masked(adagrad, vectors))
    assert distance(ours, theirs) <= 1e-12


def vectors(tree):
    return jax.tree.map(lambda x: jnp.ndim(x) < 2, tree)


def adafactor_by_hand(grads, w, *, rate, power=0.8, low=1e-3, threshold=1.0, eps=1e-30, decay=0.0):
    """Shazeer & Stern 2018, algorithm 4 for a matrix, 5 for a vector; the steps and the decay."""
    updates, rows, columns, whole = [], 0.0, 0.0, 0.0
    rms = lambda x: np.sqrt(np.mean(x**2))
    for t, g in enumerate(grads):
        keep = 1 - (t + 1.0) ** -power
        square = g**2 + eps
        rows = keep * rows + (1 - keep) * square.mean(axis=-1)
        columns = keep * columns + (1 - keep) * square.mean(axis=0)
        whole = keep * whole + (1 - keep) * square
        v = np.outer(rows, columns) / np.mean(rows) if g.ndim == 2 else whole
        u = g / np.sqrt(v)
        u = u / max(1.0, rms(u) / threshold)
        update = -(rate(t) if callable(rate) else rate) * max(low, rms(w)) * u - decay * w
        w = w + update
        updates.append(update.ravel())
    return np.stack(updates)


@pytest.mark.parametrize("leaf", ["w", "b"])
@pytest.mark.parametrize("options", [{}, {"decay": 0.01, "threshold": 0.7, "eps": 1e-3}])
def test_adafactor_is_its_formula(leaf, options):
    tx = optimizers.adafactor(
        rates,
        min_dim_size_to_factor=2,
        clipping_threshold=options.get("threshold", 1.0),
        eps=options.get("eps", 1e-30),
        weight_decay_rate=options.get("decay"),
    )
    ours = updates_of(tx, FIRST[leaf], MATRICES[leaf])
    assert (
        distance(ours, adafactor_by_hand(MATRICES[leaf], FIRST[leaf], rate=rates, **options))
        <= 1e-11
    )


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"min_dim_size_to_factor": 2, "learning_rate": 0.1},
        {"learning_rate": 0.1, "momentum": 0.9, "dtype_momentum": jnp.float64,
         "weight_decay_rate": 0.01, "multiply_by_parameter_scale": False},
        {"learning_rate": rates, "clipping_threshold": None, "eps": 1e-3, "factored": False},
    ],
)  # fmt: skip
def test_adafactor_is_that_of_optax_up_to_its_float32_decay(options, standard_promotion):
    """optax takes the power of t in float32, also for float64: 4e-7 apart."""
    ours, theirs = (
        updates_of(library.adafactor(**options), FIRST, jax.tree.map(lambda g: g / 30, MATRICES))
        for library in (optimizers, optax)
    )
    assert distance(ours, theirs) <= 2e-6


def test_factored_squares_of_a_tensor_are_those_of_optax(standard_promotion):
    """The two longest axes, wherever they are."""
    for shape in [(2, 3, 2), (3, 2, 2), (2, 2, 3)]:
        grads = GRADS[:, :12].reshape(STEPS, *shape)
        ours, theirs = (
            updates_of(
                library.scale_by_factored_rms(min_dim_size_to_factor=2, decay_rate_fn=slow_power),
                grads[0],
                grads,
            )
            for library in (optimizers, optax)
        )
        assert distance(ours, theirs) <= 1e-12


def test_a_factored_leaf_keeps_rows_and_columns_only():
    params = {"w": jnp.ones((200, 150)), "b": jnp.ones(150)}
    state = optimizers.scale_by_factored_rms().init(params)
    assert state.v_row["w"].shape == (150,)  # the mean over the longest axis
    placeholders = 3  # zeros((1,)): v of the matrix, v_row and v_col of the bias
    assert sum(x.size for x in jax.tree.leaves(state)) == 200 + 150 + 150 + 1 + placeholders


@pytest.mark.parametrize("leaf", ["w", "b"])
@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_adafactor_is_that_of_torch(leaf, decay):
    """torch's rate is min(lr, 1 / sqrt(t)), its eps bounds instead of being added, its decay
    is multiplied by lr alone."""
    rate = lambda t: jnp.minimum(0.1, 1 / jnp.sqrt(jnp.asarray(t, float) + 1))
    tx = optimizers.adafactor(rate, 2, weight_decay_rate=0.1 * decay, eps=0.0)
    build = of_torch("Adafactor", lr=0.1, weight_decay=decay, eps=(1e-30, 1e-3))
    theirs = torch_updates(build, FIRST[leaf], MATRICES[leaf])
    # 1e-10: differences of points lose the digits that the points have more than the updates
    assert distance(updates_of(tx, FIRST[leaf], MATRICES[leaf]), theirs) <= 1e-10
