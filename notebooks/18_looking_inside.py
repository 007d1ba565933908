# %% [markdown]
# # 18. Looking inside a network
#
# A loss curve says *that* a training goes wrong. To see *why*, look at what the layers compute:
# the weights of the first layer (its filters), the distribution of the activations of each layer,
# and the position of the examples in the last hidden layer (their embedding). A layer computes
#
# $$h^{(l)} = a\left(W^{(l)} h^{(l-1)} + b^{(l)}\right), \qquad h^{(0)} = x .$$
#
# A row of $W^{(1)}$ has one weight for each pixel, so it can be drawn as an image.

# %%
# %matplotlib inline
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import verdicts

import jaxopt_course as jc


plt.style.use("course.mplstyle")

# %% [markdown]
# ## Filters
#
# A network with one hidden layer of 16 ReLUs is trained on 300 digits. The upper two rows show its
# filters before the training, the lower two rows the same units afterwards.

# %%
digits = jc.data.digits()
parts = jc.data.split(jax.random.key(0), 1797, validation=500, test=997)
rows = jc.Rows(parts.train, validation=parts.validation)
multiclass = jc.problems.problem("multiclass")
task = jc.linen_task(jc.nn.MLP(10, (16,)), digits.inputs[:1], multiclass)
train = jc.make_train(lambda rate: (task, jc.adam(rate)), digits, epochs=200, batch_size=50)
run = jax.jit(train)(jax.random.key(1), 3e-3, rows)
before = task.init(jax.random.key(1))[0]
images = [p["Dense_0"]["kernel"].T.reshape(16, 8, 8) for p in (before, run.state.params)]
names = [f"{i} {when}" for when in ("before", "after") for i in range(16)]
jc.plots.image_page(np.concatenate(images), names)

# %% [markdown]
# Trained filters have strong weights of both signs. Some look as weak as before. The next cell
# asks what these units compute: the share of the training digits for which each unit is not zero.

# %%
x = jnp.array(digits.inputs)
hidden = lambda rows: task.activations(run.state.params, {}, x[rows])["hidden_0"]
active = (hidden(parts.train) > 0).mean(axis=0)
print("share of the digits that activate a unit:", active.round(2), sep="\n")
print("never active:", jnp.flatnonzero(active == 0))

# %% [markdown]
# A ReLU that is zero for all examples has no gradient, so it never learns again: it is *dead*.
# These are the units with the weak filters. Remedies are a lower rate, another activation (leaky
# ReLU, ELU) and normalization.
#
# ## Histograms
#
# Histograms show saturation. Four layers of tanh get the same digits with two initializers, before
# any training.


# %%
def hidden_layers(kernel_init):
    """The activations of four tanh layers before the training."""
    model = jc.nn.MLP(10, (64,) * 4, activation="tanh", kernel_init=kernel_init)
    fresh = jc.linen_task(model, x[:1], multiclass)
    layers = fresh.activations(*fresh.init(jax.random.key(2)), x[:200])
    return {f"hidden {i + 1}": layers[f"hidden_{i}"] for i in range(4)}


jc.plots.histograms(hidden_layers("standard_normal"), title="N(0, 1): saturated")

# %%
jc.plots.histograms(hidden_layers("glorot_uniform"), title="Glorot")

# %% [markdown]
# With N(0, 1) most values lie near -1 and 1, where the slope of tanh is nearly zero. With Glorot's
# initializer they lie where tanh is steep, and their deviation changes little from layer to layer.
#
# ## Embeddings
#
# An embedding projects the examples to a plane. Principal components are the two directions of the
# largest variance. The first picture shows the pixels of validation digits, the second the hidden
# layer of the trained network.

# %%
seen = parts.validation[:300]
classes = digits.targets[seen]
jc.plots.embedding(x[seen], classes, title="Pixels")

# %%
jc.plots.embedding(hidden(seen), classes, title="Hidden layer after the training")

# %% [markdown]
# Even the pixels have groups. In the hidden layer the first two components contain 58 % of the
# variance, in the pixels 30 %, and the classes 4 and 6 lie further from the others. The plane
# still shows overlaps that the 16 units of the layer do not have: an embedding is a view, not a
# score.
#
# ## What was measured
#
# These are [measured verdicts](../benchmarks/results/claims/report.md) on claims of the course.

# %%
verdicts.show("initial_variance", "vanishing")

# %% [markdown]
# ## Exercise
#
# How many units die at a large learning rate? Train the network with plain descent at the rates
# 0.1 and 1, with ReLU and with ELU, and count units that are never above zero.

# %% jupyter={"source_hidden": true, "outputs_hidden": true} tags=["hide-cell"]
# More ReLUs die at the larger rate. ELU has a slope below zero, so none of its units is lost.
for activation in ("relu", "elu"):
    model = jc.nn.MLP(10, (16,), activation=activation)
    other = jc.linen_task(model, digits.inputs[:1], multiclass)
    build = lambda rate, other=other: (other, jc.sgd(rate))
    train = jax.jit(jc.make_train(build, digits, epochs=100, batch_size=50))
    for rate in (0.1, 1.0):
        run = train(jax.random.key(1), rate, rows)
        values = other.activations(run.state.params, {}, x[parts.train])["hidden_0"]
        lost = int((values.max(axis=0) <= 0).sum())
        loss = run.history["validation_loss"][-1]
        print(f"{activation:4s} rate {rate}: {lost} units never above zero, loss {loss:.3f}")
