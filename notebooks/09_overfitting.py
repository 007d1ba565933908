# %% [markdown]
# # 9. Overfitting, bias and variance, double descent
#
# A model that is too small cannot represent the truth (bias). A model that is too flexible fits
# the noise of its sample, so another sample would give another model (variance). For a squared
# error the three causes add up, in expectation over trainings $\hat f$ and targets
# $y = f + \varepsilon$:
#
# $$E (y - \hat f)^2 = (f - E \hat f)^2 + \operatorname{Var} \hat f
# + \operatorname{Var} \varepsilon .$$

# %%
# %matplotlib inline
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import verdicts

import jaxopt_course as jc


plt.style.use("course.mplstyle")

# %% [markdown]
# ## Polynomials through thirty noisy points
#
# Each training draws a bootstrap sample, which is a weight for each row, and solves a
# least-squares problem. One hundred trainings are one program.

# %%
truth = lambda x: jnp.sin(2 * jnp.pi * x)
x = (jnp.arange(30) + 0.5) / 30
y = truth(x) + 0.3 * jax.random.normal(jax.random.key(1), (30,))
grid = jnp.linspace(0.05, 0.95, 91)
noisy = truth(grid) + 0.3 * jax.random.normal(jax.random.key(2), (91,))


# %%
def fitted(degree):
    """A function that trains on weighted rows and predicts on the grid."""
    features = lambda x: jnp.cos(jnp.arange(degree + 1) * jnp.arccos(2 * x[:, None] - 1))

    def predict(key, hyperparameters, rows):
        root = jnp.sqrt(rows.weights)[:, None]
        return features(grid) @ jnp.linalg.lstsq(root * features(x), root[:, 0] * y)[0]

    return predict


# %%
def parts(degree):
    """The parts of the error for this degree."""
    known = {"truth": truth(grid), "key": jax.random.key(3)}
    return jc.diagnostics.bias_variance(fitted(degree), jnp.arange(30), noisy, **known)


reports = {f"degree {degree}": parts(degree) for degree in (0, 1, 3, 5, 7)}
print(reports["degree 3"])
jc.plots.bias_variance_bars(reports, title="Where the error comes from")

# %% [markdown]
# The bias decreases with the degree and the variance increases, so their sum has a minimum in
# between. No model can reduce the noise. The error is measured on one draw of noisy targets; the
# part called chance is due to this draw.
#
# ## Learning curves
#
# Two numbers describe a training: a high loss on its own rows means underfitting; a low loss on
# them and a high loss on other rows means overfitting. The example has 40 points of two noisy
# moons and a network of 4400 parameters.

# %%
inputs, targets = jc.data.two_moons(jax.random.key(4), 440, noise=0.3)
moons = inputs, targets.astype(jnp.float32)
task = jc.linen_task(jc.nn.MLP(1, hidden=(64, 64)), inputs[:1], jc.problems.problem("binary"))
rows = jc.Rows(jnp.arange(40), validation=jnp.arange(40, 440))
train = jc.make_train(lambda rate: (task, jc.adam(rate)), moons, epochs=150, batch_size=40)
run = jax.jit(train)(jax.random.key(5), 3e-3, rows)
print(jc.diagnostics.diagnose(run.history))
jc.plots.learning_curves(run, steps_per_epoch=1)

# %% [markdown]
# ## Double descent
#
# A model with as many parameters as examples can just fit all points, but its coefficients are
# large. With more parameters there are many exact fits, and the *smallest* one, which gradient
# descent from 0 finds, has smaller coefficients again. The example fits $p$ random ReLU features
# of 40 examples by least squares of minimal norm. (Masked columns are zero, so all values of $p$
# are one program.)

# %%
inputs, targets = jc.data.teacher(jax.random.key(6), 540, features=10, noise=0.3)


def new_error(key, p, n=40, widest=400):
    """Mean squared error of the smallest least-squares solution with p features."""
    directions = jax.random.normal(key, (10, widest)) / jnp.sqrt(10.0)
    features = jax.nn.relu(inputs @ directions) * (jnp.arange(widest) < p)
    order = jax.random.permutation(key, 540)
    seen, unseen = order[:n], order[n:]
    w = jnp.linalg.lstsq(features[seen], targets[seen], rcond=1e-5)[0]
    return ((features[unseen] @ w - targets[unseen]) ** 2).mean()


sizes = jnp.array([2, 5, 10, 20, 30, 36, 40, 44, 50, 60, 80, 120, 200, 400])
over_seeds = jax.vmap(new_error, in_axes=(0, None))
errors = jax.jit(jax.vmap(over_seeds, in_axes=(None, 0)))(
    jax.random.split(jax.random.key(7), 30), sizes
)

# %%
low, middle, high = jnp.quantile(errors, jnp.array([0.25, 0.5, 0.75]), axis=1)
figure, axes = plt.subplots()
axes.fill_between(sizes, low, high, color="0.85", label="half of 30 draws")
axes.plot(sizes, middle, marker="o", markersize=4, label="median")
axes.axvline(40, color="k", linewidth=1, linestyle=":", label="as many as examples")
axes.set(xlabel="features p", ylabel="squared error on new rows", xscale="log", yscale="log")
axes.legend()
plt.show()

# %% [markdown]
# Whether the second descent ends below the first minimum depends on the noise and on the features.
#
# ## What was measured
#
# These are [measured verdicts](../benchmarks/results/claims/report.md) on claims of the course.

# %%
verdicts.show("double_descent", "smaller_models")

# %% [markdown]
# ## Exercise
#
# The peak is caused by variance, so a penalty should remove it. Add a ridge penalty of strength
# 0.1 to the least squares, $w = X^T (X X^T + n \lambda I)^{-1} y$, and compare at $p = 40$.


# %% jupyter={"source_hidden": true, "outputs_hidden": true} tags=["hide-cell"]
# The ridge bounds the coefficients where the smallest singular value comes near 0.
def ridge_error(key, p, strength, n=40):
    """Mean squared error of ridge regression with p features."""
    directions = jax.random.normal(key, (10, p)) / jnp.sqrt(10.0)
    features, order = jax.nn.relu(inputs @ directions), jax.random.permutation(key, 540)
    seen, unseen = features[order[:n]], features[order[n:]]
    kernel = seen @ seen.T + n * strength * jnp.eye(n)
    w = seen.T @ jnp.linalg.solve(kernel, targets[order[:n]])
    return ((unseen @ w - targets[order[n:]]) ** 2).mean()


keys = jax.random.split(jax.random.key(7), 30)
print("smallest norm:", f"{jnp.median(errors[6]):.2f}")
print("ridge 0.1:    ", f"{jnp.median(jax.vmap(lambda key: ridge_error(key, 40, 0.1))(keys)):.2f}")
