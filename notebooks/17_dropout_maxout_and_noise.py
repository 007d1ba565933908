# %% [markdown]
# # 17. Dropout, maxout and noise
#
# Dropout sets each unit to zero with the probability $p$ in every step, independently: $r \in \{0,
# 1\}$ with $P(r = 0) = p$. The sum that a unit sends on must have the same mean in training and
# afterwards, and there are two ways to provide for that:
#
# $$\text{classical:} \quad r\, x \text{ in training}, \quad (1 - p)\, x \text{ afterwards;}$$
# $$\text{inverted:} \quad \frac{r\, x}{1 - p} \text{ in training}, \quad x \text{ afterwards.}$$
#
# The factor of the classical form is the probability to *keep* a unit. In some texts $p$ is that
# probability; in this library `rate` is always the probability to drop.

# %%
# %matplotlib inline
import flax.linen as nn
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import verdicts

import jaxopt_course as jc


plt.style.use("course.mplstyle")

# %% [markdown]
# ## Two forms, one expectation
#
# Both layers get the same ten thousand ones. The last two columns must agree in each row.

# %%
x, rngs = jnp.ones(10_000), {"dropout": jax.random.key(0)}
print("form      rate  kept entries are  mean in training  afterwards")
for layer in (jc.nn.ClassicalDropout, jc.nn.Dropout):
    for rate in (0.2, 0.5):
        seen = layer(rate).apply({}, x, train=True, rngs=rngs)
        after = layer(rate).apply({}, x, train=False)
        form = "classical" if layer is jc.nn.ClassicalDropout else "inverted"
        print(
            f"{form:9s} {rate}   {seen.max():.2f}              {seen.mean():.3f}             "
            f"{after.mean():.3f}"
        )

# %% [markdown]
# The classical forms have the mean $1 - p$, the inverted ones the mean 1. One published text
# scales the weights by the dropout rate itself, which is correct only for $p = 1/2$. For $p = 0.2$
# it gives 0.2 where the mean in training is 0.8.
#
# ## The mean of many networks
#
# A network with dropout is a random sub-network. Afterwards one pass with scaled weights replaces
# the average over sub-networks. The example trains on 300 digits and compares both.

# %%
digits = jc.data.digits()
parts = jc.data.split(jax.random.key(1), 1797, validation=500, test=997)
rows = jc.Rows(parts.train, validation=parts.validation)
unseen, truth = jnp.array(digits.inputs)[parts.test], jnp.array(digits.targets)[parts.test]
model = jc.nn.MLP(10, (128,), dropout=0.5)
task = jc.linen_task(model, digits.inputs[:1], jc.problems.problem("multiclass"))
train = jc.make_train(lambda rate: (task, jc.adam(rate)), digits, epochs=40, batch_size=50)
params = jax.jit(train)(jax.random.key(2), 3e-3, rows).state.params


@jax.vmap
def sub_network(key):
    """Log-probabilities of the test rows by one random sub-network."""
    logits = model.apply({"params": params}, unseen, train=True, rngs={"dropout": key})
    return jax.nn.log_softmax(logits)


# %%
loss = lambda logs: -logs[..., jnp.arange(len(truth)), truth].mean(axis=-1)
logs = sub_network(jax.random.split(jax.random.key(3), 200))
print(f"a sub-network            {loss(logs).mean():.3f}")
print(f"arithmetic mean of 200   {loss(jnp.log(jnp.exp(logs).mean(axis=0))):.3f}")
print(f"geometric mean of 200    {loss(jax.nn.log_softmax(logs.mean(axis=0))):.3f}")
print(f"scaled weights           {loss(jnp.log(task.predict(params, {}, unseen))):.3f}")

# %% [markdown]
# Averages are better than a single sub-network. One pass with scaled weights comes close to the
# *geometric* mean of the probabilities (rescaled so that they sum to 1). For a single layer of
# softmax both are equal. Whether dropout is like an ensemble of networks that were trained one by
# one is another question, see the measured claim below.
#
# ## Maxout
#
# Maxout was proposed together with dropout. A unit is the largest of $k$ affine maps, so it learns
# its activation, a convex function of straight pieces:
#
# $$h(x) = \max_{j \le k} \; (w_j \cdot x + b_j) .$$
#
# ReLU is the case $k = 2$ with one map equal to zero. One unit is fitted to $x^2$.


# %%
class Unit(nn.Module):
    """One maxout unit."""

    pieces: int

    @nn.compact
    def __call__(self, x, train=False):
        return jc.nn.Maxout(1, self.pieces, kernel_init="standard_normal")(x)


# %%
grid = jnp.linspace(-1.0, 1.0, 201)[:, None]
figure, axes = plt.subplots()
axes.plot(grid, grid**2, color="0.7", linewidth=5, linestyle="-", label="x squared")
for pieces in (1, 2, 4):
    task = jc.linen_task(Unit(pieces), grid, jc.problems.problem("regression"))
    build = lambda rate, task=task: (task, jc.adam(rate))
    train = jc.make_train(build, (grid, grid**2), steps=3000, batch_size=201)
    params = jax.jit(train)(jax.random.key(5), 0.01, None).state.params
    axes.plot(grid, task.predict(params, {}, grid), label=f"k = {pieces}")
axes.set(xlabel="x", ylabel="output of one unit")
axes.legend()
plt.show()

# %% [markdown]
# With $k = 1$ the unit is a straight line, with $k = 2$ an angle, and four pieces follow the
# curve. A maxout layer has $k$ times as many weights as a dense one.
#
# ## Noise, cutout and mixup
#
# Altered examples are another random regularization. Noise is added to every pixel, cutout blanks
# a random square, and mixup draws $l$ from a Beta$(\alpha, \alpha)$ distribution and mixes two
# examples and their targets:
#
# $$\tilde x = l\, x_i + (1 - l)\, x_j, \qquad \tilde y = l\, y_i + (1 - l)\, y_j .$$

# %%
images = jc.data.digit_images(digits.inputs)
noise, cutout = jc.data.gaussian_noise(0.2), jc.data.cutout(3)
four, key = jnp.array(images[:4]), jax.random.key(14)
mixed, shares = jc.data.mixup(key, four, jnp.array(digits.targets[:4]), 0.5, n_classes=10)
pages = [four, noise(key, four), cutout(key, four), mixed]
titles = [name for name in ("original", "noise", "cutout", "mixup") for _ in range(4)]
jc.plots.image_page(np.concatenate(pages), titles, columns=4)

# %%
base = jc.linen_task(jc.nn.MLP(10, (64, 64)), images[:1], jc.problems.problem("multiclass"))
tasks = {
    "nothing": base,
    "noise": jc.tasks.augmented(base, noise),
    "cutout": jc.tasks.augmented(base, cutout),
    "mixup": jc.tasks.mixed(base, 0.5, n_classes=10),
}
keys = jax.random.split(jax.random.key(7), 5)
for name, task in tasks.items():
    build = lambda rate, task=task: (task, jc.adam(rate))
    train = jc.make_train(build, (images, digits.targets), epochs=60, batch_size=50)
    population = jax.jit(jc.make_population(train, axes=("key",)))
    losses = population(keys, 2e-3, rows).history["validation_loss"].min(axis=1)
    print(f"{name:8s} validation loss {losses.mean():.3f}, deviation of 5 seeds {losses.std():.3f}")

# %% [markdown]
# On these 300 images of $8 \times 8$ pixels noise lowers the loss. Cutout and mixup raise it: a
# square of 9 of the 64 pixels can hide what distinguishes two digits, and mixup trains for less
# confident probabilities, which costs cross-entropy on clear examples. An augmentation has to be
# tried like any other hyperparameter.
#
# ## What was measured
#
# These are [measured verdicts](../benchmarks/results/claims/report.md) on claims of the course.

# %%
verdicts.show("dropout_ensemble", "dropout_l2")

# %% [markdown]
# ## Exercise
#
# For a linear model and the squared error, the expectation of the loss with inverted dropout of
# the inputs is the loss without it plus an L2 penalty, $\frac{p}{1 - p} \sum_j w_j^2 \sum_i
# x_{ij}^2$ (for the sum over the rows). Verify it by drawing masks.

# %% jupyter={"source_hidden": true, "outputs_hidden": true} tags=["hide-cell"]
# Var(r / (1 - p)) = p / (1 - p), and the entries are dropped independently of each other.
a, b = jax.random.split(jax.random.key(8))
x, w, rate = jax.random.normal(a, (20, 5)), jnp.array([1.0, -2.0, 0.5, 0.0, 3.0]), 0.4
y = x @ w + jax.random.normal(b, (20,))
error = lambda x: ((x @ w - y) ** 2).sum()
drawn = jax.vmap(lambda key: error(jc.nn.dropout(key, x, rate)))(jax.random.split(b, 20_000))
penalty = rate / (1 - rate) * (w**2 * (x**2).sum(axis=0)).sum()
print(f"mean over masks {drawn.mean():.1f} +- {drawn.std() / 20_000**0.5:.1f}")
print(f"loss + penalty  {error(x) + penalty:.1f}")
