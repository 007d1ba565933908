# %% [markdown]
# # 1. Gradients and descent
#
# To train is to minimize a loss $L(w)$. The gradient $g = \nabla L(w)$ points uphill, so a small
# step the other way goes down:
#
# $$w \leftarrow w - \eta\, g .$$
#
# The learning rate $\eta$ is all there is to choose, and this page is about what it may be. A
# minimizer here is a pair of functions, `init(params)` and `update(gradient, state, params)`:
# optax's protocol.

# %%
# %matplotlib inline
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt

import jaxopt_course as jc


plt.style.use("course.mplstyle")

# %% [markdown]
# ## Is the gradient right?
#
# JAX differentiates for us, but a rule written by hand can be wrong. Compare with the central
# difference $(f(w + h) - f(w - h)) / 2h$, in double precision, leaf by leaf.

# %%
params = {"at": jnp.array([-1.2, 1.0]), "scale": jnp.array(2.0)}
fn = lambda p: jnp.sin(p["scale"]) * jc.surfaces.rosenbrock(p["at"])
print(jc.diagnostics.check_gradients(fn, params, key=jax.random.key(0)))

# %% [markdown]
# ## How large may the rate be?
#
# The ravine is $L = (x^2 + 100\, y^2) / 2$, so a step multiplies $x$ by $1 - \eta$ and $y$ by
# $1 - 100\, \eta$. The second factor stays below 1 in size only if $\eta < 2 / 100$: **the largest
# curvature limits the rate, and the smallest one then sets the time.**


# %%
ravine = jc.surfaces.SURFACES["ravine"]
start = jnp.array(ravine.start)
rates = [0.0202, 0.018, 0.002]
paths = {f"rate {rate}": jc.trajectory(ravine.fn, start, jc.sgd(rate), 25) for rate in rates}
jc.plots.optimizer_paths(ravine, paths, title="Three rates in a ravine of condition number 100")

# %% [markdown]
# The small rate creeps, 0.018 zigzags at first and gets along, and 0.0202, just past the limit,
# climbs a little higher up the walls with every step.
#
# ## All rows, one row, or some
#
# The loss of a data set is a mean over its rows, and so is the gradient. The mean over a batch $B$
# of rows is the same number with noise, for less work:
#
# $$g_B = \frac{1}{|B|} \sum_{i \in B} \nabla L_i(w).$$
#
# The optimizer does not know: it is one `sgd`, and the batch size is the business of the data.

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
# With the same rate and the same number of rows seen, small batches have taken more steps. Single
# rows are quick at first, and then the noise of their gradients keeps them from settling. Whether
# many small steps or few large ones are faster in seconds is up to the machine.
#
# ## Exercise
#
# Which constant rate makes the slower of the two factors of the ravine as small as it can be, and
# how many steps does it take to bring the distance down by $10^6$?

# %% jupyter={"source_hidden": true, "outputs_hidden": true} tags=["hide-cell"]
# |1 - rate| = |1 - 100 rate| at rate = 2 / (1 + 100), where both are 99 / 101.
best, factor = 2 / 101, 99 / 101
steps = int(jnp.ceil(jnp.log(1e-6) / jnp.log(factor)))
path = jc.trajectory(ravine.fn, start, jc.sgd(best), steps)
distance = jnp.linalg.norm(path, axis=1)
print(steps, "steps; distance shrank by", f"{distance[0] / distance[-1]:.3g}")
