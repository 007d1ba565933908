"""A small classifier: AdamW with warm-up, a mask that spares biases, and clipping."""

import jax
import jax.numpy as jnp
import optax


def init_params(key):
    keys = jax.random.split(key, 2)
    return {
        "hidden": {"w": 0.5 * jax.random.normal(keys[0], (4, 8)), "b": jnp.zeros(8)},
        "output": {"w": 0.5 * jax.random.normal(keys[1], (8, 3)), "b": jnp.zeros(3)},
    }


def loss_fn(params, x, y):
    hidden = jnp.tanh(x @ params["hidden"]["w"] + params["hidden"]["b"])
    logits = hidden @ params["output"]["w"] + params["output"]["b"]
    labels = optax.smooth_labels(jax.nn.one_hot(y, 3), 0.1)
    return optax.softmax_cross_entropy(logits, labels).mean()


def decays(params):
    return jax.tree.map(lambda p: p.ndim > 1, params)


schedule = optax.warmup_cosine_decay_schedule(
    init_value=0.0, peak_value=3e-2, warmup_steps=10, decay_steps=100, end_value=1e-3
)
optimizer = optax.chain(
    optax.clip_by_global_norm(1.0),
    optax.adamw(schedule, weight_decay=1e-2, mask=decays),
)


@jax.jit
def step(params, opt_state, x, y):
    loss, grads = jax.value_and_grad(loss_fn)(params, x, y)
    updates, opt_state = optimizer.update(grads, opt_state, params)
    params = optax.apply_updates(params, updates)
    return params, opt_state, loss, optax.tree.norm(grads)


x_key, y_key, p_key = jax.random.split(jax.random.key(0), 3)
x = jax.random.normal(x_key, (64, 4))
y = jnp.argmax(x[:, :3] + 0.1 * jax.random.normal(y_key, (64, 3)), axis=1)
params = init_params(p_key)
opt_state = optimizer.init(params)
losses, norms = [], []
for _ in range(100):
    params, opt_state, loss, norm = step(params, opt_state, x, y)
    losses.append(loss)
    norms.append(norm)

RESULT = {
    "params": params,
    "losses": jnp.stack(losses),
    "norms": jnp.stack(norms),
    "mu": optax.tree_utils.tree_get(opt_state, "mu"),
}
