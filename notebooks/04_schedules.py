# %% [markdown]
# # 4. Schedules
#
# With a large learning rate the parameters approach the minimum quickly but then keep jumping
# around it, because the steps are too long and every batch has its own noise. With a small rate
# they settle, but need many steps. A schedule starts high and ends low. It is a function of the
# step count $t$, which starts at 0:
#
# $$\eta_t = \eta_0\, k^{t/T}, \qquad \frac{\eta_0}{1 + k t}, \qquad \frac{\eta_0}{\sqrt{t + 1}},
# \qquad \eta_0\, k^{\lfloor t/T \rfloor}, \qquad \frac{\eta_0}{2} (1 + \cos \frac{\pi t}{T}) .$$

# %%
# %matplotlib inline
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import verdicts

import jaxopt_course as jc


plt.style.use("course.mplstyle")

# %% [markdown]
# ## Six schedules

# %%
steps = 1600
schedules = {
    "exponential": jc.exponential_decay(1.0, transition_steps=400, decay_rate=0.4),
    "inverse time": jc.schedules.inverse_time_decay(1.0, transition_steps=160, decay_rate=1.0),
    "inverse root": jc.schedules.inverse_sqrt_decay(1.0),
    "stairs": jc.schedules.step_decay(1.0, transition_steps=400, decay_rate=0.4),
    "cosine": jc.cosine_decay_schedule(1.0, decay_steps=steps),
    "warmup, stable, decay": jc.schedules.warmup_stable_decay(0.0, 1.0, 100, 1100, 400),
}
figure, axes = plt.subplots()
for name, schedule in schedules.items():
    axes.plot(jax.vmap(schedule)(jnp.arange(steps)), label=name)
axes.set(xlabel="step", ylabel="rate, in units of the first or highest")
figure.legend(loc="outside lower center", ncols=3)
plt.show()

# %% [markdown]
# ## A high rate first, then a lower one
#
# The workload is a quadratic in 20 dimensions with curvatures from 1 to 100 and noisy gradients.
# Every optimizer accepts a schedule instead of a number as its learning rate.

# %%
noisy = jc.workloads.workload("quadratic")
task, data, rows = noisy.variants["base"]()


@jax.jit
def final_loss(rate, end):
    """Validation losses of a training whose rate falls from ``rate`` to ``rate * end``."""
    schedule = jc.exponential_decay(rate, transition_steps=steps, decay_rate=end)
    build = lambda _: (task, jc.sgd(schedule))
    train = jc.make_train(build, data, steps=steps, batch_size=16, evaluate_every=40)
    run = jc.make_population(train, axes=("key",))(jax.random.split(jax.random.key(0), 4), 0, rows)
    return run.history["validation_loss"].mean(axis=0)


# %%
figure, axes = plt.subplots()
cases = {"high": (0.015, 1.0), "low": (0.001, 1.0), "from high to low": (0.015, 0.02)}
for name, (rate, end) in cases.items():
    axes.plot(jnp.arange(40, steps + 1, 40), final_loss(rate, end), label=name)
axes.set(xlabel="step", ylabel="loss, mean of 4 seeds", yscale="log")
axes.legend()
plt.show()

# %% [markdown]
# The decay is as fast as the high rate at first, and its loss keeps decreasing where that of the
# high rate stays constant. The three curves are one compiled program, because `rate` and `end` are
# traced numbers *inside* the schedule.
#
# ## Is the best decay better than the best constant?
#
# A comparison of two curves proves little, since each method should be used with its best numbers.
# The next cell therefore tries 12 initial rates with and without decay.

# %%
rates = jnp.geomspace(1e-3, 0.019, 12)
losses = {
    "constant": jax.vmap(lambda rate: final_loss(rate, 1.0)[-1])(rates),
    "falling to 2 %": jax.vmap(lambda rate: final_loss(rate, 0.02)[-1])(rates),
}
figure, axes = plt.subplots()
for (name, values), marker in zip(losses.items(), "os", strict=True):
    axes.plot(
        rates, values, marker=marker, markersize=4, label=f"{name}: {values.min():.2g} at best"
    )
axes.set(xlabel="first rate", ylabel=f"loss after {steps} steps", xscale="log", yscale="log")
axes.legend()
plt.show()

# %% [markdown]
# On this quadratic the best decay ends far below the best constant, and its best initial rate is
# higher. If the initial rate is too low, the decay makes the result worse, because the training
# does not reach the minimum.
#
# ## What was measured
#
# These are [measured verdicts](../benchmarks/results/claims/report.md) on claims of the course.
#
# The experiment of the claim trains a network, where the noise of the gradients is only one of the
# things that limit the loss.

# %%
verdicts.show("schedule")

# %% [markdown]
# ## Exercise
#
# A schedule is any function of the count. Write one that is constant for the first half and then
# decreases linearly to 0, with and without the library, and compare both.

# %% jupyter={"source_hidden": true, "outputs_hidden": true} tags=["hide-cell"]
half = steps // 2
by_hand = lambda t: 0.015 * jnp.minimum(1.0, (steps - t) / half)
from_library = jc.schedules.warmup_stable_decay(0.0, 0.015, 0, half, half)
count = jnp.arange(steps)
difference = jax.vmap(by_hand)(count) - jax.vmap(from_library)(count)
print("largest difference:", f"{jnp.abs(difference).max():.0e}")
