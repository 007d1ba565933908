# %% [markdown]
# # 3. Adaptive rates
#
# One rate for all parameters is a compromise between steep and flat directions. Adaptive rules
# divide each coordinate by the size that its own gradients have had:
#
# $$w_i \leftarrow w_i - \eta\, \frac{\text{direction}_i}{\text{size of past } g_i} .$$
#
# | | memory of squares | step |
# |---|---|---|
# | AdaGrad | $s \leftarrow s + g^2$ | $\eta\, g / \sqrt{s + \epsilon}$ |
# | RMSProp | $s \leftarrow \rho s + (1 - \rho) g^2$ | $\eta\, g / \sqrt{s + \epsilon}$ |
# | Adam | $v \leftarrow b_2 v + (1 - b_2) g^2$ | $\eta\, \hat m / (\sqrt{\hat v} + \epsilon)$ |
#
# Adam's $m$ is a running mean of the gradients. Both means start at 0, and the hats divide by
# what is missing: $\hat m = m / (1 - b_1^t)$, $\hat v = v / (1 - b_2^t)$, with the power $t$.

# %%
# %matplotlib inline
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt

import jaxopt_course as jc


plt.style.use("course.mplstyle")

# %% [markdown]
# ## What becomes of the step
#
# Feed each rule a gradient of 1 for 200 steps, then of 0.01. AdaGrad starts here at a sum of 0, as
# in the course; the library's default, as optax's, is 0.1.


# %%
def sizes(optimizer, gradients):
    """How far each step goes when it is fed these gradients."""

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
# Under a constant gradient AdaGrad's steps fall as $\eta / \sqrt t$ and never recover. RMSProp
# forgets within some $1 / (1 - \rho) = 10$ steps, so its steps are of length $\eta$ again whatever
# the size of the gradient. Adam's memory of squares is longer: 1000 steps.
#
# ## The same in a ravine
#
# With a rate for each axis the condition number matters little, if the axes are those of the
# ravine, as they are here.


# %%
ravine = jc.surfaces.SURFACES["ravine"]
start = jnp.array(ravine.start)
rules = {
    "sgd": jc.sgd(0.018),
    "AdaGrad": jc.adagrad(2.0, initial_accumulator_value=0.0, eps=1e-8),
    "RMSProp": jc.rmsprop(0.25),
    "Adam": jc.adam(0.5),
}
paths = {name: jc.trajectory(ravine.fn, start, rule, 60) for name, rule in rules.items()}
jc.plots.optimizer_paths(ravine, paths, title="Each with a rate of its own, 60 steps")

# %% [markdown]
# ## The first step
#
# RMSProp may also start from the first gradient instead of from 0. One printed form starts from
# $g_0$ *with its sign*, which would send a first negative gradient uphill: the library starts from
# $|g_0|$. Compare the first steps for $g = -2$ at the rate 0.1.

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
# Everyone goes up in $w$, downhill; without corrections the first step is $1 / \sqrt{1 - \rho}$ or
# $(1 - b_1) / \sqrt{1 - b_2}$ rates long: 3.16 in both cases.
#
# ## Exercise
#
# One printed form of Adam divides by $1 - b_1$ and $1 - b_2$ in every step, not by
# $1 - b_1^t$ and $1 - b_2^t$. What does it do with a gradient of 1, and why is it an error?

# %% jupyter={"source_hidden": true, "outputs_hidden": true} tags=["hide-cell"]
# m tends to 1 and so does v: divided by 0.1 and 0.001 for ever, the step tends to 10 / sqrt(1000)
# rates, and is too long on the way there. The constants are right at t = 1 only.
t = jnp.arange(1, 8001)
m, v = 1 - 0.9**t, 1 - 0.999**t
wrong = (m / 0.1) / jnp.sqrt(v / 0.001)
right = (m / (1 - 0.9**t)) / jnp.sqrt(v / (1 - 0.999**t))
for step in (1, 10, 100, 8000):
    print(f"step {step}: {wrong[step - 1]:.2f} rates long, should be {right[step - 1]:.2f}")
