"""Fine-tuning: a frozen layer, two groups with optimizers of their own, averaged weights."""

import jax
import jax.numpy as jnp
import optax


keys = jax.random.split(jax.random.key(4), 4)
params = {
    "embedding": jax.random.normal(keys[0], (10, 6)),
    "body": {"kernel": 0.3 * jax.random.normal(keys[1], (6, 6)), "scale": jnp.ones(6)},
    "head": 0.3 * jax.random.normal(keys[2], (6, 2)),
}
tokens = jax.random.randint(keys[3], (40, 3), 0, 10)
labels = jnp.sum(tokens, axis=1) % 2


def loss_fn(params):
    hidden = jnp.mean(params["embedding"][tokens], axis=1)
    hidden = jnp.tanh(hidden @ params["body"]["kernel"]) * params["body"]["scale"]
    logits = hidden @ params["head"]
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


optimizer = optax.multi_transform(
    {
        "frozen": optax.set_to_zero(),
        "matrix": optax.lamb(optax.exponential_decay(2e-2, 20, 0.9), weight_decay=1e-3),
        "vector": optax.chain(
            optax.trace(0.9, nesterov=True),
            optax.add_decayed_weights(1e-3),
            optax.scale_by_schedule(optax.piecewise_constant_schedule(-0.1, {30: 0.5})),
        ),
    },
    {"embedding": "frozen", "body": {"kernel": "matrix", "scale": "vector"}, "head": "matrix"},
)
opt_state = optimizer.init(params)
averaged = params


@jax.jit
def step(params, averaged, opt_state):
    loss, grads = jax.value_and_grad(loss_fn)(params)
    updates, opt_state = optimizer.update(grads, opt_state, params)
    params = optax.apply_updates(params, updates)
    return params, optax.incremental_update(params, averaged, 0.05), opt_state, loss


losses = []
for _ in range(60):
    params, averaged, opt_state, loss = step(params, averaged, opt_state)
    losses.append(loss)

RESULT = {"params": params, "averaged": averaged, "losses": jnp.stack(losses)}
