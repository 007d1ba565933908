"""Shampoo as it is used today, SPlus and PSGD Kron, against NumPy in float64 and closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxopt_course.optimizers import (
    psgd_kron,
    scale_by_adam,
    scale_by_psgd_kron,
    scale_by_shampoo,
    scale_by_sign,
    scale_by_splus,
    shampoo,
    splus,
)
from jaxopt_course.transforms import evaluation_params, grafted, identity
from tests.optimizers.test_matrix import KERNELS, TENSORS, along, power, unfolded
from tests.optimizers.trajectories import alone, distance, flat


RNG = np.random.default_rng(7)


@pytest.mark.parametrize("shape", [(6, 6), (8, 3), (3, 8)])
def test_shampoo_of_the_last_gradient_is_its_polar_factor(shape):
    tx = scale_by_shampoo(eps=0.0, b2=0.0, exponent=0.25)
    grads = RNG.normal(size=(3, *shape))
    u, _, vt = np.linalg.svd(grads, full_matrices=False)
    assert distance(alone(tx, grads), flat(u @ vt)) <= 1e-10


def adam_norms(grads, b1, b2, eps):
    mean, square, norms = 0.0, 0.0, []
    for t, g in enumerate(grads, 1):
        mean, square = b1 * mean + (1 - b1) * g, b2 * square + (1 - b2) * g**2
        step = mean / (1 - b1**t) / (np.sqrt(square / (1 - b2**t)) + eps)
        norms.append((step, np.linalg.norm(step)))
    return norms


ROWS = {"first": slice(0, 3), "last": slice(3, 4)}  # of the blocks of the kernels, 4 x 3


def modern_by_hand(params, grads, *, rate, eps, period, b2, exponent, start, momentum, decay):
    """Blocks of at most 3 x 3, Adam's norms, Nesterov momentum, decay: the parameters' changes."""
    w, trace, moves = params.copy(), np.zeros_like(params), []
    factors = {name: [eps * np.eye(n) for n in params[own].shape] for name, own in ROWS.items()}
    roots, grafts = {}, adam_norms(grads, 0.9, 0.99, 1e-3)
    for t, (g, (adam, norm)) in enumerate(zip(grads, grafts, strict=True)):
        direction = np.zeros_like(g)
        for name, own in ROWS.items():
            products = [unfolded(g[own], i) @ unfolded(g[own], i).T for i in range(2)]
            factors[name] = [
                b2 * h + (1 - b2) * new for h, new in zip(factors[name], products, strict=True)
            ]
            if t % period == 0:
                roots[name] = [power(h, -exponent) for h in factors[name]]
            direction[own] = along(along(g[own], roots[name][0], 0), roots[name][1], 1)
        step = adam if t < start else direction * norm / np.linalg.norm(direction)
        trace = step + momentum * trace
        move = -rate * (step + momentum * trace + decay * w)
        w = w + move
        moves.append(move)
    return flat(np.stack(moves))


def test_modern_shampoo_is_its_formula():
    params, grads = RNG.normal(size=KERNELS.shape[1:]), KERNELS[:50]
    tx = shampoo(
        0.1,
        1e-2,
        3,
        b2=0.9,
        exponent=0.4,
        block_size=3,
        grafting=scale_by_adam(0.9, 0.99, 1e-3),
        start_preconditioning_step=4,
        momentum=0.8,
        nesterov=True,
        weight_decay=0.2,
    )

    def body(carry, g):
        w, state = carry
        move, state = tx.update(g, state, w)
        return (w + move, state), move

    run = jax.jit(lambda w, grads: jax.lax.scan(body, (w, tx.init(w)), grads)[1])
    numbers = {"rate": 0.1, "eps": 1e-2, "period": 3, "b2": 0.9, "exponent": 0.4}
    numbers |= {"start": 4, "momentum": 0.8, "decay": 0.2}
    theirs = modern_by_hand(params, grads, **numbers)
    assert distance(flat(run(jnp.array(params), jnp.array(grads))), theirs) <= 1e-10


def test_the_sum_of_all_factors_is_the_limit_that_b2_of_1_means():
    """One axis has a diagonal, and tensors have three factors."""
    for grads in (KERNELS, TENSORS):
        ours = alone(shampoo(0.1, max_precond_dim=3, b2=jnp.array(1.0)), grads)
        assert distance(ours, alone(shampoo(0.1, max_precond_dim=3), grads)) <= 1e-12


def test_a_vector_keeps_the_exponent_one_half():
    grads = KERNELS[:, 0]
    ours = alone(shampoo(0.1, exponent=0.25, block_size=2), grads)
    assert distance(ours, alone(shampoo(0.1), grads)) <= 1e-12


def test_a_block_is_a_leaf_of_its_own():
    grads = RNG.normal(size=(5, 7, 4, 5))
    cuts = [(a, b) for a in (slice(0, 4), slice(4, 7)) for b in (slice(0, 4), slice(4, 5))]
    whole = np.zeros_like(grads)
    for a, b in cuts:
        own = grads[:, a, :, b]
        whole[:, a, :, b] = alone(scale_by_shampoo(b2=0.9), own).reshape(own.shape)
    assert distance(alone(scale_by_shampoo(b2=0.9, block_size=4), grads), flat(whole)) <= 1e-12


def test_the_derivative_by_a_factor_is_that_of_the_root():
    """At equal eigenvalues too, and of a gradient whose factors have no full rank."""
    tx = scale_by_shampoo(0.1, exponent=0.3)
    step = jax.jit(lambda g: jnp.sum(jnp.cos(tx.update(g, tx.init(g))[0])))
    for start in (jnp.eye(3), jnp.outer(jnp.arange(1.0, 4), jnp.ones(3))):
        direction = jnp.array(RNG.normal(size=(3, 3)))
        slope = jax.jvp(step, (start,), (direction,))[1]
        ahead, behind = (step(start + h * direction) for h in (1e-5, -1e-5))
        np.testing.assert_allclose(slope, (ahead - behind) / 2e-5, rtol=1e-6)


def test_grafting_gives_each_leaf_one_norm_and_another_direction():
    tree = {
        "w": jnp.array(RNG.normal(size=(3, 4))),
        "b": jnp.array([3.0, 4.0]),
        "zero": jnp.zeros(2),
    }
    tx = grafted(scale_by_sign(), optax.scale(2.0), start=1)
    first, state = tx.update(tree, tx.init(tree))
    second, _ = tx.update(tree, state)
    for name, g in tree.items():
        np.testing.assert_array_equal(first[name], 2 * g)
        np.testing.assert_allclose(
            jnp.linalg.norm(second[name]), 2 * jnp.linalg.norm(g), rtol=1e-12
        )
        np.testing.assert_array_equal(jnp.sign(second[name]), jnp.sign(g))
        assert jnp.ptp(jnp.abs(second[name])) <= 1e-12


def splus_by_hand(params, grads, *, rate, b1, b2, k, decay, constant):
    """Frans et al., algorithm 1, with the decay scaled as the step."""
    w, mean, moves, averages = params.copy(), np.zeros_like(params), [], []
    is_matrix = params.ndim == 2
    factors = [np.zeros((n, n)) for n in params.shape]
    bases = [np.eye(n) for n in params.shape]
    size = 2 / sum(params.shape) if is_matrix else constant
    average, ema_rate = np.zeros_like(params), 0.8
    for t, g in enumerate(grads, 1):
        mean = b1 * mean + (1 - b1) * g
        step = np.sign(bases[0].T @ mean @ bases[1]) if is_matrix else np.sign(mean)
        step = bases[0] @ step @ bases[1].T if is_matrix else step
        move = -rate * size * (step + decay * w)
        if is_matrix:
            products = g @ g.T, g.T @ g
            factors = [b2 * h + (1 - b2) * p for h, p in zip(factors, products, strict=True)]
            if t == 1 or t % k == 0:
                bases = [np.linalg.eigh(h)[1] for h in factors]
        w = w + move
        average = ema_rate * average + (1 - ema_rate) * w
        moves.append(move)
        averages.append(average / (1 - ema_rate**t))
    return flat(np.stack(moves)), flat(np.stack(averages))


@pytest.mark.parametrize("shape", [(4, 3), (5,), (2, 3, 2)])
def test_splus_is_its_formula_and_evaluates_its_average(shape):
    """Factors of 4 x 3 gradients lack one dimension at most, so their eigenvectors are unique."""
    rng = np.random.default_rng(8)
    params, grads = rng.normal(size=shape), rng.normal(size=(30, *shape))
    tx = splus(0.1, 0.8, 0.95, 0.8, 4, 0.3, 0.2)

    def body(carry, g):
        w, state = carry
        move, state = tx.update(g, state, w)
        return (w + move, state), (move, evaluation_params(state, w))

    run = jax.jit(lambda w, grads: jax.lax.scan(body, (w, tx.init(w)), grads)[1])
    ours = map(flat, run(jnp.array(params), jnp.array(grads)))
    numbers = {"rate": 0.1, "b1": 0.8, "b2": 0.95, "k": 4, "decay": 0.2, "constant": 0.3}
    theirs = splus_by_hand(params, grads, **numbers)
    for own, other in zip(ours, theirs, strict=True):
        assert distance(own, other) <= 1e-10


def test_splus_turns_with_the_basis():
    """Once the bases are eigenvectors: U of Q G is Q U, real and complex."""
    rng = np.random.default_rng(9)
    tx = scale_by_splus(inverse_every=2)
    for imaginary in (0.0, 1.0j):
        draw = lambda *s, i=imaginary: rng.normal(size=s) + i * rng.normal(size=s)
        turn, grads = np.linalg.qr(draw(4, 4))[0], draw(5, 4, 4)

        def last(grads):
            state = tx.init(jnp.array(grads[0]))
            return jax.lax.scan(lambda s, g: tx.update(g, s)[::-1], state, grads)[1][-1]

        ours, turned = jax.jit(last)(jnp.array(grads)), jax.jit(last)(jnp.array(turn @ grads))
        np.testing.assert_allclose(turned, turn @ ours, atol=1e-10)


def test_the_preconditioner_of_psgd_tends_to_the_inverse_root_of_the_second_moment():
    """Gradients A Z B with normal Z have the second moment (B'B) x (A A')."""
    rng = np.random.default_rng(10)
    a, b = (np.eye(n) + 0.5 * rng.normal(size=(n, n)) for n in (3, 4))
    whiten = lambda g: along(along(g, power(a @ a.T, -0.5), 0), power(b.T @ b, -0.5), 1)
    grads = jnp.array(a @ rng.normal(size=(6000, 3, 4)) @ b)

    def run(state, grads, rate):
        tx = scale_by_psgd_kron(1.0, rate, key=0)
        return jax.lax.scan(lambda s, g: tx.update(g, s)[::-1], state, grads)[0]

    state = scale_by_psgd_kron(key=0).init(grads[0])
    for part, rate in ((grads[:2000], 0.1), (grads[2000:4000], 0.02), (grads[4000:], 0.004)):
        state = jax.jit(run)(state, part, rate)
    probe = rng.normal(size=(3, 4))
    left, right = (q.T @ q for q in state.factors)
    assert jnp.array_equal(state.factors[0], jnp.triu(state.factors[0]))
    found, wanted = along(along(probe, left, 0), right, 1), whiten(probe)
    assert np.linalg.norm(found - wanted) <= 0.05 * np.linalg.norm(wanted)  # 2,000 random steps


def test_psgd_fits_once_in_a_number_of_steps():
    grads = jnp.array(RNG.normal(size=(9, 3, 2)))
    tx = scale_by_psgd_kron(lambda count: jnp.where(count < 6, 0.4, 0.0), key=1)
    _, states = jax.lax.scan(lambda s, g: (tx.update(g, s)[1],) * 2, tx.init(grads[0]), grads)
    moved = jnp.any(jnp.diff(states.factors[0], axis=0) != 0, axis=(1, 2))
    assert moved.tolist() == [False, True, False, False, True, False, False, False]
    assert states.since_fit.tolist() == [1, 2, 0, 1, 2, 0, 1, 2, 3]


@pytest.mark.parametrize(
    ("call", "error", "sentence"),
    [
        (lambda: shampoo(0.1, b2=1.5), ValueError, r"scale_by_shampoo: `b2` must lie in \[0, 1\]"),
        (lambda: shampoo(0.1, exponent=0.0), ValueError, r"`exponent` must lie in \(0, inf\)"),
        (lambda: shampoo(0.1, block_size=0), ValueError, r"`block_size` must lie in \[1, inf\)"),
        (lambda: shampoo(0.1, block_size=2.0), TypeError, "`block_size` must be an int"),
        (lambda: shampoo(0.1, start_preconditioning_step=5), ValueError, "needs `grafting`"),
        (lambda: shampoo(0.1, nesterov=1), TypeError, "shampoo: `nesterov` must be True or False"),
        (lambda: splus(0.1, b2=1.0), ValueError, r"scale_by_splus: `b2` must lie in \[0, 1\)"),
        (lambda: splus(0.1, inverse_every=0), ValueError, "`inverse_every` must lie in"),
        (lambda: splus(0.1, ema_rate=1.0), ValueError, r"ema_params: `decay` must lie in \[0, 1\)"),
        (lambda: splus(0.1, nonstandard_constant=-1.0), ValueError, "splus: `nonstandard_const"),
        (lambda: psgd_kron(0.1, preconditioner_update_probability=2.0, key=0), ValueError,
         r"scale_by_psgd_kron: `preconditioner_update_probability` must lie in \[0, 1\]"),
        (lambda: psgd_kron(0.1, preconditioner_init_scale=0.0, key=0), ValueError, "init_scale`"),
        (lambda: psgd_kron(0.1, preconditioner_lr=-1.0, key=0), ValueError, "preconditioner_lr`"),
        (lambda: psgd_kron(0.1, max_size_triangular=1.5, key=0), TypeError, "max_size_triangular"),
        (lambda: grafted(identity(), identity(), -1), ValueError, r"grafted: `start` must lie in"),
        (lambda: grafted(identity, identity()), TypeError, "grafted: `direction` must be a grad"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(call, error, sentence, as_users_run_it):
    with pytest.raises(error, match=sentence):
        call()
