# %% [markdown]
# # 6. Losses and outputs
#
# The kind of target decides what the last layer does and how its output is judged:
#
# | problem | last activation | loss |
# |---|---|---|
# | binary | sigmoid | binary cross-entropy |
# | one label of many | softmax | categorical cross-entropy |
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
# ## One table
#
# `problem(name)` holds it all: a loss of the outputs *before* the activation, the activation, the
# metrics. Models of this library end in such outputs, so there is nothing to mismatch.

# %%
for name, row in jc.problems.PROBLEMS.items():
    print(f"{name:30s} targets: {row.targets:8s} metrics: {', '.join(row.metrics)}")

# %% [markdown]
# ## Worked numbers
#
# The course works its cross-entropies with $\log_{10}$: divide the natural ones by
# $\ln 10 = 2.302585$ to find its numbers. Its squared error has the half, $1/(2N) \sum |y - a|^2$,
# which is `half_squared_error`; `mean_squared_error` is the mean over all entries. With two entries
# an example, as here, the half and the mean are the same.

# %%
binary = jc.binary_cross_entropy(jnp.array([0.8, 0.1, 0.3, 0.8]), jnp.array([1, 0, 1, 0]))
p = jnp.array([[0.8, 0.1, 0.2], [0.04, 0.06, 0.9]])
categorical = jc.categorical_cross_entropy(p, jnp.array([[1, 0, 0], [0, 0, 1]]))
p, y = jnp.array([[0.8, 0.3, 0.9], [0.7, 0.9, 0.1]]), jnp.array([[1, 0, 1], [1, 1, 0]])
several = jc.binary_cross_entropy(p, y).sum(axis=1)
losses = {"binary": binary, "categorical": categorical, "several labels": several}
for name, values in losses.items():
    print(f"{name:15s} natural {values.mean():.6f}, base 10 {values.mean() / jnp.log(10):.4f}")
y, a = jnp.array([[3.0, 4.0], [5.0, 2.0]]), jnp.array([[2.1, 2.5], [6.3, 2.7]])
print("half squared error", round(float(jc.half_squared_error(a, y).mean()), 4))
print("mean squared error", round(float(jc.mean_squared_error(a, y).mean()), 4))

# %% [markdown]
# ## Why not the squared error of a sigmoid?
#
# Because of its slope. Let the truth be 1 and the output be the logit $z$, $p = \sigma(z)$. Where
# the network is certain and wrong, at the left, the squared error has gone flat, for it is
# multiplied by $\sigma'(z)$. Cross-entropy has the slope $p - y$: wrong means steep.

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
# Probabilities round to 0 and 1 and then have no logarithm. From the logit,
# $\log(1 + e^{-z})$ can be computed in a form that never overflows.

# %%
far = jnp.array([-20.0, -200.0, -2000.0])
print("naive:      ", -jnp.log(jax.nn.sigmoid(far)))
print("from logits:", jc.sigmoid_binary_cross_entropy(far, jnp.ones(3)))
slope = jax.vmap(jax.grad(lambda z: -jnp.log(jax.nn.sigmoid(z))))
print("naive slope:", slope(far))

# %% [markdown]
# ## Exercise
#
# Show that binary cross-entropy is categorical cross-entropy with two classes: for which two
# outputs of a softmax is it the same as a sigmoid of $z$?

# %% jupyter={"source_hidden": true, "outputs_hidden": true} tags=["hide-cell"]
# softmax(0, z) = (1 / (1 + e^z), e^z / (1 + e^z)), and the second is the sigmoid of z.
z = jnp.linspace(-5.0, 5.0, 11)
y = (jnp.arange(11) % 2).astype(jnp.float32)
two_outputs, one_hot = jnp.stack([0 * z, z], axis=1), jnp.stack([1 - y, y], axis=1)
categorical = jc.softmax_cross_entropy(two_outputs, one_hot)
binary = jc.sigmoid_binary_cross_entropy(z, y)
print("largest difference:", f"{jnp.abs(categorical - binary).max():.0e}")
