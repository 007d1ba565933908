# %% [markdown]
# # 16. Constraints, elastic net and early stopping
#
# A penalty is not the only way to keep weights small. A *hard constraint* allows only weights
# within a ball, and *early stopping* allows only as many steps as the validation loss approves of.
# The constrained problem and its gradient step are
#
# $$\min_w L(w) \ \text{ subject to } \ \|w\|^2 \le c, \qquad w \leftarrow P(w - \eta g), \qquad
# P(w) = w \min\left(1, \frac{\sqrt c}{\|w\|}\right),$$
#
# where $P$ is the projection: it returns the nearest point of the ball.

# %%
# %matplotlib inline
import functools

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import verdicts

import jaxopt_course as jc


plt.style.use("course.mplstyle")

# %% [markdown]
# ## A constraint equals a penalty of the matching strength
#
# Where the constraint is active, the gradient of the loss at the optimum points to the center of
# the ball: $-\nabla L(w) = \lambda w$. This is the condition for a minimum of $L +
# \frac{\lambda}{2} \|w\|^2$ too, so the matching strength is $\lambda = \|\nabla L\| / \|w\|$.
# `projected` is the last transformation of the chain.

# %%
x = jax.random.normal(jax.random.key(0), (100, 2)) @ jnp.array([[1.0, 0.9], [0.0, 0.6]])
y = x @ jnp.array([2.0, -1.0]) + 0.1 * jax.random.normal(jax.random.key(1), (100,))
loss = lambda w: ((x @ w - y) ** 2).mean() / 2
ball = functools.partial(jc.regularizers.project_l2_constraint, limit=1.0)
path = lambda fn, tx: jc.minimization.trajectory(fn, jnp.zeros(2), tx, 300)
hard = path(loss, jc.chain(jc.sgd(0.2), jc.projected(ball)))
strength = jnp.linalg.norm(jax.grad(loss)(hard[-1])) / jnp.linalg.norm(hard[-1])
penalized = lambda w: loss(w) + jc.regularizers.l2_penalty(w, strength)
paths = {"no limit": path(loss, jc.sgd(0.2)), "penalty": path(penalized, jc.sgd(0.2))}
paths["constraint"] = hard
print(f"matching strength {strength:.3f}")
for name, points in paths.items():
    print(f"{name:10s} ends at {points[-1].round(4)}, norm {jnp.linalg.norm(points[-1]):.4f}")

# %%
ticks = jnp.meshgrid(jnp.linspace(-0.6, 2.6, 81), jnp.linspace(-1.5, 1.3, 81))
grid = jax.vmap(jax.vmap(loss))(jnp.stack(ticks, axis=-1))
figure, axes = plt.subplots(figsize=(6.4, 4.4))
levels = jnp.sort(jnp.append(jnp.geomspace(0.01, 3.0, 9), loss(hard[-1])))
axes.contour(*ticks, grid, levels=levels, colors="0.7", linestyles="solid", linewidths=1)
axes.add_patch(plt.Circle((0, 0), 1.0, fill=False, linestyle=":"))
for (name, points), marker in zip(paths.items(), "osx", strict=True):
    (line,) = axes.plot(*points.T, label=name)
    axes.plot(*points[-1], marker, color=line.get_color(), markersize=9, fillstyle="none")
axes.set(xlabel="first weight", ylabel="second weight", aspect="equal")
axes.legend(loc="lower left")
plt.show()

# %% [markdown]
# Constraint and penalty end at the same point of the dotted circle, where a contour of the loss
# touches it. Their paths differ: the penalty acts in every step, the constraint only at the edge.
#
# ## Elastic net
#
# The elastic net is the sum of both penalties, $\lambda_1 \sum |w_i| + \frac{\lambda_2}{2} \sum
# w_i^2$. Its proximal operator is the soft threshold, divided by $1 + \eta \lambda_2$. In the
# example the first two of five features are nearly the same measurement, and only they matter.

# %%
noise = jax.random.normal(jax.random.key(2), (3, 200, 5))
twins = noise[0].at[:, 1].set(noise[0, :, 0] + 0.1 * noise[1, :, 0])
values = 1.5 * twins[:, 0] + 0.5 * twins[:, 1] + noise[2, :, 0]


@jax.jit
def weights(l1, l2):
    """The five weights with these strengths."""
    fn = lambda w: ((twins @ w - values) ** 2).mean() / 2
    penalty = functools.partial(jc.regularizers.prox_elastic_net, l1=l1, l2=l2)
    return jc.minimization.trajectory(fn, jnp.zeros(5), jc.ista(penalty, 0.3), 5000)[-1]


for name, l1, l2 in [("L1", 0.15, 0.0), ("L2", 0.0, 0.15), ("both", 0.15, 0.15)]:
    print(f"{name:4s} {weights(l1, l2).round(3)}")

# %% [markdown]
# L1 alone divides the weight unequally between the twins, because $|w_1| + |w_2|$ does not depend
# on the division. L2 makes the twins nearly equal, and leaves no zeros. The elastic net does both:
# nearly equal twins, and exact zeros for the other features.
#
# ## Early stopping and its patience
#
# Training ends when the validation loss has not improved in $p$ evaluations in a row, the
# *patience*. `fit` then returns the parameters of the best evaluation as `best_params`.

# %%
digits = jc.data.digits()
parts = jc.data.split(jax.random.key(3), 1797, validation=200, test=1397)
rows = jc.Rows(parts.train, validation=parts.validation)
labels = jnp.array(digits.targets).at[parts.train[:40]].set(jnp.arange(40) % 10)  # mostly wrong
task = jc.linen_task(jc.nn.MLP(10, (64,)), digits.inputs[:1], jc.problems.problem("multiclass"))
how = {"key": jax.random.key(4), "epochs": 60, "batch_size": 20, "progress": False}


def run(patience):
    """A training of at most 60 epochs of the 200 rows, with an evaluation after each."""
    rule = jc.EarlyStopping(patience)
    data = digits.inputs, labels
    return jc.fit(task, jc.adam(3e-3), data, rows=rows, early_stopping=rule, **how).history


# %%
histories = {patience: run(patience) for patience in (1, 5, 10, 60)}
figure, axes = plt.subplots()
for name, label in [("loss", "training"), ("validation_loss", "validation")]:
    axes.plot(jnp.arange(1, 61), histories[60][name], label=label)
for patience, height in zip((1, 5, 10), (1.6, 1.4, 1.2), strict=True):
    ended = int(histories[patience]["step"][-1]) // 10
    axes.axvline(ended, color="0.4", linewidth=1, linestyle=":")
    axes.text(ended + 0.5, height, f"patience {patience}", color="0.3")
axes.set(xlabel="epoch", ylabel="cross-entropy", title="200 digits, 40 of them relabeled")
axes.legend(loc="upper right")
plt.show()
for patience, history in histories.items():
    losses = history["validation_loss"]
    ended, best = int(history["step"][-1]) // 10, int(jnp.nanargmin(losses))
    print(
        f"patience {patience:2d}: ended after {ended} epochs with {losses[ended - 1]:.3f}, "
        f"best after {best + 1} with {losses[best]:.3f}"
    )

# %% [markdown]
# The validation loss is not smooth. With patience 1 the training ends at its first small rise. A
# larger patience finds a lower loss and costs more epochs. Patience 60 never ends this training,
# whose last loss is well above its best one.
#
# ## What was measured
#
# These are [measured verdicts](../benchmarks/results/claims/report.md) on claims of the course.
#
# The number of steps $\tau$ and the rate $\eta$ limit how far a training moves, so the course
# calls their product a capacity.

# %%
verdicts.show("capacity", "sparsity", "l2_contours")

# %% [markdown]
# ## Exercise
#
# On the quadratic $\frac l2 (w - 1)^2$ descent from 0 arrives at $1 - (1 - \eta l)^\tau$ after
# $\tau$ steps, and the L2 penalty of strength $\lambda$ has its minimum at $l / (l + \lambda)$.
# Verify both for $l = 0.1$, and compare them for $\lambda = 1 / (\eta \tau)$ and three values of
# $\tau$.

# %% jupyter={"source_hidden": true, "outputs_hidden": true} tags=["hide-cell"]
# While eta l tau is small, both are about eta l tau: stopping early acts as an L2 penalty.
curvature, rate = 0.1, 0.1
bowl = lambda w: curvature / 2 * (w - 1) ** 2
for steps in (10, 100, 1000):
    stopped = jc.minimization.trajectory(bowl, jnp.array(0.0), jc.sgd(rate), steps)[-1]
    formula = 1 - (1 - rate * curvature) ** steps
    strength = 1 / (rate * steps)
    tx = jc.chain(jc.add_decayed_weights(strength), jc.sgd(rate))
    decayed = jc.minimization.trajectory(bowl, jnp.array(0.0), tx, 5000)[-1]
    print(f"{steps:4d} steps {stopped:.4f} (formula {formula:.4f}), L2 {decayed:.4f}")
