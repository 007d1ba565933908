# %% [markdown]
# # 10. Searching hyperparameters
#
# Learning rates, penalties and dropout rates cannot be learned from the training rows; they are
# chosen by trial. A grid with $k$ values of each of $d$ numbers costs
#
# $$k^d$$
#
# trainings, so grids are rarely used for more than about four numbers. Random points, or better
# *evenly spread* random points (Sobol), use a new value of every number in every trial.

# %%
# %matplotlib inline
import jax
import matplotlib.pyplot as plt
import numpy as np
import verdicts

import jaxopt_course as jc
from jaxopt_course.studies import (
    Float,
    cross_validate,
    grid_design,
    importance,
    random_design,
    reevaluate,
    search,
    sobol_design,
)


plt.style.use("course.mplstyle")

# %% [markdown]
# ## Sixteen points in three designs
#
# If only the first number matters, a grid of sixteen points has tried only four values of it.

# %%
plane = {"matters": Float(0.0, 1.0), "does not": Float(0.0, 1.0)}
designs = {
    "grid": grid_design(plane, 16),
    "random": random_design(jax.random.key(0), plane, 16),
    "Sobol": sobol_design(jax.random.key(0), plane, 16),
}
figure, panels = plt.subplots(1, 3, figsize=(8, 2.9), sharey=True)
for axes, (name, points) in zip(panels, designs.items(), strict=True):
    axes.plot(*points.T, "o", color="0.2")
    axes.plot(points[:, 0], np.full(16, -0.12), "|", color="k", markersize=12, clip_on=False)
    different = len(np.unique(points[:, 0].round(6)))
    axes.set(title=f"{name}: {different} values", xlabel="what matters", ylim=(-0.2, 1.05))
panels[0].set_ylabel("what does not")
plt.show()

# %% [markdown]
# ## A search
#
# `build` is called while the program is traced, so single trials need no compilation: the 64
# configurations with two seeds each are one program. Ranges over several decades are searched on a
# logarithmic scale. Configurations are ranked on validation rows, and the test rows are not used.

# %%
digits = jc.data.digits()
parts = jc.data.split(jax.random.key(1), 1797, validation=500, test=897)
rows = jc.Rows(parts.train, validation=parts.validation)


def build(h):
    """What a configuration trains."""
    model = jc.nn.MLP(10, hidden=(32,), dropout=h["dropout"])
    task = jc.linen_task(model, digits.inputs[:1], jc.problems.problem("multiclass"))
    return task, jc.adamw(h["rate"], weight_decay=h["decay"])


train = jc.make_train(build, digits, epochs=10, batch_size=32)
space = {
    "rate": Float(1e-4, 1.0, log=True),
    "decay": Float(1e-5, 1.0, log=True),
    "dropout": Float(0.0, 0.7),
}

# %%
settings = {"key": jax.random.key(2), "folds": rows, "progress": False, "strategy": "map"}
result = search(train, space, trials=64, seeds=2, **settings)
best = result.configurations[result.best]
print({name: round(value, 4) for name, value in best.items()})
print(
    f"validation loss {result.values[result.best]:.4f}, the median {np.median(result.values):.2f}"
)
jc.plots.parallel_coordinates(result, title="A search on digits")

# %% [markdown]
# The coloured lines pass through a narrow interval on the axis of the rate, through the lower part
# of the axis of dropout, and through all of the axis of weight decay. The next cell shows this as
# shares of the variance, and one range at a time.

# %%
print({name: round(share, 2) for name, share in importance(result).items()})
jc.plots.slices(result)

# %% [markdown]
# ## How lucky was the best trial?
#
# The best of 64 trials was selected by its score, so its score is too optimistic. New seeds remove
# the luck with the seeds. The luck with the validation rows remains, and for this there is a test
# set, to be used once.

# %%
again = reevaluate(train, result, seeds=10)
print(f"in the search {again.selected[0]:.4f}")
print(f"fresh seeds   {again.means[0]:.4f} +- {again.standard_errors[0]:.4f}")

# %% [markdown]
# ## k-fold cross-validation
#
# One split wastes rows and depends on luck. With $k$ folds every row validates once and trains $k
# - 1$ times, and the score is the mean over the folds, $\frac1k \sum_{f=1}^k s_f$. The test rows
# are held apart before the folds are drawn. All trainings are one program.

# %%
seen = np.concatenate([parts.train, parts.validation])
folds = jc.data.k_fold(jax.random.key(3), seen, 5, stratify=digits.targets[seen])
report = cross_validate(train, folds, key=jax.random.key(4), hyperparameters=best)
print("losses of the folds", report.scores[:, 0].round(3))
print(f"mean {report.mean:.4f} +- {report.standard_error:.4f}")

# %% [markdown]
# The folds differ by a factor of two, and one split is one such draw. (The losses are lower than
# in the search, because a fold trains on 720 rows instead of 400.) The folds share training rows,
# so the standard error is somewhat too small.
#
# ## Bayesian search
#
# A Bayesian method models the score as a function of the configuration, from the trials so far,
# and proposes what promises most. The tree-structured Parzen estimator (`method="tpe"`) estimates
# two densities of configurations, $\ell$ of the good and $g$ of the other trials, and maximizes
# $\ell(h) / g(h)$. It learns between rounds, here 16 rounds of 4 trials.

# %%
learned = search(train, space, trials=64, seeds=2, method="tpe", **settings)
figure, axes = plt.subplots()
for name, one in {"Sobol": result, "Bayesian (TPE)": learned}.items():
    axes.plot(range(1, 65), np.minimum.accumulate(one.values), label=f"{name}, best so far")
for one, marker in ((result, "o"), (learned, "x")):
    axes.plot(range(1, 65), one.values, marker, color="0.6", markersize=4)
axes.set(xlabel="trial", ylabel="validation loss", yscale="log")
figure.legend(loc="outside lower center", ncols=2)
plt.show()
for name, one in {"Sobol": result, "Bayesian": learned}.items():
    late = np.median(one.values[32:])
    print(f"{name:8s} best {one.values.min():.4f}, median of the last 32 trials {late:.3f}")

# %% [markdown]
# The Bayesian method, the crosses, spends its later trials near good configurations: their median
# is far lower. The best of 64 trials is hardly better than that of Sobol, where three numbers are
# easy to cover. How many trials each method needs is the measured claim.
#
# ## What was measured
#
# These are [measured verdicts](../benchmarks/results/claims/report.md) on claims of the course.

# %%
verdicts.show("search_methods")

# %% [markdown]
# ## Exercise
#
# How does the best score depend on the number of trials? Use the search above and average over
# random orders of its trials.

# %% jupyter={"source_hidden": true, "outputs_hidden": true} tags=["hide-cell"]
# The best of the first n of a random order, 200 orders: most of the gain comes early.
orders = np.argsort(np.random.default_rng(0).random((200, 64)), axis=1)
best_so_far = np.minimum.accumulate(result.values[orders], axis=1).mean(axis=0)
for n in (1, 4, 16, 64):
    print(f"best of {n:2d}: {best_so_far[n - 1]:.4f}")
