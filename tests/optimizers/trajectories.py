"""The same random gradients through two optimizers: how far apart are their updates?"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest


STEPS = 200
SHAPES = {"dense": {"kernel": (4, 3), "bias": (3,)}, "gain": ()}


def random_tree(seed, leading=()):
    rng = np.random.default_rng(seed)
    is_shape = lambda x: isinstance(x, tuple)
    draw = lambda shape: (
        rng.normal(size=(*leading, *shape)) * np.exp(rng.normal(size=leading + shape))
    )
    return jax.tree.map(draw, SHAPES, is_leaf=is_shape)


PARAMS = random_tree(0)
GRADIENTS = random_tree(1, (STEPS,))
ORIGIN = jax.tree.map(np.zeros_like, PARAMS)


def flat(tree):
    """f64[steps, entries]."""
    leaves = [np.asarray(x, np.float64) for x in jax.tree.leaves(tree)]
    return np.concatenate([x.reshape(len(x), -1) for x in leaves], axis=1)


GRADS = flat(GRADIENTS)
TIME = np.arange(1, STEPS + 1)[:, None]
MATRICES = {"w": GRADIENTS["dense"]["kernel"], "b": GRADIENTS["dense"]["bias"]}
FIRST = {"w": PARAMS["dense"]["kernel"], "b": PARAMS["dense"]["bias"]}


def rates(t):
    """A schedule, precise in float64."""
    return 0.3 * jnp.exp(-0.01 * jnp.asarray(t, float))


def running_means(values, decay, start=0.0):
    """Along the first axis, f64[steps, entries]."""
    means, mean = [], start
    for value in values:
        mean = decay * mean + (1 - decay) * value
        means.append(mean)
    return np.stack(means)


def updates_of(
    tx, params=PARAMS, gradients=GRADIENTS, offers=lambda params, grads: {}, dtype=np.float64
):
    """The updates of 200 steps, from the same params and gradients for everyone.

    ``offers`` makes the extra arguments of an update.
    """
    cast = lambda tree: jax.tree.map(lambda x: jnp.asarray(x, dtype), tree)

    def body(carry, grads):
        params, state = carry
        updates, state = tx.update(grads, state, params, **offers(params, grads))
        return (jax.tree.map(jnp.add, params, updates), state), updates

    params = cast(params)
    _, updates = jax.jit(lambda p, g: jax.lax.scan(body, (p, tx.init(p)), g))(
        params, cast(gradients)
    )
    return flat(updates)


def alone(tx, gradients):
    """The updates of a single leaf that stays at zero."""
    params = jnp.zeros(gradients.shape[1:])
    body = lambda state, g: tx.update(g, state, params)[::-1]
    return flat(jax.jit(lambda g: jax.lax.scan(body, tx.init(params), g)[1])(gradients))


def of_torch(name, **options):
    """What builds torch's optimizer of that name."""
    return lambda leaves: getattr(pytest.importorskip("torch").optim, name)(leaves, **options)


def torch_updates(build, params=PARAMS, gradients=GRADIENTS):
    """The same of torch: ``build`` makes an optimizer of a list of torch's parameters."""
    torch = pytest.importorskip("torch")
    torch.set_default_dtype(torch.float64)  # in which NAdam keeps a number of its own
    leaves = [torch.nn.Parameter(torch.tensor(np.array(x))) for x in jax.tree.leaves(params)]
    optimizer = build(leaves)

    def step(grads):
        for leaf, grad in zip(leaves, grads, strict=True):
            leaf.grad = torch.tensor(grad)
        optimizer.step()

    try:
        return _updates_of_steps(step, lambda: [x.detach().numpy() for x in leaves], gradients)
    finally:
        torch.set_default_dtype(torch.float32)


def keras_updates(build, params=PARAMS, gradients=GRADIENTS):
    """The same of Keras, in double precision: ``build`` makes the optimizer."""
    keras = pytest.importorskip("keras")
    keras.config.set_floatx("float64")
    leaves = [keras.Variable(x) for x in jax.tree.leaves(params)]
    optimizer = build()
    optimizer.build(leaves)
    step = lambda grads: optimizer.apply([keras.ops.array(g) for g in grads], leaves)
    return _updates_of_steps(step, lambda: [np.asarray(x.value) for x in leaves], gradients)


def _updates_of_steps(step, leaves, gradients):
    point = lambda: np.concatenate([np.ravel(x) for x in leaves()]).copy()
    points = [point()]
    for grads in zip(*jax.tree.leaves(gradients), strict=True):
        step([np.asarray(grad) for grad in grads])
        points.append(point())
    return np.diff(np.stack(points), axis=0)


def distance(ours, theirs):
    """The largest relative distance of the updates over the steps, in the L2 norm."""
    gap = np.linalg.norm(ours - theirs, axis=1)
    norm = np.linalg.norm(theirs, axis=1)
    return float(np.max(gap / np.where(norm > 0, norm, 1)))  # a warmup's first update is 0
