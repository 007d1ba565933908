"""Regression whose learning rate lives in the state: lowered on plateaus, and once by hand."""

import jax
import jax.numpy as jnp
import optax


x = jax.random.normal(jax.random.key(1), (32, 5))
target = x @ jnp.array([1.0, -2.0, 0.0, 0.5, 3.0]) + 0.3
params = {"w": jnp.zeros(5), "b": jnp.zeros(())}


def loss_fn(params):
    return jnp.mean(optax.huber_loss(x @ params["w"] + params["b"], target, delta=2.0))


optimizer = optax.inject_hyperparams(optax.sgd)(learning_rate=0.3, momentum=0.9)
plateau = optax.contrib.reduce_on_plateau(patience=3, factor=0.5, rtol=1e-3, accumulation_size=2)
opt_state, plateau_state = optimizer.init(params), plateau.init(params)


@jax.jit
def step(params, opt_state, plateau_state):
    value, grads = jax.value_and_grad(loss_fn)(params)
    updates, opt_state = optimizer.update(grads, opt_state, params)
    updates, plateau_state = plateau.update(updates, plateau_state, value=value)
    return optax.apply_updates(params, updates), opt_state, plateau_state, value


values, scales, rates = [], [], []
for i in range(120):
    if i == 60:
        opt_state.hyperparams["learning_rate"] = jnp.asarray(0.05)
    params, opt_state, plateau_state, value = step(params, opt_state, plateau_state)
    values.append(value)
    scales.append(plateau_state.scale)
    rates.append(opt_state.hyperparams["learning_rate"])

RESULT = {
    "params": params,
    "values": jnp.stack(values),
    "scales": jnp.stack(scales),
    "rates": jnp.stack(rates),
}
