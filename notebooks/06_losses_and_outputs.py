# %% [markdown]
# # 6. Losses and outputs
#
# The type of the targets determines the activation of the last layer and the loss:
#
# | problem | last activation | loss |
# |---|---|---|
# | binary | sigmoid | binary cross-entropy |
# | one of several classes | softmax | categorical cross-entropy |
# | several labels | sigmoid | binary cross-entropy, summed over labels |
# | regression | none | mean squared error |
# | regression onto [0, 1] | sigmoid | mean squared error or binary cross-entropy |
#
# Cross-entropy is the negative log-likelihood, with the natural logarithm:
#
# $$-\sum_k y_k \log p_k, \qquad \text{or} \qquad -y \log p - (1 - y) \log (1 - p).$$

# %%
# %matplotlib inline
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt

import jaxopt_course as jc


plt.style.use("course.mplstyle")

# %% [markdown]
# ## The table of problems
#
# `problem(name)` combines the loss of the outputs *before* the activation, the activation itself
# and the metrics. The models of this library return such outputs, so loss and activation always
# match.

# %%
for name, row in jc.problems.PROBLEMS.items():
    print(f"{name:30s} targets: {row.targets:8s} metrics: {', '.join(row.metrics)}")

# %% [markdown]
# ## Numerical examples
#
# The course computes its cross-entropies with $\log_{10}$; divide the natural ones by
# $\ln 10 = 2.302585$ to obtain its numbers. Its squared error has the factor 1/2,
# $1/(2N) \sum |y - a|^2$, which is `half_squared_error`. `mean_squared_error` is the mean over all
# entries. For examples with two entries, as here, both are equal.

# %%
binary = jc.losses.binary_cross_entropy(jnp.array([0.8, 0.1, 0.3, 0.8]), jnp.array([1, 0, 1, 0]))
p = jnp.array([[0.8, 0.1, 0.2], [0.04, 0.06, 0.9]])
categorical = jc.losses.categorical_cross_entropy(p, jnp.array([[1, 0, 0], [0, 0, 1]]))
p, y = jnp.array([[0.8, 0.3, 0.9], [0.7, 0.9, 0.1]]), jnp.array([[1, 0, 1], [1, 1, 0]])
several = jc.losses.binary_cross_entropy(p, y).sum(axis=1)
losses = {"binary": binary, "categorical": categorical, "several labels": several}
for name, values in losses.items():
    print(f"{name:15s} natural {values.mean():.6f}, base 10 {values.mean() / jnp.log(10):.4f}")
y, a = jnp.array([[3.0, 4.0], [5.0, 2.0]]), jnp.array([[2.1, 2.5], [6.3, 2.7]])
print("half squared error", round(float(jc.losses.half_squared_error(a, y).mean()), 4))
print("mean squared error", round(float(jc.losses.mean_squared_error(a, y).mean()), 4))

# %% [markdown]
# ## Why not the squared error of a sigmoid?
#
# The reason is its slope. Let the target be 1 and the output be the logit $z$ with
# $p = \sigma(z)$. On the left, where the network is confident and wrong, the squared error is
# flat, because its slope contains the factor $\sigma'(z)$. The slope of the cross-entropy is
# $p - y$, which is large there.

# %%
z = jnp.linspace(-8.0, 6.0, 201)
losses = {
    "cross-entropy": lambda z: jc.sigmoid_binary_cross_entropy(z, jnp.array(1.0)),
    "squared error": lambda z: (jax.nn.sigmoid(z) - 1.0) ** 2,
}
figure, panels = plt.subplots(1, 2, figsize=(8, 3.2))
for name, loss in losses.items():
    panels[0].plot(z, jax.vmap(loss)(z), label=name)
    panels[1].plot(z, jax.vmap(jax.grad(loss))(z), label=name)
panels[0].set(xlabel="logit z, the truth being 1", ylabel="loss")
panels[1].set(xlabel="logit z, the truth being 1", ylabel="slope of the loss")
panels[0].legend()
plt.show()

# %% [markdown]
# ## Why logits?
#
# Probabilities are rounded to 0 and 1, where the loss is infinite or its digits are lost. From the
# logit, $\log(1 + e^{-z})$ can be computed in a form that does not overflow.

# %%
far = jnp.array([-20.0, -200.0, -2000.0])
print("naive:      ", -jnp.log(jax.nn.sigmoid(far)))
print("from logits:", jc.sigmoid_binary_cross_entropy(far, jnp.ones(3)))
slope = jax.vmap(jax.grad(lambda z: -jnp.log(jax.nn.sigmoid(z))))
print("naive slope:", slope(far))

# %% [markdown]
# ## Exercise
#
# Show that binary cross-entropy is categorical cross-entropy with two classes. For which two
# outputs of a softmax does it agree with a sigmoid of $z$?

# %% jupyter={"source_hidden": true, "outputs_hidden": true} tags=["hide-cell"]
# softmax(0, z) = (1 / (1 + e^z), e^z / (1 + e^z)), and the second is the sigmoid of z.
z = jnp.linspace(-5.0, 5.0, 11)
y = (jnp.arange(11) % 2).astype(jnp.float32)
two_outputs, one_hot = jnp.stack([0 * z, z], axis=1), jnp.stack([1 - y, y], axis=1)
categorical = jc.softmax_cross_entropy(two_outputs, one_hot)
binary = jc.sigmoid_binary_cross_entropy(z, y)
print("largest difference:", f"{jnp.abs(categorical - binary).max():.0e}")
