# %% [markdown]
# # 12. Composing your own optimizer
#
# An optimizer is a chain of links. Each takes updates and hands on others; the first is fed the
# gradient and the last multiplies by minus the rate. AdamW is
#
# $$g \;\to\; \frac{\hat m}{\sqrt{\hat v} + \epsilon} \;\to\; \cdot + \lambda w \;\to\; -\eta\,
# \cdot \; .$$
#
# So a new method is seldom written: it is put together, and what is new about it is one link.

# %%
# %matplotlib inline
from typing import NamedTuple

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt

import jaxopt_course as jc


plt.style.use("course.mplstyle")

# %% [markdown]
# ## AdamW by its parts
#
# With a clipped gradient in front, decay of weights only, and a schedule at the end. Without the
# first and with a constant rate it is `adamw`, to the last bit.

# %%
schedule = jc.warmup_cosine_decay_schedule(0.0, 1e-2, warmup_steps=20, decay_steps=400)
mine = jc.chain(
    jc.clip_by_global_norm(1.0),
    jc.scale_by_adam(b1=0.9, b2=0.999),
    jc.add_decayed_weights(1e-2, mask=jc.weights_only),
    jc.scale_by_learning_rate(schedule),
)
parts = jc.chain(jc.scale_by_adam(), jc.add_decayed_weights(1e-2), jc.scale_by_learning_rate(1e-3))
whole = jc.adamw(1e-3, weight_decay=1e-2)
w, g = jnp.array([1.0, -2.0]), jnp.array([0.3, 0.1])
one, _ = parts.update(g, parts.init(w), w)
other, _ = whole.update(g, whole.init(w), w)
print("the same:", bool((one == other).all()))

# %% [markdown]
# ## A link of one's own
#
# A link is two functions. This one keeps a running mean of the gradient and hands on its sign:
# steps of one length, whatever the gradient's. It knows nothing of rates, clipping or decay; other
# links do. Numbers may be traced, so there is no `if` on them.


# %%
class SignOfMeanState(NamedTuple):
    """The running mean, shaped like the parameters."""

    mean: jc.Updates


def sign_of_mean(decay):
    """m <- decay m + (1 - decay) g; hands on sign(m)."""

    def init(params):
        return SignOfMeanState(jax.tree.map(jnp.zeros_like, params))

    def update(updates, state, params=None):
        mean = jax.tree.map(lambda m, g: decay * m + (1 - decay) * g, state.mean, updates)
        return jax.tree.map(jnp.sign, mean), SignOfMeanState(mean)

    return jc.GradientTransformation(init, update)


# %% [markdown]
# ## Down Rosenbrock's valley
#
# Behind the new link stands a rate that falls, for a sign never gets smaller by itself.


# %%
valley = jc.surfaces.SURFACES["rosenbrock"]
start = jnp.array(valley.start)
falling = jc.linear_schedule(0.05, 0.0, transition_steps=300)
optimizers = {
    "ours": jc.chain(sign_of_mean(0.9), jc.scale_by_learning_rate(falling)),
    "ours, memory 0": jc.chain(sign_of_mean(0.0), jc.scale_by_learning_rate(falling)),
    "adam, same rate": jc.adam(falling),
    "clipped momentum": jc.chain(jc.clip_by_global_norm(5.0), jc.sgd(2e-3, momentum=0.9)),
}
paths = {name: jc.trajectory(valley.fn, start, tx, 300) for name, tx in optimizers.items()}
jc.plots.optimizer_paths(valley, paths, title="Rosenbrock's valley, 300 steps")

# %% [markdown]
# ## Wrappers say where and when
#
# A wrapper takes any transformation. `partition` gives groups of parameters their own, here the
# last layer a larger rate; `inject_hyperparams` keeps the numbers in the state, where they can be
# read, and changed without compiling anew; `MultiSteps` adds up gradients of several batches.

# %%
params = {"body": {"kernel": jnp.ones(3)}, "head": {"kernel": jnp.ones(2)}}
groups = jc.by_path({"head": "fast"}, otherwise="slow")
grouped = jc.partition({"slow": jc.sgd(0.01), "fast": jc.sgd(0.1)}, groups)
updates, _ = grouped.update(params, grouped.init(params), params)
print("body", updates["body"]["kernel"], "head", updates["head"]["kernel"])

tuned = jc.inject_hyperparams(jc.adam)(learning_rate=0.1)
state = tuned.init(params)
state.hyperparams["learning_rate"] = jnp.array(0.05)
updates, state = tuned.update(params, state, params)
print("first step of Adam:", updates["head"]["kernel"])

# %% [markdown]
# ## Exercise
#
# Lion is almost ours: its sign is that of $0.9\, m + 0.1\, g$, while its memory is
# $m \leftarrow 0.99\, m + 0.01\, g$. Write the link and compare with `jc.lion`.


# %% jupyter={"source_hidden": true, "outputs_hidden": true} tags=["hide-cell"]
# Two decays: one for what is handed on, one for what is kept.
def scale_by_our_lion(b1=0.9, b2=0.99):
    """Hands on sign(b1 m + (1 - b1) g), keeps m <- b2 m + (1 - b2) g."""
    init = lambda params: SignOfMeanState(jax.tree.map(jnp.zeros_like, params))
    mix = lambda b, m, g: jax.tree.map(lambda m, g: b * m + (1 - b) * g, m, g)

    def update(updates, state, params=None):
        signs = jax.tree.map(jnp.sign, mix(b1, state.mean, updates))
        return signs, SignOfMeanState(mix(b2, state.mean, updates))

    return jc.GradientTransformation(init, update)


ours = jc.chain(scale_by_our_lion(), jc.scale_by_learning_rate(0.02))
path = lambda tx: jc.trajectory(valley.fn, start, tx, 50)
difference = path(ours) - path(jc.lion(0.02, weight_decay=0.0))
print("largest difference:", f"{jnp.abs(difference).max():.0e}")
