# %% [markdown]
# # 3. Adaptive rates
#
# A single learning rate is a compromise between steep and flat directions. Adaptive methods divide
# each coordinate of the step by the size of its own past gradients:
#
# $$w_i \leftarrow w_i - \eta\, \frac{\text{direction}_i}{\text{size of past } g_i} .$$
#
# | | memory of squares | step |
# |---|---|---|
# | AdaGrad | $s \leftarrow s + g^2$ | $\eta\, g / \sqrt{s + \epsilon}$ |
# | RMSProp | $s \leftarrow \rho s + (1 - \rho) g^2$ | $\eta\, g / \sqrt{s + \epsilon}$ |
# | Adam | $v \leftarrow b_2 v + (1 - b_2) g^2$ | $\eta\, \hat m / (\sqrt{\hat v} + \epsilon)$ |
#
# In Adam, $m$ is a running mean of the gradients. Both means start at 0. The hats correct this
# bias: $\hat m = m / (1 - b_1^t)$ and $\hat v = v / (1 - b_2^t)$, where $t$ is an exponent.

# %%
# %matplotlib inline
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import verdicts

import jaxopt_course as jc


plt.style.use("course.mplstyle")

# %% [markdown]
# ## The length of the steps
#
# Each method receives a gradient of 1 for 200 steps, then of 0.01. AdaGrad starts here from a sum
# of 0, as in the course; the default of this library and of optax is 0.1.


# %%
def sizes(optimizer, gradients):
    """The length of each step for these gradients."""

    def step(state, gradient):
        update, state = optimizer.update(gradient, state, 0.0)
        return state, -update

    return jax.lax.scan(step, optimizer.init(jnp.zeros(())), gradients)[1]


# %%
gradients = jnp.where(jnp.arange(400) < 200, 1.0, 0.01)
rules = {
    "AdaGrad": jc.adagrad(0.1, initial_accumulator_value=0.0, eps=1e-8),
    "RMSProp": jc.rmsprop(0.1, decay=0.9),
    "Adam": jc.adam(0.1),
}
figure, axes = plt.subplots()
for name, rule in rules.items():
    axes.plot(sizes(rule, gradients), label=name)
axes.set(xlabel="step", ylabel="length of the step", yscale="log")
axes.set_title("A gradient of 1 for 200 steps, then of 0.01; rate 0.1")
axes.legend()
plt.show()

# %% [markdown]
# Under a constant gradient the steps of AdaGrad decrease as $\eta / \sqrt t$ and never grow again.
# The memory of RMSProp is about $1 / (1 - \rho) = 10$ steps long, so its steps soon have the
# length $\eta$ again, whatever the size of the gradient. The memory of Adam's squares is longer,
# about 1000 steps.
#
# ## Adaptive rates in a ravine
#
# With a rate for each coordinate the condition number matters little if the coordinate axes are
# the axes of the ravine, as they are here.


# %%
ravine = jc.surfaces.SURFACES["ravine"]
start = jnp.array(ravine.start)
rules = {
    "sgd": jc.sgd(0.018),
    "AdaGrad": jc.adagrad(2.0, initial_accumulator_value=0.0, eps=1e-8),
    "RMSProp": jc.rmsprop(0.25),
    "Adam": jc.adam(0.5),
}
paths = {
    name: jc.minimization.trajectory(ravine.fn, start, rule, 60) for name, rule in rules.items()
}
jc.plots.optimizer_paths(ravine, paths, title="Each with a rate of its own, 60 steps")

# %% [markdown]
# ## The first step
#
# RMSProp can also start from the first gradient instead of from 0. One published form starts from
# $g_0$ *with its sign*, so a negative first gradient would increase the loss. The library starts
# from $|g_0|$. The next cell compares the first steps for $g = -2$ at the rate 0.1.

# %%
first = {
    "RMSProp, from 0": jc.rmsprop(0.1),
    "RMSProp, from |g|": jc.rmsprop(0.1, from_first_gradient=True),
    "Adam": jc.adam(0.1),
    "Adam, uncorrected": jc.adam(0.1, bias_correction=False),
}
for name, rule in first.items():
    print(f"{name:18s} {-sizes(rule, jnp.array([-2.0]))[0]:+.4f}")

# %% [markdown]
# All methods increase $w$, which decreases the loss. Without bias correction the length of the
# first step is $1 / \sqrt{1 - \rho}$ or $(1 - b_1) / \sqrt{1 - b_2}$ times the rate: 3.16 in both
# cases.
#
# ## Rates from the sign of the gradient
#
# The oldest adaptive rates read only signs. While the sign of a coordinate persists its rate
# grows, and where the sign flips it shrinks. Jacobs' delta-bar-delta (1988) grows additively and
# shrinks by a factor. It compares the gradient with a running mean $\bar g$ of the earlier ones:
#
# $$\text{gain} \leftarrow \begin{cases} \text{gain} + \kappa & \bar g\, g > 0 \\
# (1 - \phi)\, \text{gain} & \bar g\, g < 0 \end{cases} \qquad
# w \leftarrow w - \eta\; \text{gain}\; g .$$
#
# Rprop does not use the size of the gradient at all: $w \leftarrow w - \Delta\,
# \operatorname{sign} g$, where $\Delta$ is multiplied by 1.2 or 0.5. After a flip it skips a step.

# %%
gradients = jnp.where(jnp.arange(30) < 15, 1.0, (-1.0) ** jnp.arange(30))
rules = {"delta-bar-delta": jc.delta_bar_delta(0.01, kappa=0.2), "Rprop": jc.rprop(0.1)}
figure, axes = plt.subplots()
for (name, rule), marker in zip(rules.items(), "os", strict=True):
    lengths = jnp.abs(sizes(rule, gradients))
    axes.plot(lengths / lengths[0], marker=marker, markersize=4, label=name)
axes.set(xlabel="step", ylabel="length of the step, over the first")
axes.set_title("A gradient of 1 for 15 steps, then of alternating sign")
axes.legend()
plt.show()
for name, rule in {"sgd": jc.sgd(0.018), **rules}.items():
    last = jc.minimization.trajectory(ravine.fn, start, rule, 60)[-1]
    print(f"{name:15s} distance {jnp.linalg.norm(last):.1e} after 60 steps in the ravine")

# %% [markdown]
# In the ravine, whose axes are those of the coordinates, both come much closer to the minimum than
# descent at its best rate. They need full batches: the sign of a mini-batch gradient near the
# minimum is mostly noise.
#
# ## What was measured
#
# These are [measured verdicts](../benchmarks/results/claims/report.md) on claims of the course.

# %%
verdicts.show(
    "dying_steps",
    "defaults",
    "rare_features",
    "storage",
    "adagrad_rate",
    "adagrad_cost",
    "adam_convergence",
)

# %% [markdown]
# ## Exercise
#
# One published form of Adam divides by $1 - b_1$ and $1 - b_2$ in every step, not by $1 - b_1^t$
# and $1 - b_2^t$. What are its steps for a constant gradient of 1, and why is it an error?

# %% jupyter={"source_hidden": true, "outputs_hidden": true} tags=["hide-cell"]
# m and v tend to 1. Divided by 0.1 and 0.001 in every step, they give a step that tends to
# 10 / sqrt(1000) rates and is too long before that. The constants are right only at t = 1.
t = jnp.arange(1, 8001)
m, v = 1 - 0.9**t, 1 - 0.999**t
wrong = (m / 0.1) / jnp.sqrt(v / 0.001)
right = (m / (1 - 0.9**t)) / jnp.sqrt(v / (1 - 0.999**t))
for step in (1, 10, 100, 8000):
    print(f"step {step}: {wrong[step - 1]:.2f} rates long, should be {right[step - 1]:.2f}")
