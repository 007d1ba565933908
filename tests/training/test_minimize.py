"""Minimization: scipy's minimizers, every outcome, populations, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.optimize

from jaxopt_course.minimization import MinimizeOutcome, minimize
from jaxopt_course.optimizers import adam, lbfgs, nesterov, newton_cg, sgd
from jaxopt_course.surfaces import SURFACES, beale, himmelblau, rosenbrock, saddle
from jaxopt_course.transforms import chain, scale


def outcome(minimum):
    return MinimizeOutcome(int(minimum.outcome))


def bowl(x):
    return jnp.sum(jnp.square(x - 1.0))


# Steps seen with gtol = 1e-5; scipy's L-BFGS-B takes 36, 15 and 10.
STEPS = {
    ("rosenbrock", "lbfgs"): 35,
    ("rosenbrock", "newton_cg"): 67,
    ("rosenbrock", "adam"): 2239,
    ("beale", "lbfgs"): 15,
    ("beale", "newton_cg"): 11,
    ("beale", "adam"): 604,
    ("himmelblau", "lbfgs"): 10,
    ("himmelblau", "newton_cg"): 7,
    ("himmelblau", "sgd"): 308,
    ("ravine", "lbfgs"): 10,
    ("ravine", "newton_cg"): 2,
    ("ravine", "sgd"): 1246,
}
OPTIMIZERS = {
    "lbfgs": lambda: lbfgs(),
    "newton_cg": lambda: newton_cg(),
    "adam": lambda: adam(0.05),
    "sgd": lambda: sgd(1e-3, 0.9),
}


@pytest.mark.parametrize(
    ("surface", "optimizer"),
    [
        pytest.param(*case, marks=() if case[0] == "rosenbrock" else pytest.mark.exhaustive)
        for case in STEPS
    ],
)
def test_the_minimizer_is_scipys_after_about_the_steps_stated(surface, optimizer):
    fn, start = SURFACES[surface].fn, np.array(SURFACES[surface].start)
    found = minimize(fn, start, OPTIMIZERS[optimizer](), max_steps=5000)
    slope = jax.jit(jax.value_and_grad(fn))
    theirs = scipy.optimize.minimize(slope, start, jac=True, method="BFGS", tol=1e-9)
    assert outcome(found) == MinimizeOutcome.CONVERGED
    assert float(found.gradient_norm) <= 1e-5
    np.testing.assert_allclose(found.params, theirs.x, atol=1e-4)  # 1e-5 over curvature 0.3
    assert int(found.steps) <= 1.1 * STEPS[surface, optimizer] + 2
    np.testing.assert_allclose(found.value, fn(found.params), rtol=1e-9, atol=1e-15)


@pytest.mark.exhaustive
def test_logistic_regression_is_scikit_learns():
    linear_model = pytest.importorskip("sklearn.linear_model")
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 3))
    y = (x @ [1.0, -2.0, 0.5] + rng.normal(size=60) > 0).astype(float)

    def loss(params, x, y):
        logits = x @ params["w"] + params["b"]
        return jnp.sum(jax.nn.softplus(logits) - y * logits) + jnp.sum(params["w"] ** 2) / 2

    params = {"w": jnp.zeros(3), "b": jnp.zeros(())}
    theirs = linear_model.LogisticRegression(C=1.0, tol=1e-10, max_iter=1000).fit(x, y)
    for optimizer in (lbfgs(), newton_cg()):
        found = minimize(loss, params, optimizer, args=(x, y), gtol=1e-8)
        assert outcome(found) == MinimizeOutcome.CONVERGED
        assert int(found.steps) < 25
        np.testing.assert_allclose(found.params["w"], theirs.coef_[0], atol=1e-6)
        np.testing.assert_allclose(found.params["b"], theirs.intercept_[0], atol=1e-6)


@pytest.mark.exhaustive
def test_a_search_that_stored_its_gradient_spares_the_next_one():
    """What a line search found is not computed again, unless a link behind it moves the params."""
    calls = []

    def counted(x):
        jax.debug.callback(lambda: calls.append(1))
        return rosenbrock(x)

    counts = []
    start = jnp.array([-1.2, 1.0])
    for optimizer in (lbfgs(), chain(lbfgs(), scale(1.0))):
        calls.clear()
        found = minimize(counted, start, optimizer, max_steps=10)
        jax.effects_barrier()
        counts.append(len(calls))
        np.testing.assert_allclose(found.value, rosenbrock(found.params), rtol=1e-12)
    assert counts[1] == counts[0] + 10
    found = minimize(rosenbrock, start, chain(lbfgs(), scale(0.5)), max_steps=3)
    np.testing.assert_allclose(found.value, rosenbrock(found.params), rtol=1e-12)


def test_gradients_are_taken_where_the_optimizer_looks():
    found = minimize(bowl, jnp.zeros(2), nesterov(0.1, 0.5))
    assert outcome(found) == MinimizeOutcome.CONVERGED
    np.testing.assert_allclose(found.value, bowl(found.params), rtol=1e-12)
    np.testing.assert_allclose(found.params, 1.0, atol=1e-5)


def test_optimizers_of_optax_are_welcome(standard_promotion):
    found = minimize(rosenbrock, jnp.array([-1.2, 1.0]), optax.lbfgs())
    assert outcome(found) == MinimizeOutcome.CONVERGED
    np.testing.assert_allclose(found.params, 1.0, atol=1e-5)


# Outcomes

ENDS = [
    ("start is there", bowl, 1.0, sgd(0.1), {}, MinimizeOutcome.CONVERGED, 0),
    ("level", bowl, 0.0, sgd(0.1), {"ftol": 1e-3, "gtol": 0.0}, MinimizeOutcome.CONVERGED, None),
    ("limit", bowl, 0.0, sgd(0.1), {"max_steps": 7}, MinimizeOutcome.ITERATION_LIMIT, 7),
    ("no step", bowl, 0.0, sgd(0.1), {"max_steps": 0}, MinimizeOutcome.ITERATION_LIMIT, 0),
    ("to and fro", bowl, 0.0, sgd(1.0), {"patience": 5}, MinimizeOutcome.NO_PROGRESS, 5),
    ("rate 0", bowl, 0.0, sgd(0.0), {"patience": 3}, MinimizeOutcome.NO_PROGRESS, 3),
    ("unbounded", saddle, 0.5, sgd(10.0), {}, MinimizeOutcome.NOT_FINITE, None),
    ("bad start", lambda x: jnp.sum(jnp.log(x)), -1.0, sgd(0.1), {}, MinimizeOutcome.NOT_FINITE, 0),
]


@pytest.mark.parametrize(
    ("fn", "start", "tx", "options", "code", "steps"),
    [e[1:] for e in ENDS],
    ids=[e[0] for e in ENDS],
)
def test_every_end_has_its_name_and_a_sentence(fn, start, tx, options, code, steps):
    found = minimize(fn, jnp.full(2, start), tx, **options)
    assert outcome(found) == code
    assert steps is None or int(found.steps) == steps
    sentence = str(found)
    assert sentence.split()[0].rstrip(":").lower() in {"converged", "stopped", "no", "not"}
    if code == MinimizeOutcome.NOT_FINITE and steps is None:
        assert bool(jnp.isfinite(found.params).all() & jnp.isfinite(found.value))
        assert "bounded below" in sentence
    if steps == 0 and code == MinimizeOutcome.NOT_FINITE:
        assert "start" in sentence


def test_at_the_limit_of_single_precision_it_says_so():
    """Rounding of values around 26 hides any progress below a slope of 1e-4."""
    start = jnp.asarray(SURFACES["rastrigin"].start, jnp.float32)
    found = minimize(SURFACES["rastrigin"].fn, start, lbfgs(), gtol=0.0, patience=10)
    assert outcome(found) == MinimizeOutcome.NO_PROGRESS
    assert float(found.gradient_norm) < 1e-2


def test_the_history_holds_the_values_and_nan_after_the_end():
    found = minimize(bowl, jnp.zeros(1), sgd(0.25), gtol=0.1, history_size=8)
    steps = int(found.steps)
    np.testing.assert_allclose(found.history[: steps + 1], 0.25 ** np.arange(steps + 1))
    assert bool(jnp.isnan(found.history[steps + 1 :]).all())
    short = minimize(bowl, jnp.zeros(1), sgd(0.25), gtol=0.1, history_size=2)
    np.testing.assert_allclose(short.history, [1.0, 0.25])


# Populations


@pytest.mark.exhaustive
def test_it_maps_over_starts_and_ends_each_as_alone():
    starts = jnp.array([[0.0, 0.0], [-3.0, 3.0], [-3.0, -3.0], [3.0, -2.0]])
    run = lambda start: minimize(himmelblau, start, lbfgs())
    together = jax.jit(jax.vmap(run))(starts)
    assert (together.outcome == int(MinimizeOutcome.CONVERGED)).all()
    assert len(np.unique(np.round(together.params, 3), axis=0)) == 4
    alone = jax.jit(run)
    for i, start in enumerate(starts):
        found = alone(start)
        assert int(found.steps) == int(together.steps[i])
        np.testing.assert_allclose(found.params, together.params[i], atol=1e-7)


def test_it_maps_over_hyperparameters_and_limits():
    def run(rate, gtol, max_steps, patience):
        return minimize(
            bowl, jnp.zeros(2), sgd(rate), gtol=gtol, max_steps=max_steps, patience=patience
        )

    numbers = ([0.1, 0.1, 0.1, 1.0], [1e-3, 1e-6, 0.0, 0.0], [500, 500, 9, 500], [9, 9, 9, 4])
    found = jax.jit(jax.vmap(run))(*map(jnp.array, numbers))
    codes = [MinimizeOutcome(int(code)).name for code in found.outcome]
    assert codes == ["CONVERGED", "CONVERGED", "ITERATION_LIMIT", "NO_PROGRESS"]
    assert int(found.steps[0]) < int(found.steps[1])
    assert found.steps[2:].tolist() == [9, 4]


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32])
def test_dtypes_are_kept(dtype):
    params = {"a": jnp.zeros(2, dtype), "b": jnp.zeros((), dtype)}
    fn = lambda p: (jnp.sum((p["a"] - 1) ** 2) + p["b"] ** 2).astype(jnp.float32)
    found = minimize(fn, params, lbfgs(), max_steps=5)
    assert found.params["a"].dtype == dtype
    assert float(found.value) < 1e-3


@pytest.mark.parametrize(
    ("call", "error", "sentence"),
    [
        (lambda: minimize(jnp.sin, jnp.zeros(3), sgd(0.1)), ValueError, r"shape \(3,\); take its"),
        (
            lambda: minimize(lambda x: (x, 1.0), jnp.array(0.0), sgd(0.1)),
            TypeError,
            "`fn` must return one floating point number",
        ),
        (
            lambda: minimize(lambda p: 0.0, {"n": jnp.array([1, 2])}, sgd(0.1)),
            TypeError,
            r"minimize: `params` at \['n'\] must be real floating point numbers, got int",
        ),
        (lambda: minimize(beale, jnp.zeros(2), sgd), TypeError, "`optimizer` must be a gradient"),
        (
            lambda: minimize(beale, jnp.zeros(2), sgd(0.1), gtol=-1.0),
            ValueError,
            r"minimize: `gtol` must lie in \[0, inf\), got -1.0",
        ),
        (
            lambda: minimize(beale, jnp.zeros(2), sgd(0.1), ftol=float("nan")),
            ValueError,
            r"`ftol` must lie in",
        ),
        (lambda: minimize(beale, jnp.zeros(2), sgd(0.1), max_steps=-1), ValueError, "`max_steps`"),
        (lambda: minimize(beale, jnp.zeros(2), sgd(0.1), patience=0), ValueError, "`patience`"),
        (
            lambda: minimize(beale, jnp.zeros(2), sgd(0.1), history_size=1.5),
            TypeError,
            "`history_size` must be an int",
        ),
    ],
)
def test_bad_use_is_named(call, error, sentence, as_users_run_it):
    with pytest.raises(error, match=sentence):
        call()
