# %% [markdown]
# # 1. Gradients and descent
#
# Training minimizes a loss $L(w)$. The gradient $g = \nabla L(w)$ is the direction in which the
# loss increases fastest, so a small step in the opposite direction decreases it:
#
# $$w \leftarrow w - \eta\, g .$$
#
# The learning rate $\eta$ is the only number to choose, and this notebook shows which values work.
# An optimizer in this library is a pair of functions, `init(params)` and
# `update(gradient, state, params)`, which is the protocol of optax.

# %%
# %matplotlib inline
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import verdicts

import jaxopt_course as jc


plt.style.use("course.mplstyle")

# %% [markdown]
# ## Checking a gradient
#
# JAX differentiates functions automatically, but a derivative written by hand can be wrong.
# `check_gradients` compares it with the central difference $(f(w + h) - f(w - h)) / 2h$ in double
# precision, leaf by leaf.

# %%
params = {"at": jnp.array([-1.2, 1.0]), "scale": jnp.array(2.0)}
fn = lambda p: jnp.sin(p["scale"]) * jc.surfaces.rosenbrock(p["at"])
print(jc.diagnostics.check_gradients(fn, params, key=jax.random.key(0)))

# %% [markdown]
# ## Limits of the learning rate
#
# The ravine is $L = (x^2 + 100\, y^2) / 2$, so a step multiplies $x$ by $1 - \eta$ and $y$ by
# $1 - 100\, \eta$. The absolute value of the second factor is below 1 only if $\eta < 2 / 100$:
# **the largest curvature limits the learning rate, and the smallest curvature then determines how
# many steps are needed.**


# %%
ravine = jc.surfaces.SURFACES["ravine"]
start = jnp.array(ravine.start)
rates = [0.0202, 0.018, 0.002]
paths = {
    f"rate {rate}": jc.minimization.trajectory(ravine.fn, start, jc.sgd(rate), 25) for rate in rates
}
jc.plots.optimizer_paths(ravine, paths, title="Three rates in a ravine of condition number 100")

# %% [markdown]
# With the rate 0.002 the descent is slow. With 0.018 it oscillates at first but makes progress.
# With 0.0202, slightly above the limit, it moves a little further up the walls in every step.
#
# ## All rows, a batch, or one row
#
# The loss of a data set is a mean over its rows, and so is the gradient. The mean over a batch $B$
# of rows is a noisy estimate of it that costs less:
#
# $$g_B = \frac{1}{|B|} \sum_{i \in B} \nabla L_i(w).$$
#
# The optimizer is the same `sgd` in all three cases. The batch size is an argument of the
# training.

# %%
x, y = jc.data.linear_regression(jax.random.key(1), n=512, features=8, condition_number=10.0)
model = lambda params, x: x @ params
task = jc.function_task(lambda key: jnp.zeros((8, 1)), model, jc.problems.problem("regression"))
everything = jc.Rows(jnp.arange(512), validation=jnp.arange(512))
build = lambda rate: (task, jc.sgd(rate))
figure, axes = plt.subplots()
for size, every, marker in [(512, 1, "o"), (32, 4, "s"), (1, 128, "^")]:
    train = jc.make_train(build, (x, y), epochs=6, batch_size=size, evaluate_every=every)
    history = jax.jit(train)(jax.random.key(2), 0.01, everything).history
    epochs, loss = history["step"] * size / 512, history["validation_loss"]
    axes.plot(epochs, loss, marker=marker, markersize=4, label=f"batches of {size}")
axes.set(xlabel="epochs", ylabel="mean squared error of all rows", yscale="log")
axes.legend()
plt.show()

# %% [markdown]
# At the same rate and for the same number of rows, smaller batches mean more steps. Batches of one
# row make fast progress at first, but the noise of their gradients then keeps the loss from
# decreasing further. Whether many small steps or few large steps take less time depends on the
# machine.
#
# ## What was measured
#
# These are [measured verdicts](../benchmarks/results/claims/report.md) on claims of the course.

# %%
verdicts.show("scaling", "batch_size", "single_steps", "twenty_examples", "batch_memory")

# %% [markdown]
# ## Exercise
#
# Which constant rate minimizes the larger of the two factors of the ravine, and how many steps
# does it need to reduce the distance to the minimum by a factor of $10^6$?

# %% jupyter={"source_hidden": true, "outputs_hidden": true} tags=["hide-cell"]
# |1 - rate| = |1 - 100 rate| at rate = 2 / (1 + 100), where both are 99 / 101.
best, factor = 2 / 101, 99 / 101
steps = int(jnp.ceil(jnp.log(1e-6) / jnp.log(factor)))
path = jc.minimization.trajectory(ravine.fn, start, jc.sgd(best), steps)
distance = jnp.linalg.norm(path, axis=1)
print(steps, "steps; distance shrank by", f"{distance[0] / distance[-1]:.3g}")
