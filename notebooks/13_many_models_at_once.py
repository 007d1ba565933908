# %% [markdown]
# # 13. Many models at once
#
# A whole training is one pure function,
#
# $$\texttt{train}(\text{key},\ \text{hyperparameters},\ \text{rows}) \to \text{run},$$
#
# so it can be mapped over keys (seeds), over hyperparameters (a search) or over rows (folds,
# bags). It is compiled once for all of them, and it can be differentiated.

# %%
# %matplotlib inline
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import verdicts

import jaxopt_course as jc


plt.style.use("course.mplstyle")

# %%
digits = jc.data.digits()
parts = jc.data.split(jax.random.key(0), 1797, validation=400, test=897)
rows = jc.Rows(parts.train, validation=parts.validation)
model = jc.nn.MLP(10, hidden=(32,))
task = jc.linen_task(model, digits.inputs[:1], jc.problems.problem("multiclass"))
build = lambda rate: (task, jc.sgd(rate, momentum=0.9))
train = jc.make_train(build, digits, epochs=12, batch_size=50)

# %% [markdown]
# ## Seeds
#
# One learning curve depends on one draw of the initial weights and of the order of the data.
# Twenty curves show the effect of this randomness.

# %%
keys = jax.random.split(jax.random.key(1), 20)
runs = jax.jit(jc.make_population(train, axes=("key",)))(keys, 0.05, rows)
accuracy = runs.history["validation_accuracy"][:, -1]
print(f"accuracy after 12 epochs: {accuracy.min():.3f} to {accuracy.max():.3f}")
jc.plots.learning_curves(runs, steps_per_epoch=10, title="Twenty seeds")

# %% [markdown]
# ## An ensemble
#
# The twenty models are already trained, so averaging their probabilities needs no further
# training. The figure compares ensembles of increasing size with their members on the test rows.

# %%
x, y = jnp.array(digits.inputs)[parts.test], jnp.array(digits.targets)[parts.test]
predict = lambda params: task.predict(params, {}, x)
probabilities = jax.vmap(predict)(runs.best_params)  # members, examples, classes
single = -jnp.log(probabilities[:, jnp.arange(len(y)), y]).mean(axis=1)
means = jnp.cumsum(probabilities, axis=0) / jnp.arange(1, 21)[:, None, None]
together = -jnp.log(means[:, jnp.arange(len(y)), y]).mean(axis=1)
figure, axes = plt.subplots()
axes.plot(jnp.ones(20), single, "o", color="0.6", label="each member")
axes.plot(jnp.arange(1, 21), together, marker="s", markersize=4, label="mean of the first n")
axes.axhline(single.mean(), color="k", linewidth=1, linestyle=":", label="mean member")
axes.set(xlabel="members n", ylabel="cross-entropy of the test rows", xticks=[1, 5, 10, 15, 20])
axes.legend()
plt.show()

# %% [markdown]
# By convexity the loss of the mean is never above the mean of the losses. The figure shows how far
# below it is.
#
# ## Derivatives with respect to hyperparameters
#
# The learning rate is an array too. Since the training is a pure function of it, the final loss
# has a derivative with respect to the rate: how much better would a slightly larger rate have
# been?

# %%
final = lambda log_rate: train(keys[0], jnp.exp(log_rate), rows).history["validation_loss"][-1]
log_rates = jnp.linspace(jnp.log(1e-3), jnp.log(0.2), 24)
losses, slopes = jax.jit(lambda r: jax.lax.map(jax.value_and_grad(final), r))(log_rates)
figure, axes = plt.subplots()
axes.plot(jnp.exp(log_rates), losses, "o", color="0.2", markersize=4, label="a training each")
for at, loss, slope in zip(log_rates, losses, slopes, strict=True):
    ends = jnp.array([at - 0.15, at + 0.15])
    axes.plot(jnp.exp(ends), loss + slope * (ends - at), color="#e08214", linestyle="-")
axes.plot([], [], color="#e08214", linestyle="-", label="its slope, by differentiation")
axes.set(xlabel="rate", ylabel="validation loss at the end", xscale="log")
axes.legend()
plt.show()

# %% [markdown]
# The short lines are tangents and agree with the curve through the dots: the derivative passes
# through all 120 steps. At the largest rates the training is erratic, and a tangent does not
# predict the next dot.
#
# ## What was measured
#
# These are [measured verdicts](../benchmarks/results/claims/report.md) on claims of the course.

# %%
verdicts.show("dropout_ensemble")

# %% [markdown]
# ## Exercise
#
# In bagging each member trains on its own bootstrap sample: rows drawn with replacement, which are
# weights of the rows. A share of about $1/e$ of the rows is not seen by a member. Verify this with
# `studies.bagging`, and compare an ensemble of 20 bags with the ensemble above.


# %% jupyter={"source_hidden": true, "outputs_hidden": true} tags=["hide-cell"]
# Members train on fewer different rows, so bags are usually a little worse than seeds.
def train_and_predict(key, rate, rows):
    """The probabilities of the test rows after a training."""
    return predict(train(key, rate, rows).state.params)


bags = jc.studies.bagging(
    train_and_predict,
    jnp.array(parts.train),
    key=jax.random.key(2),
    members=20,
    hyperparameters=0.05,
)
unseen = (bags.weights == 0).mean()
loss = -jnp.log(bags.mean[jnp.arange(len(y)), y]).mean()
print(f"unseen {unseen:.3f}, 1/e = {jnp.exp(-1):.3f}")
print(f"bags {loss:.3f}, seeds {together[-1]:.3f}, a member {single.mean():.3f}")
