# %% [markdown]
# # 2. Momentum and ravines
#
# In a ravine plain descent oscillates: the steep walls limit the learning rate, while most of the
# way leads along the flat bottom. Momentum accumulates past gradients. Across the ravine they
# alternate in sign and cancel; along it they have the same sign and add up:
#
# $$v \leftarrow \mu v + g, \qquad w \leftarrow w - \eta\, v .$$
#
# A constant gradient is eventually multiplied by $1 + \mu + \mu^2 + \dots = 1 / (1 - \mu)$, which
# is 10 for $\mu = 0.9$.

# %%
# %matplotlib inline
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import verdicts

import jaxopt_course as jc


plt.style.use("course.mplstyle")

# %% [markdown]
# ## Oscillation in a ravine
#
# Nesterov's variant evaluates the gradient at the point that the velocity alone would reach,
# $\theta - \eta \mu v$. `sgd(..., nesterov=True)` is the usual rewritten form. `nesterov` is the
# literal form, for which the loss is evaluated at `lookahead_params`.


# %%
ravine = jc.surfaces.SURFACES["ravine"]
start = jnp.array(ravine.start)
rules = {
    "plain, rate 0.018": jc.sgd(0.018),
    "momentum 0.9, rate 0.006": jc.sgd(0.006, momentum=0.9),
    "Nesterov 0.9, rate 0.006": jc.nesterov(0.006, momentum=0.9),
}
paths = {
    name: jc.minimization.trajectory(ravine.fn, start, rule, 60) for name, rule in rules.items()
}
jc.plots.optimizer_paths(ravine, paths, title="Sixty steps down a ravine")

# %% [markdown]
# Plain descent has a rate three times as large, close to its limit, and is still far from the
# minimum when the others have reached it. Nesterov's variant oscillates less across the ravine.
# (It requires smaller rates: for the curvature $M$ they must be below
# $\frac{2 (1 + \mu)}{(1 + 2 \mu) M}$, whereas momentum allows rates up to
# $\frac{2 (1 + \mu)}{M}$.)
#
# ## Three conventions
#
# Books and libraries write momentum in three ways. From $v_0 = 0$ and with a constant rate all
# three visit the same points, if the rate of the running mean is $1 / (1 - \mu)$ times as large:
#
# | | formula | here |
# |---|---|---|
# | rate outside (optax, torch) | $v = \mu v + g$, $w = w - \eta v$ | `sgd(0.1, 0.9)` |
# | rate inside (Keras) | $v = \mu v + \eta g$, $w = w - v$ | `heavy_ball(0.1, 0.9)` |
# | running mean | $v = \mu v + (1 - \mu) g$, $w = w - \eta v$ | `ema_sgd(1.0, 0.9)` |
#
# They differ when the rate changes: inside, each past gradient keeps the rate of its own step.


# %%
def sizes(optimizer, gradients):
    """The length of each step for these gradients."""

    def step(state, gradient):
        update, state = optimizer.update(gradient, state, 0.0)
        return state, -update

    return jax.lax.scan(step, optimizer.init(jnp.zeros(())), gradients)[1]


print("one gradient, then none:", sizes(jc.ema_sgd(1.0, 0.9), jnp.eye(5)[0]).round(4))

# %% [markdown]
# This is the expansion $v_t = 0.1\, g_t + 0.09\, g_{t-1} + 0.081\, g_{t-2} + \dots$ of the running
# mean. In the next example the gradient is always 1, and the rate falls to a tenth after 40 steps.

# %%
ones = jnp.ones(80)
drop = lambda rate: jc.piecewise_constant_schedule(rate, {40: 0.1})
figure, axes = plt.subplots()
axes.plot(sizes(jc.sgd(drop(0.1), 0.9), ones), label="rate outside: sgd")
axes.plot(sizes(jc.heavy_ball(drop(0.1), 0.9), ones), label="rate inside: heavy_ball")
axes.plot(sizes(jc.ema_sgd(drop(1.0), 0.9), ones), label="running mean: ema_sgd")
axes.set(xlabel="step", ylabel="length of the step", title="The rate falls after 40 steps")
axes.legend()
plt.show()

# %% [markdown]
# With the rate outside, the step length falls at once. With the rate inside, the old velocity
# decays by a factor of 0.9 in each step. The running mean has its rate outside, so it behaves like
# the first.
#
# ## Second-order methods
#
# Momentum and adaptive rates compensate for the curvature; second-order methods measure it.
# Newton's step divides the gradient by the Hessian $H$, the matrix of second derivatives:
#
# $$w \leftarrow w - H^{-1} g .$$
#
# $H$ has a row for each parameter and is never stored. **Newton-CG** solves $H p = g$ by conjugate
# gradients, which need only products $H v$. Such a product is the derivative of the gradient in
# the direction $v$ and costs about two gradients. **L-BFGS** estimates $H^{-1}$ from the last ten
# differences of gradients. Both search the length of the step along the line.

# %%
valley = jc.surfaces.SURFACES["rosenbrock"]
w, v = jnp.array(valley.start), jnp.array([1.0, 0.0])
product = jax.jvp(jax.grad(valley.fn), (w,), (v,))[1]
print("H v", product, "first column of H", jax.hessian(valley.fn)(w)[:, 0])
rules = {
    "momentum": jc.sgd(1e-3, momentum=0.9),
    "L-BFGS": jc.lbfgs(),
    "Newton-CG": jc.newton_cg(),
}
for name, rule in rules.items():
    for surface in (ravine, valley):
        begin = jnp.array(surface.start)
        found = jc.minimize(surface.fn, begin, rule, max_steps=5000, gtol=1e-4, patience=5000)
        print(
            f"{name:9s} {surface.fn.__name__:10s} {int(found.steps):4d} steps to a gradient of 1e-4"
        )

# %%
paths = {name: jc.minimization.trajectory(valley.fn, w, rule, 36) for name, rule in rules.items()}
jc.plots.optimizer_paths(valley, paths, title="Thirty-six steps in Rosenbrock's valley")

# %% [markdown]
# The ravine is quadratic, so one exact Newton step would reach its minimum. In the curved valley
# the second-order methods need tens of steps, and momentum at this rate two thousand. Newton-CG is
# slow at first, because it solves its system only roughly while the gradient is large.
# Second-order methods are rare for large networks: the differences of mini-batch gradients are
# mostly noise, and a line search needs the exact loss.
#
# ## What was measured
#
# These are [measured verdicts](../benchmarks/results/claims/report.md) on claims of the course.
#
# Whether momentum damps the oscillation depends on the rate: at lower rates plain descent does not
# oscillate, and momentum does.

# %%
verdicts.show("momentum", "local_minima")

# %% [markdown]
# ## Exercise
#
# On a quadratic with curvatures from $m$ to $M$ the best momentum is $\mu = \left(\frac{\sqrt M -
# \sqrt m}{\sqrt M + \sqrt m}\right)^2$ with $\eta = \left(\frac{2}{\sqrt M + \sqrt m}\right)^2$.
# How much closer to the minimum of our ravine does it come in 100 steps than the best plain
# descent, $\eta = 2 / (m + M)$?

# %% jupyter={"source_hidden": true, "outputs_hidden": true} tags=["hide-cell"]
# m = 1 and M = 100: the momentum is (9 / 11)^2, the rate (2 / 11)^2.
tuned = {
    "plain": jc.sgd(2 / 101),
    "momentum": jc.sgd((2 / 11) ** 2, momentum=(9 / 11) ** 2),
}
for name, optimizer in tuned.items():
    last = jc.minimization.trajectory(ravine.fn, start, optimizer, 100)[-1]
    print(f"{name}: distance {jnp.linalg.norm(last):.1e} after 100 steps")
