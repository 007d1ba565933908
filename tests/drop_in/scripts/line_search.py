"""L-BFGS with a line search until the gradient vanishes, then projected steps onto the simplex."""

import jax
import jax.numpy as jnp
import optax


a = jax.random.normal(jax.random.key(5), (20, 6))
b = a @ jnp.array([0.5, 0.2, 0.3, 0.0, 0.0, 0.0])


def objective(x):
    return optax.l2_loss(a @ x, b).sum() + 0.1 * jnp.sum(jnp.cosh(x))


solver = optax.lbfgs(memory_size=5)
value_and_grad = optax.value_and_grad_from_state(objective)


def unfinished(carry):
    _, state = carry
    count = optax.tree_utils.tree_get(state, "count")
    grad = optax.tree_utils.tree_get(state, "grad")
    return (count == 0) | ((count < 40) & (optax.tree_utils.tree_norm(grad) > 1e-9))


def step(carry):
    x, state = carry
    value, grad = value_and_grad(x, state=state)
    updates, state = solver.update(grad, state, x, value=value, grad=grad, value_fn=objective)
    return optax.apply_updates(x, updates), state


x = jnp.ones(6)
x, state = jax.jit(lambda x, s: jax.lax.while_loop(unfinished, step, (x, s)))(x, solver.init(x))

projected = jnp.full(6, 1 / 6)
sgd = optax.sgd(5e-3, momentum=0.5)
sgd_state = sgd.init(projected)
for _ in range(100):
    updates, sgd_state = sgd.update(jax.grad(objective)(projected), sgd_state)
    projected = optax.projections.projection_simplex(optax.apply_updates(projected, updates))

RESULT = {"x": x, "value": objective(x), "projected": projected}
