# %% [markdown]
# # 11. Comparing optimizers honestly
#
# "A is faster than B" means little without further information: on which problem, to which loss,
# tuned with how many trials, and with which uncertainty? Here every optimizer gets the same number
# of trials from its own search space. One seed selects the configuration and another one scores
# it. The cost is the number of steps to a target that was fixed before:
#
# $$\text{cost} = \frac{\text{steps until the validation loss reaches the target}}
# {\text{length of a training}} .$$
#
# Many such studies are drawn from trainings that are stored once, which gives an interval.

# %%
# %matplotlib inline
import jax
import matplotlib.pyplot as plt
import numpy as np
import verdicts

import jaxopt_course as jc
from jaxopt_course.workloads import compare, entry, summarize, workload


plt.style.use("course.mplstyle")

# %% [markdown]
# ## Optimizers and workloads

# %%
who = [entry(name) for name in ("sgd", "momentum", "adam")]
what = [workload(name) for name in ("quadratic", "rosenbrock", "diabetes")]
for problem in what:
    print(f"{problem.summary} Target: {problem.targets['base']:.3g}")
for one in who:
    print(one.name, {name: (range_.low, range_.high) for name, range_ in one.space.items()})

# %% [markdown]
# Three optimizers are compared on three workloads and their held-out variants, each with its
# defaults and twenty trials, and each configuration with two seeds.

# %%
comparison = compare(who, what, key=jax.random.key(0), trials=20, progress=False)
summary = summarize(comparison, budgets=(1, 5, 20), studies=300)
jc.plots.workload_curves(comparison, title="The best trial of each, and the target")

# %% [markdown]
# The figure shows the best of twenty trials. The cost in practice depends on the amount of tuning.

# %%
jc.plots.tuning_budget_curves(summary.tuning["steps", "fresh_seed"])

# %% [markdown]
# The left panel shows the cost over workloads in lengths of a training, where lower is better and
# a training that misses the target counts as 2. The right panel shows the share of targets that
# are reached. "Defaults" are one configuration of which only the seeds differ. With few trials the
# intervals are wide, since the studies differ. Which optimizer is better depends on the budget.
#
# ## Pairs of optimizers
#
# This is the ratio of the costs of each pair over workloads, with an interval over studies. It
# does not depend on the other optimizers. If the interval contains 1, the comparison shows no
# difference.

# %%
jc.plots.pairwise_matrix(summary.pairs["steps", "fresh_seed"], title="Twenty trials, by steps")

# %% [markdown]
# Three workloads are too few for a recommendation. The library's own comparison has thirteen
# workloads, ten optimizers and a hundred trials, and most of its intervals contain 1 too.
#
# Finally, check whether a best value lies at the edge of its range, printed above. If it does, the
# range was too narrow, and the comparison is unfair to this optimizer.

# %%
for one in who:
    best = summary.best[one.name, "quadratic"]
    print(one.name, {name: float(f"{value:.2g}") for name, value in best.items()})

# %% [markdown]
# ## What was measured
#
# These are [measured verdicts](../benchmarks/results/claims/report.md) on claims of the course.

# %%
verdicts.show("defaults")

# %% [markdown]
# ## Exercise
#
# A comparison must not find differences where there are none. Compare momentum with itself under
# another name, which draws other configurations, and look at the interval.

# %% jupyter={"source_hidden": true, "outputs_hidden": true} tags=["hide-cell"]
# The interval contains 1 and is wide. It covers studies drawn from the stored trials. With few
# stored trials, their own randomness comes on top of it.
momentum = entry("momentum")
twins = [momentum, momentum._replace(name="twin")]
same = compare(twins, what[:2], key=jax.random.key(1), trials=30, progress=False)
pairs = summarize(same, budgets=(30,), studies=300).pairs["steps", "fresh_seed"]
ratio, low, high = (np.exp(a[0, 1]) for a in (pairs.log_ratios, pairs.low, pairs.high))
print(f"ratio of costs {ratio:.2f}, 95 % of studies within [{low:.2f}, {high:.2f}]")
