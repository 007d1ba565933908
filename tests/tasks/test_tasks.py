"""Every adapter gives the same three functions, trains, and keeps padding out of statistics."""

import dataclasses

import chex
import flax.linen as linen
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxopt_course.nn import MLP, BatchNorm
from jaxopt_course.problems import problem
from jaxopt_course.tasks import Batch, Task, function_task, linen_task, nnx_task, pytree_task
from tests.tiers import everyday_first


REGRESSION = problem("regression")
N = 24


def line() -> Batch:
    """Targets that a linear map fits exactly."""
    inputs = jax.random.normal(jax.random.key(3), (N, 2))
    return Batch(inputs, inputs @ jnp.array([[2.0], [-1.0]]))


def linen_line() -> Task:
    return linen_task(MLP(1, (), param_dtype=jnp.float64), jnp.zeros((1, 2)), REGRESSION)


def nnx_line() -> Task:
    make = lambda rngs: nnx.Linear(2, 1, rngs=rngs, param_dtype=jnp.float64)
    return nnx_task(make, REGRESSION)


def function_line() -> Task:
    init = lambda key: {"w": jax.random.normal(key, (2, 1))}
    return function_task(init, lambda params, x: x @ params["w"], REGRESSION)


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class Line:
    weight: jax.Array
    shifts: jax.Array
    name: str = dataclasses.field(metadata={"static": True})

    def __call__(self, x):
        return self.weight @ x + self.shifts


def pytree_line() -> Task:
    make = lambda key: Line(jax.random.normal(key, (1, 2)), jnp.zeros(1), "line")
    return pytree_task(make, REGRESSION)


ADAPTERS = [linen_line, nnx_line, function_line, pytree_line]


@pytest.mark.parametrize("make", ADAPTERS)
def test_gradient_descent_fits_a_line(make, key):
    task, batch = make(), line()

    def mean_loss(params, state):
        losses, (state, metrics) = task.loss(params, state, batch, key=key, train=True)
        chex.assert_shape([losses, *metrics.values()], (N,))
        return losses.mean(), state

    def step(carry, _):
        params, state = carry
        grads, state = jax.grad(mean_loss, has_aux=True)(params, state)
        return (jax.tree.map(lambda p, g: p - 0.2 * g, params, grads), state), None

    (params, state), _ = jax.lax.scan(step, task.init(key), length=200)
    predictions = jax.jit(task.predict)(params, state, batch.inputs)
    chex.assert_trees_all_close(predictions, batch.targets, atol=1e-6)


@pytest.mark.parametrize("make", ADAPTERS)
def test_the_initial_parameters_are_a_function_of_the_key(make):
    task = make()
    one, same, other = (task.init(jax.random.key(seed)) for seed in (0, 0, 1))
    chex.assert_trees_all_equal(one, same)
    assert any((a != b).any() for a, b in zip(*map(jax.tree.leaves, (one, other)), strict=True))


def test_the_problem_decides_on_activation_loss_and_metrics(key):
    task = linen_task(MLP(3, (), param_dtype=jnp.float64), jnp.zeros((1, 2)), problem("multiclass"))
    params, state = task.init(key)
    inputs, targets = line().inputs, jnp.arange(N) % 3
    losses, (_, metrics) = task.loss(params, state, Batch(inputs, targets), key=None, train=False)
    probabilities = task.predict(params, state, inputs)
    picked = jnp.take_along_axis(probabilities, targets[:, None], axis=1)[:, 0]
    chex.assert_trees_all_close(losses, -jnp.log(picked), rtol=1e-12)
    chex.assert_trees_all_close(metrics["accuracy"], probabilities.argmax(-1) == targets)


class NormalizedNNX(nnx.Module):
    def __init__(self, rngs, rate=0.5):
        self.linear = nnx.Linear(2, 4, rngs=rngs)
        self.norm = nnx.BatchNorm(4, rngs=rngs)
        self.dropout = nnx.Dropout(rate, rngs=rngs)
        self.last = nnx.Linear(4, 1, rngs=rngs)

    def __call__(self, x, mask=None):
        mask = None if mask is None else mask[:, None]
        x = self.linear(x.astype(jnp.float32))  # flax's batch statistics are float32
        return self.last(self.dropout(self.norm(x, mask=mask)))


class MasklessNNX(NormalizedNNX):
    def __call__(self, x):
        return super().__call__(x)


class MasklessLinen(linen.Module):
    @linen.compact
    def __call__(self, x, train):
        x = BatchNorm(0.9)(linen.Dense(4, use_bias=False, param_dtype=x.dtype)(x), train)
        return linen.Dense(1, param_dtype=x.dtype)(x)


def normalized_linen() -> Task:
    model = MLP(1, (4,), normalization="batch", dropout=0.5, param_dtype=jnp.float64)
    return linen_task(model, jnp.zeros((1, 2)), REGRESSION)


def normalized_nnx() -> Task:
    return nnx_task(NormalizedNNX, REGRESSION)


def mean_loss(task, params, state, batch, key):
    losses, (state, _) = task.loss(params, state, batch, key=key, train=True)
    weights = jnp.ones_like(losses) if batch.weights is None else batch.weights.astype(losses.dtype)
    return (losses * weights).sum() / weights.sum(), state


@pytest.mark.parametrize("make", everyday_first(1, [normalized_linen, normalized_nnx]))
def test_padding_reaches_neither_statistics_nor_gradients(make, key, standard_promotion):
    # Other numbers in rows of weight 0 must change nothing; those of the other rows would.
    task = make()
    params, state = task.init(key)
    batch = line()
    weights = jnp.where(jnp.arange(N) < 16, 1.0, 0.0)
    garbage = jnp.where(weights[:, None] > 0, batch.inputs, 1e3)
    compute = jax.jit(
        lambda x, w: jax.value_and_grad(
            lambda p: mean_loss(task, p, state, Batch(x, batch.targets, w), key), has_aux=True
        )(params)
    )
    plain, padded = (compute(x, weights) for x in (batch.inputs, garbage))
    chex.assert_trees_all_close(plain, padded, rtol=1e-5, atol=1e-6)  # flax: float32 statistics
    unmasked = compute(garbage, jnp.ones(N))
    assert abs(unmasked[0][0] - plain[0][0]) > 1e-3


@pytest.mark.parametrize("make", [normalized_linen, normalized_nnx])
def test_the_key_decides_on_dropout_and_evaluation_draws_nothing(make, key, standard_promotion):
    task = make()
    params, state = task.init(key)
    loss = lambda seed: mean_loss(task, params, state, line(), jax.random.key(seed))[0]
    assert loss(0) == loss(0) != loss(1)
    first, second = (task.loss(params, state, line(), key=None, train=False) for _ in range(2))
    chex.assert_trees_all_equal(first, second)
    chex.assert_trees_all_equal(first[1][0], state)


class WantsMask(NormalizedNNX):
    def __call__(self, x, mask):
        return super().__call__(x, mask)


def test_a_mask_without_a_default_is_none_in_evaluation(key, standard_promotion):
    task, batch = nnx_task(WantsMask, REGRESSION), line()
    params, state = task.init(key)
    plain = normalized_nnx()
    chex.assert_trees_all_equal(
        task.predict(params, state, batch.inputs), plain.predict(params, state, batch.inputs)
    )
    task.loss(params, state, batch, key=None, train=False)


@pytest.mark.parametrize("make", [normalized_linen, normalized_nnx])
def test_training_moves_the_model_state_and_keeps_its_structure(make, key, standard_promotion):
    task = make()
    params, state = task.init(key)
    _, new = mean_loss(task, params, state, line(), key)
    chex.assert_trees_all_equal_shapes_and_dtypes(state, new)
    assert any((a != b).any() for a, b in zip(*map(jax.tree.leaves, (state, new)), strict=True))


@pytest.mark.parametrize(
    "make",
    [
        lambda: linen_task(MasklessLinen(), jnp.zeros((1, 2)), REGRESSION),
        lambda: nnx_task(MasklessNNX, REGRESSION),
    ],
)
def test_batch_statistics_without_a_mask_are_refused_where_rows_may_be_padding(
    make, key, standard_promotion
):
    task, batch = make(), line()
    params, state = task.init(key)
    with pytest.raises(ValueError, match=r"takes no `mask`.*`batch_size` that divides"):
        task.loss(params, state, batch._replace(weights=jnp.ones(N)), key=key, train=True)
    task.loss(params, state, batch, key=key, train=True)
    task.loss(params, state, batch._replace(weights=jnp.ones(N)), key=None, train=False)


class Undecided(linen.Module):
    """Asks by another name whether it trains."""

    @linen.compact
    def __call__(self, x, deterministic=True):
        return linen.Dropout(0.5, deterministic=deterministic)(linen.Dense(1)(x))


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: linen_task(MLP, jnp.zeros((1, 2)), REGRESSION), TypeError, "meant to be called"),
        (lambda: linen_task(Undecided(), jnp.zeros((1, 2)), REGRESSION), ValueError, "`train`"),
        (lambda: linen_task(MLP(1, ()), jnp.zeros((1, 2)), "regression"), TypeError, "`problem`"),
        (lambda: function_task(dict, max, "binary"), TypeError, r'such as problem\("multiclass"\)'),
        (lambda: pytree_task(dict, "binary"), TypeError, "pytree_task: `problem`"),
        (lambda: nnx_task(nnx.Linear(2, 1, rngs=nnx.Rngs(0)), REGRESSION), TypeError, "a Linear"),
        (lambda: nnx_task(nnx.Linear, "regression"), TypeError, "nnx_task: `problem`"),
    ],
)
def test_what_makes_no_task_is_refused_when_built(make, error, message, as_users_run_it):
    with pytest.raises(error, match=message):
        make()


def test_activations_are_named_by_their_layer(key):
    model = MLP(1, (4,), normalization="batch", param_dtype=jnp.float64)
    task = linen_task(model, jnp.zeros((1, 2)), REGRESSION)
    params, state = task.init(key)
    layers = task.activations(params, state, line().inputs)
    assert set(layers) == {"Dense_0", "BatchNorm_0", "hidden_0", "Dense_1", "outputs"}
    chex.assert_shape([layers["Dense_0"], layers["BatchNorm_0"]], (N, 4))
    chex.assert_trees_all_close(layers["Dense_0"], line().inputs @ params["Dense_0"]["kernel"])


@pytest.mark.parametrize("kind", ["linen", "nnx"])
def test_numbers_of_the_model_may_be_traced(kind, key, standard_promotion):
    # The rate scales the outputs: one program, three rates, each as if it were a constant.
    class Scaled(nnx.Module):
        def __init__(self, rngs, rate):
            self.linear, self.rate = nnx.Linear(2, 1, rngs=rngs), rate

        def __call__(self, x):
            return self.rate * self.linear(x)

    def loss(rate):
        if kind == "linen":
            model = MLP(1, (4,), normalization="batch", dropout=rate, batch_momentum=rate)
            task = linen_task(model, jnp.zeros((1, 2)), REGRESSION)
        else:
            task = nnx_task(lambda rngs: Scaled(rngs, rate), REGRESSION)
        params, state = task.init(key)
        return mean_loss(task, params, state, line(), key)[0]

    rates = jnp.array([0.1, 0.5, 0.9])
    together = jax.jit(jax.vmap(loss))(rates)
    apart = jnp.stack([loss(rate) for rate in rates])
    chex.assert_trees_all_close(together, apart, rtol=1e-5)  # float32 parameters
    assert len(set(np.asarray(together).tolist())) == 3


@pytest.mark.exhaustive
def test_an_equinox_model_with_dropout(key):
    equinox = pytest.importorskip("equinox")

    class Net(equinox.Module):
        layers: equinox.nn.MLP
        dropout: equinox.nn.Dropout
        offset: np.ndarray

        def __init__(self, key):
            self.layers = equinox.nn.MLP(2, 1, 4, 1, key=key, dtype=jnp.float64)
            self.dropout = equinox.nn.Dropout(0.5)
            self.offset = np.array(3)

        def __call__(self, x, *, key, train):
            return self.dropout(self.layers(x), key=key, inference=not train)

    task = pytree_task(Net, REGRESSION)
    params, state = jax.jit(task.init)(key)
    assert [p.dtype for p in params] == [jnp.float64] * 4
    assert [int(s) for s in state] == [3]
    loss = lambda seed: mean_loss(task, params, state, line(), jax.random.key(seed))[0]
    assert loss(0) == loss(0) != loss(1)
    model = Net(jax.random.key(0))
    chex.assert_trees_all_close(
        task.predict(params, state, line().inputs),
        jax.vmap(lambda x: model(x, key=None, train=False))(line().inputs),
    )
