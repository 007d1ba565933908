# %% [markdown]
# # 12. Composing your own optimizer
#
# An optimizer is a chain of gradient transformations. Each maps updates to new updates. The first
# one receives the gradient, and the last one multiplies by the negative learning rate. AdamW is
#
# $$g \;\to\; \frac{\hat m}{\sqrt{\hat v} + \epsilon} \;\to\; \cdot + \lambda w \;\to\; -\eta\,
# \cdot \; .$$
#
# A new method therefore rarely has to be written as a whole: usually only one transformation is
# new.

# %%
# %matplotlib inline
from typing import NamedTuple

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt

import jaxopt_course as jc


plt.style.use("course.mplstyle")

# %% [markdown]
# ## The parts of AdamW
#
# This optimizer clips the gradient first, decays only weights, and uses a schedule. Without
# clipping and mask, and with a constant rate, the chain equals `adamw` bit for bit.

# %%
schedule = jc.warmup_cosine_decay_schedule(0.0, 1e-2, warmup_steps=20, decay_steps=400)
mine = jc.chain(
    jc.clip_by_global_norm(1.0),
    jc.scale_by_adam(b1=0.9, b2=0.999),
    jc.add_decayed_weights(1e-2, mask=jc.regularizers.weights_only),
    jc.scale_by_learning_rate(schedule),
)
parts = jc.chain(jc.scale_by_adam(), jc.add_decayed_weights(1e-2), jc.scale_by_learning_rate(1e-3))
whole = jc.adamw(1e-3, weight_decay=1e-2)
w, g = jnp.array([1.0, -2.0]), jnp.array([0.3, 0.1])
one, _ = parts.update(g, parts.init(w), w)
other, _ = whole.update(g, whole.init(w), w)
print("the same:", bool((one == other).all()))

# %% [markdown]
# ## A new transformation
#
# A transformation is a pair of functions. This one keeps a running mean of the gradient and
# returns its sign, so the length of a step does not depend on the gradient. Learning rate,
# clipping and weight decay are left to other transformations. Numbers may be traced, so there is
# no `if` that depends on them.


# %%
class SignOfMeanState(NamedTuple):
    """The running mean, shaped like the parameters."""

    mean: jc.Updates


def sign_of_mean(decay):
    """m <- decay m + (1 - decay) g; returns sign(m)."""

    def init(params):
        return SignOfMeanState(jax.tree.map(jnp.zeros_like, params))

    def update(updates, state, params=None):
        mean = jax.tree.map(lambda m, g: decay * m + (1 - decay) * g, state.mean, updates)
        return jax.tree.map(jnp.sign, mean), SignOfMeanState(mean)

    return jc.GradientTransformation(init, update)


# %% [markdown]
# ## Rosenbrock's valley
#
# The new transformation is followed by a decreasing rate, since a sign does not get smaller by
# itself.


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
paths = {
    name: jc.minimization.trajectory(valley.fn, start, tx, 300) for name, tx in optimizers.items()
}
jc.plots.optimizer_paths(valley, paths, title="Rosenbrock's valley, 300 steps")

# %% [markdown]
# ## Wrappers
#
# A wrapper accepts any transformation. `partition` assigns transformations to groups of
# parameters, here a larger rate to the last layer. `inject_hyperparams` keeps the numbers in the
# state, where they can be read, and changed without recompilation. `MultiSteps` accumulates the
# gradients of several batches.

# %%
params = {"body": {"kernel": jnp.ones(3)}, "head": {"kernel": jnp.ones(2)}}
groups = jc.regularizers.by_path({"head": "fast"}, otherwise="slow")
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
# Lion is almost this method: it returns the sign of $0.9\, m + 0.1\, g$, while its memory is
# $m \leftarrow 0.99\, m + 0.01\, g$. Write the transformation and compare it with `jc.lion`.


# %% jupyter={"source_hidden": true, "outputs_hidden": true} tags=["hide-cell"]
# It has two decay rates: one for the returned sign, one for the memory.
def scale_by_our_lion(b1=0.9, b2=0.99):
    """Returns sign(b1 m + (1 - b1) g), keeps m <- b2 m + (1 - b2) g."""
    init = lambda params: SignOfMeanState(jax.tree.map(jnp.zeros_like, params))
    mix = lambda b, m, g: jax.tree.map(lambda m, g: b * m + (1 - b) * g, m, g)

    def update(updates, state, params=None):
        signs = jax.tree.map(jnp.sign, mix(b1, state.mean, updates))
        return signs, SignOfMeanState(mix(b2, state.mean, updates))

    return jc.GradientTransformation(init, update)


ours = jc.chain(scale_by_our_lion(), jc.scale_by_learning_rate(0.02))
path = lambda tx: jc.minimization.trajectory(valley.fn, start, tx, 50)
difference = path(ours) - path(jc.lion(0.02, weight_decay=0.0))
print("largest difference:", f"{jnp.abs(difference).max():.0e}")
