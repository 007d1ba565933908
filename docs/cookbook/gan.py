"""A generator against a critic: two networks, two losses and two optimizers, in turn."""

import jax
import jax.numpy as jnp

import jaxopt_course as jc


ANGLES = jnp.pi / 4 * jnp.arange(8)
CENTRES = 2 * jnp.stack([jnp.cos(ANGLES), jnp.sin(ANGLES)], -1)
generator, critic = jc.nn.MLP(2, (64, 64)), jc.nn.MLP(1, (64, 64))
noise = lambda key, n=256: jax.random.normal(key, (n, 4))
fake = lambda params, z: generator.apply({"params": params}, z, train=False)
score = lambda params, x: critic.apply({"params": params}, x, train=False)[:, 0]


def real(key):
    place = jax.random.randint(key, (256,), 0, 8)
    return CENTRES[place] + 0.1 * jax.random.normal(jax.random.fold_in(key, 1), (256, 2))


# The model state of each task holds the parameters of the other network.
def critic_loss(params, of_generator, batch, *, key, train):
    of_real, of_fake = score(params, batch.inputs), score(params, fake(of_generator, noise(key)))
    return jax.nn.softplus(-of_real) + jax.nn.softplus(of_fake), (of_generator, {})


def generator_loss(params, of_critic, batch, *, key, train):
    return jax.nn.softplus(-score(of_critic, fake(params, noise(key)))), (of_critic, {})


def player(model, width, loss, key):
    init = lambda key: (model.init(key, jnp.zeros((1, width)), train=False)["params"], {})
    task, optimizer = jc.Task(init, loss, model.apply), jc.adam(5e-4, b1=0.5)
    return jc.training.init_state(task, optimizer, key), jc.make_step(task, optimizer)


def train(key):
    keys = jax.random.split(key, 4)
    g, step_g = player(generator, 4, generator_loss, keys[0])
    c, step_c = player(critic, 2, critic_loss, keys[1])

    def turn(states, key):
        g, c = states
        c, _ = step_c(c._replace(model_state=g.params), jc.Batch(real(key)))
        g, _ = step_g(g._replace(model_state=c.params), jc.Batch(real(key)))
        return (g, c), None

    start = g._replace(model_state=c.params), c._replace(model_state=g.params)
    (g, _), _ = jax.lax.scan(turn, start, jax.random.split(keys[2], 4000))
    return fake(g.params, noise(keys[3], 2000))


points = jax.jit(jax.vmap(train))(jax.random.split(jax.random.key(0), 4))  # four seeds at once
near = jnp.linalg.norm(points[:, :, None] - CENTRES, axis=-1) < 0.5
found = (near.mean(1) > 0.02).sum(-1)
share = near.any(-1).mean()
print(f"places found, of 8: {found.tolist()}; {share:.0%} of the points are near one")
assert found.mean() >= 7
assert share > 0.8
