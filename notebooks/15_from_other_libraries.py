# %% [markdown]
# # 15. From optax, torch or Keras to here
#
# The same name does not mean the same formula. Libraries differ in the position of the rate in the
# momentum, in the position of $\epsilon$ relative to the root, in the initial value of averages,
# and in the weight decay, which is *coupled* (added to the gradient and rescaled with it) or
# *decoupled*:
#
# $$w \leftarrow w - \eta\, A(g + \lambda w) \qquad \text{or} \qquad
# w \leftarrow (1 - \eta \lambda)\, w - \eta\, A(g) .$$
#
# For plain descent, $A(g) = g$, both are equal. For Adam they are not.

# %%
# %matplotlib inline
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import optax

import jaxopt_course as jc


plt.style.use("course.mplstyle")

# %% [markdown]
# ## optax
#
# Names, arguments and states are those of optax: with `import jaxopt_course as optax` a script
# keeps working, and one chain can contain transformations of both libraries.

# %%
gradients = jax.random.normal(jax.random.key(0), (200, 5))


def points(optimizer, gradients=gradients):
    """The points that these gradients lead to from ones."""

    def step(carry, gradient):
        w, state = carry
        updates, state = optimizer.update(gradient, state, w)
        w = optax.apply_updates(w, updates)
        return (w, state), w

    w = jnp.ones(gradients.shape[1])
    return jax.lax.scan(step, (w, optimizer.init(w)), gradients)[1]


# %%
for name in ("sgd", "adam", "adamw", "rmsprop", "adagrad", "lion", "adafactor"):
    ours, theirs = getattr(jc, name)(0.01), getattr(optax, name)(0.01)
    print(f"{name:10s} largest difference {jnp.abs(points(ours) - points(theirs)).max():.0e}")
mixture = jc.chain(optax.clip(0.5), jc.scale_by_adam(), optax.scale(-0.01))
print("a chain of both:", points(mixture)[-1].shape)

# %% [markdown]
# Intended differences are documented. One of them is that invalid numbers are refused when the
# optimizer is built.

# %%
for mistake in (lambda: jc.adam(-1e-3), lambda: jc.adam(1e-3, b1=1.0)):
    try:
        mistake()
    except ValueError as error:
        print(error)

# %% [markdown]
# ## torch and Keras
#
# | there | here |
# |---|---|
# | `torch.optim.SGD(lr=0.1, momentum=0.9)` | `sgd(0.1, 0.9)` |
# | `keras.optimizers.SGD(0.1, momentum=0.9)` | `heavy_ball(0.1, 0.9)` |
# | `torch.optim.Adam(lr=0.1, weight_decay=0.1)` | `adam_l2(0.1, weight_decay=0.1)`: coupled |
# | `torch.optim.AdamW(lr=0.1, weight_decay=0.1)` | `adamw(0.1, weight_decay=0.1)`: decoupled |
# | `torch.optim.RMSprop(lr=0.1)` | `rmsprop(0.1, 0.99, eps_in_sqrt=False)` |
# | `torch.optim.Adagrad(lr=0.1)` | `adagrad(0.1, 0.0, 1e-10, eps_in_sqrt=False)` |
# | `keras.regularizers.L2(l)` | `l2_penalty(w, 2 * l)`: Keras has no factor 1/2 |
#
# `docs/migration.md` has the whole table, and each of its rows is tested.
#
# ## Two weight decays
#
# A weight whose gradients are noise around 0 should only decay. With coupled decay in Adam, the
# speed depends on the size of the noise, because the decay is divided by it too.

# %%
sizes = jnp.array([0.1, 1.0, 10.0])
noise = jax.random.normal(jax.random.key(1), (2000, 1)) * sizes
figure, panels = plt.subplots(1, 2, figsize=(8, 3.2), sharey=True)
rules = {
    "decoupled: adamw": jc.adamw(1e-3, weight_decay=1.0),
    "coupled: adam_l2": jc.adam_l2(1e-3, weight_decay=1.0),
}
for axes, (name, rule) in zip(panels, rules.items(), strict=True):
    for size, path in zip(sizes, points(rule, noise).T, strict=True):
        axes.plot(path, label=f"noise of size {size:g}")
    axes.plot(0.999 ** jnp.arange(2000), color="k", linewidth=1, label="0.999 to the step")
    axes.set(title=name, xlabel="step")
panels[0].set_ylabel("weight")
panels[0].legend(fontsize="small")
plt.show()

# %% [markdown]
# With decoupled decay all three weights are multiplied by $1 - \eta\lambda$ in each step. With
# coupled decay the weight with small gradients vanishes first, and the weight with large gradients
# hardly decays.
#
# ## Exercise
#
# Translate `keras.optimizers.SGD(0.1, momentum=0.9)` and `torch.optim.SGD(lr=0.1, momentum=0.9)`,
# and check them by hand with a rate that falls to a tenth after 10 steps. Are they still the same?

# %% jupyter={"source_hidden": true, "outputs_hidden": true} tags=["hide-cell"]
# Not after the rate has changed: Keras's velocity holds steps, torch's holds gradients.
falling = jc.piecewise_constant_schedule(0.1, {10: 0.1})
keras, torch = points(jc.heavy_ball(falling, 0.9)), points(jc.sgd(falling, 0.9))
w, v = jnp.ones(5), jnp.zeros(5)
for step, gradient in enumerate(gradients):
    v = 0.9 * v - falling(step) * gradient
    w = w + v
apart = jnp.abs(keras - torch).max(axis=1)
print(f"by hand and ours differ by {jnp.abs(w - keras[-1]).max():.0e}")
print(f"after 10 steps {apart[9]:.0e} apart, after 11 {apart[10]:.0e}")
