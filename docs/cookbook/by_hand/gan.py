"""A generator against a critic, with Flax and optax."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax


ANGLES = jnp.pi / 4 * jnp.arange(8)
CENTRES = 2 * jnp.stack([jnp.cos(ANGLES), jnp.sin(ANGLES)], -1)


def mlp(outputs):
    hidden = lambda: nn.Dense(64, kernel_init=nn.initializers.he_normal())
    return nn.Sequential([hidden(), nn.relu, hidden(), nn.relu, nn.Dense(outputs)])


generator, critic = mlp(2), mlp(1)
optimizer = optax.adam(5e-4, b1=0.5)


def real(key):
    place = jax.random.randint(key, (256,), 0, 8)
    return CENTRES[place] + 0.1 * jax.random.normal(jax.random.fold_in(key, 1), (256, 2))


def fake(params, key, n=256):
    return generator.apply(params, jax.random.normal(key, (n, 4)))


def score(params, points):
    return critic.apply(params, points)[:, 0]


def critic_loss(params, of_generator, points, key):
    of_real, of_fake = score(params, points), score(params, fake(of_generator, key))
    return (jax.nn.softplus(-of_real) + jax.nn.softplus(of_fake)).mean()


def generator_loss(params, of_critic, key):
    return jax.nn.softplus(-score(of_critic, fake(params, key))).mean()


def updated(loss, params, opt_state, *others):
    grads = jax.grad(loss)(params, *others)
    updates, opt_state = optimizer.update(grads, opt_state, params)
    return optax.apply_updates(params, updates), opt_state


def train(key):
    keys = jax.random.split(key, 4)
    g = generator.init(keys[0], jnp.zeros((1, 4)))
    c = critic.init(keys[1], jnp.zeros((1, 2)))

    def turn(states, key):
        (g, of_g), (c, of_c) = states
        of_data, first, second = jax.random.split(key, 3)
        c, of_c = updated(critic_loss, c, of_c, g, real(of_data), first)
        g, of_g = updated(generator_loss, g, of_g, c, second)
        return ((g, of_g), (c, of_c)), None

    start = (g, optimizer.init(g)), (c, optimizer.init(c))
    ((g, _), _), _ = jax.lax.scan(turn, start, jax.random.split(keys[2], 4000))
    return fake(g, keys[3], 2000)


points = jax.jit(jax.vmap(train))(jax.random.split(jax.random.key(0), 4))
near = jnp.linalg.norm(points[:, :, None] - CENTRES, axis=-1) < 0.5
found = (near.mean(1) > 0.02).sum(-1)
share = near.any(-1).mean()
print(f"places found, of 8: {found.tolist()}; {share:.0%} of the points are near one")
assert found.mean() >= 7
assert share > 0.8
