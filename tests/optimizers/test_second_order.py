"""L-BFGS and Newton-CG: against optax, NumPy transcriptions of the book, and closed forms."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxopt_course.core import hvp
from jaxopt_course.optimizers import lbfgs, newton_cg, scale_by_lbfgs, scale_by_newton_cg
from jaxopt_course.surfaces import rosenbrock, saddle
from tests.tiers import everyday_first


N = 8
CURVATURES = np.logspace(-2, 2, N)
ROTATION = np.linalg.qr(np.random.default_rng(0).normal(size=(N, N)))[0]
HESSIAN = ROTATION @ np.diag(CURVATURES) @ ROTATION.T
TARGET = np.linspace(-1.0, 2.0, N)


def quadratic(params):
    """Two leaves, one Hessian over both."""
    away = jnp.concatenate([params["a"], params["b"].ravel()]) - TARGET
    return away @ HESSIAN @ away / 2


def convex(params):
    """Not quadratic: log cosh of a rotated scaling."""
    away = jnp.concatenate([params["a"], params["b"].ravel()]) - TARGET
    x = (ROTATION * np.sqrt(CURVATURES)) @ away
    return jnp.sum(jnp.logaddexp(x, -x))


START = {"a": jnp.zeros(3), "b": jnp.zeros((N - 3, 1))}


def flat(params):
    return np.concatenate([np.ravel(x) for x in jax.tree.leaves(params)])


def run(tx, fn, params, steps):
    """Parameters after each step, f[steps, n], and the last state."""

    def body(carry, _):
        params, state = carry
        value, grads = jax.value_and_grad(fn)(params)
        updates, state = tx.update(grads, state, params, value=value, grad=grads, value_fn=fn)
        params = jax.tree.map(jnp.add, params, updates)
        return (params, state), params

    scan = jax.jit(lambda p: jax.lax.scan(body, (p, tx.init(p)), length=steps))
    (_, state), path = scan(params)
    leaves = [np.asarray(x).reshape(steps, -1) for x in jax.tree.leaves(path)]
    return np.concatenate(leaves, axis=1), state


# L-BFGS


@pytest.mark.parametrize(
    "options",
    everyday_first(
        1,
        [
            {"learning_rate": 0.02, "linesearch": None},
            {"learning_rate": 0.02, "linesearch": None, "memory_size": 3},
            {"learning_rate": 0.01, "linesearch": None, "scale_init_precond": False},
            {"learning_rate": lambda t: 0.05 / (t + 1), "linesearch": None},
        ],
    ),
)
def test_lbfgs_takes_the_steps_of_optax_on_convex_functions(options, standard_promotion):
    """A fixed short rate: 200 steps that do not converge to where all is rounding."""
    ours, _ = run(lbfgs(**options), convex, START, 200)
    theirs, _ = run(optax.lbfgs(**options), convex, START, 200)
    gap = np.linalg.norm(ours - theirs, axis=1) / np.linalg.norm(theirs, axis=1)
    assert gap.max() < 1e-10


def test_with_its_line_search_too_until_rounding_decides(standard_promotion):
    ours, state = run(lbfgs(), convex, START, 12)
    theirs, expected = run(optax.lbfgs(), convex, START, 12)
    np.testing.assert_allclose(ours, theirs, rtol=1e-9)
    chex.assert_trees_all_close(state[2], expected[2], rtol=1e-6)


def two_loops(grad, pairs, gamma):
    """Algorithm 7.4 of the book."""
    q, alphas = grad.copy(), []
    for s, y in reversed(pairs):
        alpha = (s @ q) / (s @ y)
        alphas.append(alpha)
        q = q - alpha * y
    r = gamma * q
    for (s, y), alpha in zip(pairs, reversed(alphas), strict=True):
        r = r + s * (alpha - (y @ r) / (s @ y))
    return r


@pytest.mark.parametrize("memory_size", [1, 4])
def test_lbfgs_is_algorithm_7_5_without_the_pairs_of_negative_curvature(memory_size):
    """200 random points and gradients: half of the pairs curve downwards."""
    rng = np.random.default_rng(1)
    points, grads = rng.normal(size=(2, 200, 6))
    tx = scale_by_lbfgs(memory_size)
    update, state = jax.jit(tx.update), tx.init(jnp.zeros(6))
    pairs, skipped = [], 0
    for k, (x, g) in enumerate(zip(points, grads, strict=True)):
        if k > 0:
            s, y = x - points[k - 1], g - grads[k - 1]
            skipped += s @ y <= 0
            pairs = [*pairs, (s, y)][-memory_size:] if s @ y > 0 else pairs
        s, y = pairs[-1] if pairs else (None, None)
        gamma = (s @ y) / (y @ y) if pairs else 1 / max(1, np.linalg.norm(g))
        expected = two_loops(g, pairs, gamma)
        r, state = update(jnp.asarray(g), state, jnp.asarray(x))
        np.testing.assert_allclose(r, expected, rtol=1e-9, atol=1e-9 * np.linalg.norm(expected))
        assert r @ g > 0
    assert 50 < skipped < 150
    assert int(state.count) == 200
    assert int(state.pairs) == 199 - skipped


def test_a_planted_pair_of_negative_curvature_is_stored_by_optax_and_skipped_here(
    standard_promotion,
):
    points, grads = jnp.array([[1.0, 0.0], [2.0, 0.5]]), jnp.array([[1.0, 0.2], [0.5, 0.1]])
    directions = {}
    for name, tx in {"ours": scale_by_lbfgs(), "optax": optax.scale_by_lbfgs()}.items():
        state = tx.init(points[0])
        for x, g in zip(points, grads, strict=True):
            directions[name], state = tx.update(g, state, x)
        assert bool(state.weights_memory.any()) == (name == "optax")
    assert directions["optax"] @ grads[1] < 0 < directions["ours"] @ grads[1]


@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e12])
def test_what_is_negligible_curvature_does_not_depend_on_units(scale):
    """Orthogonal step and change but for rounding: 1e-17 of |s| |y|; and 1e-3 of it is enough."""
    for cosine, stored in ((1e-17, 0), (1e-3, 1)):
        tx, state = scale_by_lbfgs(), None
        state = tx.init(jnp.zeros(2))
        for x, g in (([0.0, 0.0], [0.0, 0.0]), ([1.0, 0.0], [cosine * scale, scale])):
            _, state = tx.update(jnp.array(g), state, jnp.array(x))
        assert int(state.pairs) == stored


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
def test_lbfgs_remembers_in_float32(dtype):
    tx = lbfgs(0.1, linesearch=None)
    params = jnp.ones(3, dtype)
    state = tx.init(params)[0]
    kept = (state.params, state.diff_params_memory, state.diff_updates_memory)
    assert {x.dtype for x in jax.tree.leaves(kept)} == {jnp.dtype(jnp.float32)}
    for g in (0.0, 1e-4, 6e4):  # 6e4 squared is infinite in float16
        updates, _ = tx.update(jnp.full(3, g, dtype), tx.init(params), params)
        assert updates.dtype == dtype
        assert bool(jnp.isfinite(updates).all())


# Hessian-vector products


def test_hvp_is_the_product_with_the_hessian(key):
    params = {"a": jax.random.normal(key, (3,)), "b": jnp.ones((N - 3, 1))}
    vector = jax.tree.map(jnp.cos, params)
    product = jax.jit(functools.partial(hvp, quadratic))(params, vector)
    chex.assert_trees_all_equal_shapes_and_dtypes(product, params)
    np.testing.assert_allclose(flat(product), HESSIAN @ flat(vector), rtol=1e-12)


def test_hvp_names_the_leaf_that_does_not_fit():
    with pytest.raises(ValueError, match=r"hvp: vector at \['a'\] has shape \(2,\)"):
        hvp(quadratic, START, START | {"a": jnp.zeros(2)})


# Newton-CG


def algorithm_7_1(g, hessian, limit):
    """The inner loop of the book's algorithm, which minimizes: z of -H z = g, sign turned."""
    norm = np.linalg.norm(g)
    enough = min(0.5, np.sqrt(norm)) * norm
    z, r, d = np.zeros_like(g), g.copy(), -g
    for j in range(limit):
        if np.linalg.norm(r) <= enough:
            break
        hd = hessian @ d
        if d @ hd <= 0:
            return (g, j + 1) if j == 0 else (-z, j + 1)
        a = (r @ r) / (d @ hd)
        z, new = z + a * d, r + a * hd
        d, r = -new + (new @ new) / (r @ r) * d, new
    else:
        j = limit
    return -z, j


@pytest.mark.parametrize("size", [1e-6, 1e-2, 10.0])
def test_newton_cg_is_algorithm_7_1(size):
    """Gradients of random Hessians, half of them indefinite, over the range of the forcing term."""
    rng, steps_seen, curved = np.random.default_rng(2), set(), 0

    @jax.jit
    def direction(hessian, g):
        fn = lambda x: x @ hessian @ x / 2 + g @ x
        return scale_by_newton_cg(20).update(g, scale_by_newton_cg(20).init(g), 0 * g, value_fn=fn)

    for _ in range(70):
        a = rng.normal(size=(6, 6))
        hessian = a @ a.T if rng.random() < 0.5 else (a + a.T)
        g = size * rng.normal(size=6)
        expected, steps = algorithm_7_1(g, hessian, 20)
        z, state = direction(hessian, g)
        np.testing.assert_allclose(z, expected, rtol=1e-6, atol=1e-8 * np.linalg.norm(expected))
        assert int(state.num_cg_steps) == steps
        assert z @ g > 0
        steps_seen.add(steps)
        curved += np.linalg.eigvalsh(hessian)[0] < 0
    assert len(steps_seen) >= 3
    assert curved > 20


def test_conjugate_gradients_solve_a_quadratic_in_as_many_steps_as_it_has_curvatures():
    """n distinct curvatures take n steps; m of them m, whatever n. The forcing term is off."""
    for m in (1, 2, 5):
        curvatures = np.repeat([1.0, 3.0, 4.0, 7.0, 9.0][:m], 2)
        g = 1e-13 * np.linspace(1.0, 2.0, 2 * m)  # small: the term asks for 1e-6.5 of it
        fn = lambda x, c=curvatures: jnp.sum(c * x**2) / 2
        tx = scale_by_newton_cg()
        z, state = tx.update(jnp.asarray(g), tx.init(g), jnp.asarray(g / curvatures), value_fn=fn)
        assert int(state.num_cg_steps) == m
        np.testing.assert_allclose(z, g / curvatures, rtol=1e-6)


def test_the_limit_of_conjugate_gradients_holds_and_one_step_is_steepest_descent():
    g = jax.grad(quadratic)(START)
    tx = scale_by_newton_cg(1)
    z, state = tx.update(g, tx.init(START), START, value_fn=quadratic)
    assert int(state.num_cg_steps) == 1
    v = flat(g)
    np.testing.assert_allclose(flat(z), v * (v @ v) / (v @ HESSIAN @ v), rtol=1e-12)


@pytest.mark.parametrize("tx", [lbfgs(), newton_cg()], ids=["lbfgs", "newton_cg"])
def test_a_saddle_is_left(tx):
    """The surface has no lower bound: each finds its way down along y."""
    path, _ = run(tx, saddle, jnp.array([-1.0, 1e-3]), 15)
    values = saddle(jnp.asarray(path))
    assert float(values.min()) < -10
    assert bool((jnp.diff(values) < 1e-12).all())


@pytest.mark.parametrize(("tx", "steps"), [(lbfgs(), 45), (newton_cg(), 70)], ids=["l", "n"])
def test_rosenbrock_in_few_steps(tx, steps):
    path, _ = run(tx, rosenbrock, jnp.array([-1.2, 1.0]), steps)
    np.testing.assert_allclose(path[-1], 1.0, atol=1e-6)


def test_newton_converges_superlinearly():
    """The forcing term's root of |g| promises the order 1.5 near the minimum."""
    path, _ = run(newton_cg(), lambda x: jnp.sum(jnp.cosh(x)) + x[0] ** 2, jnp.array([0.8, 0.5]), 6)
    errors = np.linalg.norm(path, axis=1)
    errors = errors[(errors < 0.05) & (errors > 1e-14)]
    assert len(errors) >= 3
    assert (errors[1:] <= errors[:-1] ** 1.4).all(), errors


# What around the line search is ours


@pytest.mark.parametrize("tx", [lbfgs(), newton_cg()], ids=["lbfgs", "newton_cg"])
def test_arguments_of_the_function_reach_the_line_search_and_unknown_ones_do_no_harm(tx):
    fn = lambda params, scale: scale * jnp.sum((params - 1.0) ** 2)
    params = jnp.zeros(2)
    value, grad = jax.value_and_grad(fn)(params, 2.0)
    updates, _ = tx.update(
        grad, tx.init(params), params, value=value, grad=grad, value_fn=fn, scale=2.0, epoch=3
    )
    assert fn(params + updates, 2.0) < value


def test_value_and_gradient_can_be_taken_from_the_state(standard_promotion):
    tx, params = lbfgs(), jnp.array([-1.2, 1.0])
    state = tx.init(params)
    value_and_grad = optax.value_and_grad_from_state(rosenbrock)
    for _ in range(3):
        value, grad = value_and_grad(params, state=state)
        np.testing.assert_allclose(value, rosenbrock(params), rtol=1e-12)
        updates, state = tx.update(grad, state, params, value=value, grad=grad, value_fn=rosenbrock)
        params = params + updates


def test_a_state_of_lbfgs_has_placeholders_where_the_params_are():
    """optax's own line search asks a tree of placeholders for its first leaf, and fails."""
    found = optax.tree_utils.tree_map_params(
        newton_cg(), lambda x: "found", newton_cg().init(START), transform_non_params=lambda x: x
    )
    assert jax.tree.leaves(found[2].grad) == ["found", "found"]


@pytest.mark.parametrize(
    ("call", "error", "sentence"),
    [
        (lambda: lbfgs(memory_size=0), ValueError, r"scale_by_lbfgs: `memory_size` must lie in"),
        (
            lambda: jax.vmap(lambda m: scale_by_lbfgs(m).init(START))(jnp.arange(1, 3)),
            TypeError,
            "`memory_size` is static",
        ),
        (lambda: newton_cg(max_iterations=0), ValueError, r"`max_iterations` must lie in \[1, inf"),
        (
            lambda: scale_by_newton_cg().update(START, scale_by_newton_cg().init(START), START),
            ValueError,
            "scale_by_newton_cg differentiates the function: call",
        ),
        (
            lambda: lbfgs().update(START, lbfgs().init(START), START, value=jnp.array(1.0)),
            ValueError,
            "lbfgs: the line search needs `grad`, `value_fn`: call",
        ),
        (
            lambda: lbfgs().update(START, lbfgs().init(START)),
            ValueError,
            "scale_by_lbfgs reads the parameters",
        ),
    ],
)
def test_bad_use_is_named(call, error, sentence, as_users_run_it):
    with pytest.raises(error, match=sentence):
        call()
