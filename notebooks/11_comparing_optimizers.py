# %% [markdown]
# # 11. Comparing optimizers honestly
#
# "A is faster than B" says little without: on what, to which loss, tuned with how many trials, and
# how sure? Here every optimizer gets the same number of trials from a search space of its own, is
# picked by one seed and scored by another, and costs the steps to a target that was fixed before:
#
# $$\text{cost} = \frac{\text{steps until the validation loss reaches the target}}
# {\text{length of a training}} .$$
#
# Many such studies are drawn from trainings that are stored once, so that there is an interval.

# %%
# %matplotlib inline
import jax
import matplotlib.pyplot as plt
import numpy as np

import jaxopt_course as jc
from jaxopt_course.workloads import compare, contender, summarize, workload


plt.style.use("course.mplstyle")

# %% [markdown]
# ## Who, and on what

# %%
who = [contender(name) for name in ("sgd", "momentum", "adam")]
what = [workload(name) for name in ("quadratic", "rosenbrock", "diabetes")]
for problem in what:
    print(f"{problem.summary} Target: {problem.targets['base']:.3g}")
for one in who:
    print(one.name, {name: (range_.low, range_.high) for name, range_ in one.space.items()})

# %% [markdown]
# Twenty trials, and the defaults, of three contenders on three workloads and their held-out
# variants; each configuration with two seeds.

# %%
comparison = compare(who, what, key=jax.random.key(0), trials=20, progress=False)
summary = summarize(comparison, budgets=(1, 5, 20), studies=300)
jc.plots.workload_curves(comparison, title="The best trial of each, and the target")

# %% [markdown]
# These are the best of twenty trials. What one pays depends on how much one has tuned.

# %%
jc.plots.tuning_budget_curves(summary.tuning["steps", "fresh_seed"])

# %% [markdown]
# On the left lower is better: lengths of a training until the target, over workloads, where a
# training that never gets there counts as two. On the right, how many targets are reached at all.
# "Defaults" are one configuration, of which only the seeds differ; with a few trials the interval
# is wide, for studies differ. An optimizer is better *at a budget*, and another one at another.
#
# ## Two by two
#
# The ratio of costs of each pair, over workloads, with an interval over studies. It does not
# depend on who else takes part. Where the interval holds 1, nothing was shown.

# %%
jc.plots.pairwise_matrix(summary.pairs["steps", "fresh_seed"], title="Twenty trials, by steps")

# %% [markdown]
# Three workloads are too few to recommend anything: the library's own comparison has thirteen, ten
# contenders and a hundred trials, and most of its intervals hold 1 too.
#
# One more thing to look at: does a best value lie at the edge of its range, printed above? Then the
# range was too narrow, and the comparison unfair to whoever it belongs to.

# %%
for one in who:
    best = summary.best[one.name, "quadratic"]
    print(one.name, {name: float(f"{value:.2g}") for name, value in best.items()})

# %% [markdown]
# ## Exercise
#
# A comparison that finds differences where there are none is worthless. Let momentum compete with
# itself under another name (it then draws other configurations), and look at the interval.

# %% jupyter={"source_hidden": true, "outputs_hidden": true} tags=["hide-cell"]
# The interval holds 1, and is wide. It is over studies that draw from the trials that are stored:
# with few of those, luck in which were stored comes on top of it.
momentum = contender("momentum")
twins = [momentum, momentum._replace(name="twin")]
same = compare(twins, what[:2], key=jax.random.key(1), trials=30, progress=False)
pairs = summarize(same, budgets=(30,), studies=300).pairs["steps", "fresh_seed"]
ratio, low, high = (np.exp(a[0, 1]) for a in (pairs.log_ratios, pairs.low, pairs.high))
print(f"ratio of costs {ratio:.2f}, 95 % of studies within [{low:.2f}, {high:.2f}]")
