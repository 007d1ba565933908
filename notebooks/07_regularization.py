# %% [markdown]
# # 7. Regularization
#
# With few examples a large model fits the noise. Regularization means a preference: for small
# weights, for few weights, for a network that does not depend on single units, or for an early
# stop. The penalties are
#
# $$L + \frac{\lambda}{2} \sum_i w_i^2 \quad (L2), \qquad L + \lambda \sum_i |w_i| \quad (L1),$$
#
# summed over the weights; by default they exclude biases.

# %%
# %matplotlib inline
import functools

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import verdicts

import jaxopt_course as jc


plt.style.use("course.mplstyle")

# %% [markdown]
# ## L1 gives zeros, L2 gives small weights
#
# The data are ten measurements of each patient, scaled, and the progress of diabetes. L1 is
# minimized by a gradient step of the loss alone, followed by the soft threshold
# $S(w) = \operatorname{sign}(w) \max(0, |w| - \eta\lambda)$, which gives exact zeros. The
# threshold is the rate *times* the strength. The subgradient,
# $w \leftarrow w - \eta (g + \lambda \operatorname{sgn} w)$, jumps across zero and back.

# %%
diabetes = jc.data.diabetes()
scale = lambda a: jc.data.scale_features(jc.data.fit_scaler(a), a)
x, y = jnp.array(scale(diabetes.inputs)), jnp.array(scale(diabetes.targets))[:, 0]
loss = lambda w: ((x @ w - y) ** 2).mean() / 2
optimizers = {
    "L2": lambda s: jc.chain(jc.add_decayed_weights(s), jc.sgd(0.2)),
    "L1, subgradient": lambda s: jc.chain(jc.add_l1(s), jc.sgd(0.2)),
    "L1, threshold": lambda s: jc.ista(functools.partial(jc.regularizers.prox_l1, strength=s), 0.2),
}


@functools.partial(jax.jit, static_argnames="name")
def coefficients(strengths, name):
    """The weights after 1000 steps, f[strengths, 10]."""
    ends = {"max_steps": 1000, "gtol": 0.0, "patience": 1000}
    found = lambda s: jc.minimize(loss, jnp.zeros(10), optimizers[name](s), **ends)
    return jax.vmap(found)(strengths).params


# %%
strengths = jnp.geomspace(1e-3, 1.0, 30)
figure, panels = plt.subplots(1, 3, figsize=(9, 3.2), sharey=True)
for axes, name in zip(panels, optimizers, strict=True):
    w = coefficients(strengths, name)
    axes.plot(strengths, w)
    axes.set(title=name, xlabel="strength", xscale="log")
    print(f"{name:15s} exact zeros at strength 0.1: {(w[20] == 0).sum()} of 10")
panels[0].set_ylabel("coefficients of the 10 features")
plt.show()

# %% [markdown]
# ## A network with 300 examples, 60 of them with random labels
#
# A large network can memorize the wrong labels, and regularization should prevent this. Weight
# decay and dropout rate are traced numbers, so the cases without, with one and with both are one
# program for all seeds. Augmentation is a wrapper of the task that changes the examples in every
# step.

# %%
digits = jc.data.digits()
parts = jc.data.split(jax.random.key(0), 1797, validation=800, test=697)
rows = jc.Rows(parts.train, validation=parts.validation)
labels = np.array(digits.targets)
labels[parts.train[:60]] = np.random.default_rng(0).integers(0, 10, 60)
moved = jc.data.random_affine(rotation=15.0, shift=0.8, zoom=1.15)
flat = lambda key, x: moved(key, x.reshape(-1, 8, 8)).reshape(x.shape)


def study(augment):
    """Trainings of 5 seeds for each configuration of a stack."""

    def build(h):
        model = jc.nn.MLP(10, hidden=(128,), dropout=h["dropout"])
        task = jc.linen_task(model, digits.inputs[:1], jc.problems.problem("multiclass"))
        task = jc.tasks.augmented(task, flat) if augment else task
        return task, jc.adamw(3e-3, weight_decay=h["decay"], mask=jc.regularizers.weights_only)

    train = jc.make_train(build, (digits.inputs, labels), epochs=60, batch_size=50)
    return jax.jit(jc.make_population(train, axes=("hyperparameters", "key")))


# %%
keys = jax.random.split(jax.random.key(1), 5)
h = {"dropout": jnp.array([0.0, 0.0, 0.5, 0.5]), "decay": jnp.array([0.0, 0.3, 0.0, 0.3])}
names = ["nothing", "decay", "dropout", "both", "augmentation", "all three"]
without = study(augment=False)(keys, h, rows).history["validation_loss"]
ends = {"dropout": h["dropout"][::3], "decay": h["decay"][::3]}
augmented = study(augment=True)(keys, ends, rows).history["validation_loss"]
losses = np.concatenate([without, augmented])  # configurations, seeds, evaluations
figure, axes = plt.subplots(figsize=(7, 3.4))
judged = {"at the end": (losses[..., -1], "0.45"), "stopped at the best": (losses.min(-1), "0.8")}
for shift, (label, (values, grey)) in zip((-0.2, 0.2), judged.items(), strict=True):
    bars = {"color": grey, "edgecolor": "k", "capsize": 3, "label": label}
    axes.bar(np.arange(6) + shift, values.mean(1), 0.4, yerr=values.std(1), **bars)
axes.set(ylabel="validation loss, 5 seeds", xticks=range(6), xticklabels=names)
axes.legend()
plt.show()

# %% [markdown]
# The lighter bars show early stopping: the parameters of the best evaluation, which every run
# keeps. It recovers part of what a training without other regularization loses. On these 300
# digits, a fifth of them with random labels and with the strengths chosen here, dropout and
# augmentation are each more effective, and all three together regularize too much.
#
# ## What was measured
#
# These are [measured verdicts](../benchmarks/results/claims/report.md) on claims of the course.
#
# Which regularization helps most depends on the data and on the strengths. The experiment of the
# second claim has 100 digits with correct labels, and chooses each strength by other seeds.

# %%
verdicts.show("sparsity", "scarce_data", "biases", "decision_boundary")

# %% [markdown]
# ## Exercise
#
# For one feature with $L = \frac12 (w - a)^2$, where is the minimum with an L1 penalty of strength
# $\lambda$? Use `ista` to find it for $a = 2$ and $a = 0.5$ with $\lambda = 1$. The result must
# not depend on the rate: use two rates.

# %% jupyter={"source_hidden": true, "outputs_hidden": true} tags=["hide-cell"]
# It is at sign(a) max(0, |a| - lambda): 1 and exactly 0.
a = jnp.array([2.0, 0.5])
lasso = functools.partial(jc.regularizers.prox_l1, strength=1.0)
for rate in (0.1, 0.5):
    loss = lambda w: ((w - a) ** 2).sum() / 2
    found = jc.minimize(loss, jnp.full(2, 3.0), jc.ista(lasso, rate), gtol=0.0)
    print(f"rate {rate}: {found.params.round(5)}")
