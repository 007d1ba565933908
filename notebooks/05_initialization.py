# %% [markdown]
# # 5. Initialization and vanishing gradients
#
# A deep network multiplies: every layer changes the size of its input by a factor. $0.8^{100}$ is
# about $2 \cdot 10^{-10}$, and $1.5^{100}$ is about $4 \cdot 10^{17}$. For a linear layer with
# $n_\text{in}$ inputs, $n_\text{out}$ outputs and weights of variance $\gamma$,
#
# $$\operatorname{Var}(\text{output}) = n_\text{in} \gamma \operatorname{Var}(\text{input}), \quad
# \operatorname{Var}(\text{gradient of the input}) =
# n_\text{out}\, \gamma \operatorname{Var}(\text{gradient of the output}) .$$
#
# Both variances are preserved only if $n_\text{in} = n_\text{out}$. Glorot's compromise is
# $\gamma = 2 / (n_\text{in} + n_\text{out})$. ReLU sets half of its inputs to zero, which He's
# $\gamma = 2 / n_\text{in}$ compensates.

# %%
# %matplotlib inline
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import verdicts

import jaxopt_course as jc


plt.style.use("course.mplstyle")

# %% [markdown]
# ## Variance through depth
#
# `variance_through_depth` sends noise through 8 layers and back. Here the widths shrink from 256
# to 64 units, so the forward and the backward pass need different variances: an initialization
# that preserves the activations reduces the gradients by a factor of 4.

# %%
deep = lambda init, activation, width=256: jc.diagnostics.variance_through_depth(
    init, activation, 8, key=jax.random.key(0), widths=(256, width), rows=128
)
report = deep("fan_in_normal", "identity", width=64)
print(report)
jc.plots.variance_curves(report, title="n_in times the variance is 1: kept forward")

# %% [markdown]
# The next figure compares initializers with two activations. `standard_normal` is N(0, 1), and
# `small_normal` has the standard deviation 0.01.

# %%
tried = {
    "tanh": ["standard_normal", "small_normal", "glorot_normal"],
    "relu": ["standard_normal", "he_normal", "glorot_normal"],
}
reports = {(act, init): deep(init, act) for act, inits in tried.items() for init in inits}
figure, panels = plt.subplots(1, 2, figsize=(8, 3.4), sharey=True)
for axes, (act, inits) in zip(panels, tried.items(), strict=True):
    for init, marker in zip(inits, "os^", strict=True):
        axes.plot(reports[act, init].forward, marker=marker, markersize=4, label=init)
    axes.set(title=act, xlabel="layer (0: the input)", yscale="log")
    axes.legend(fontsize="small")
panels[0].set_ylabel("variance of the activations")
plt.show()

# %% [markdown]
# With N(0, 1) the activations explode under ReLU and saturate tanh: a variance near 1 means
# outputs near -1 and 1, where the slope of tanh vanishes. With N(0, 0.01) they vanish. Glorot's
# initializer suits tanh, and He's suits ReLU. (`glorot_normal` and `he_normal` are normal
# distributions cut off at two standard deviations, as in Keras and Flax; the variance is the
# same.)
#
# ## Gradients layer by layer
#
# This is the gradient of the first batch in a network of nine sigmoid layers. The slope of a
# sigmoid is at most 1/4, so the gradients of the first layers are small.

# %%
digits = jc.data.digits()
batch = jc.Batch(jnp.array(digits.inputs[:64]), jnp.array(digits.targets[:64]))


def flow(activation, kernel_init):
    """The gradients of one batch in a fresh network of nine hidden layers."""
    model = jc.nn.MLP(10, (32,) * 9, activation=activation, kernel_init=kernel_init)
    task = jc.linen_task(model, digits.inputs[:1], jc.problems.problem("multiclass"))
    state = jc.training.init_state(task, jc.sgd(0.1), jax.random.key(1))
    return jc.diagnostics.gradient_flow(task, state, batch)


sigmoid = flow("sigmoid", "glorot_uniform")
jc.plots.gradient_bars(sigmoid, title="Nine layers of sigmoids")

# %%
relu = flow("relu", "he_normal")
for name, report in {"sigmoid, Glorot": sigmoid, "relu, He": relu}.items():
    norms = [report.leaves[f"['Dense_{i}']['kernel']"].gradient_norm for i in (0, 9)]
    print(f"{name}: first layer {norms[0]:.1e}, last layer {norms[1]:.1e}")

# %% [markdown]
# ## Exploding gradients and clipping
#
# A recurrent network applies one weight in every step. After 50 steps its output contains
# $w^{50}$, and the loss $\frac12 (w^{50} - \frac12)^2$ has a cliff: at $w = 1.15$ the slope is $5
# \cdot 10^7$, at $w = 0.8$ it is $-4 \cdot 10^{-4}$. Clipping limits the gradient, each entry or
# the norm:
#
# $$g_i \leftarrow \max(-\theta, \min(\theta, g_i)) \qquad \text{or} \qquad
# g \leftarrow g \min\left(1, \frac{\theta}{\|g\|}\right) .$$
#
# The norm keeps the direction, the entries do not. (One published rule limits positive entries
# only, which lets $-10^9$ through.)

# %%
steep = jnp.array([3000.0, -4.0])
for name, clip in {
    "clip": jc.clip(5.0),
    "clip_by_global_norm": jc.clip_by_global_norm(5.0),
}.items():
    print(f"{name:20s}", clip.update(steep, clip.init(steep))[0])
cliff = lambda w: (w**50 - 0.5) ** 2 / 2
rules = {"unclipped": jc.sgd(0.002), "clipped": jc.chain(jc.clip(5.0), jc.sgd(0.002))}
paths = {n: jc.minimization.trajectory(cliff, jnp.array(1.15), tx, 60) for n, tx in rules.items()}
for name, path in paths.items():
    print(f"{name:9s} w = {path[0]:.2f}, {path[1]:.4g}, {path[2]:.4g}, ..., {path[-1]:.4g}")

# %%
figure, axes = plt.subplots()
w = jnp.linspace(0.8, 1.16, 200)
axes.plot(w, cliff(w), color="0.5")
axes.plot(paths["clipped"], cliff(paths["clipped"]), "o", markersize=4, label="clipped, 60 steps")
axes.set(xlabel="w", ylabel="loss", yscale="log", ylim=(1e-6, 1e8))
axes.legend()
plt.show()

# %% [markdown]
# The first unclipped step jumps to $w = -10^5$, and the next ones overflow. Clipped steps have at
# most the length $\eta\, \theta = 0.01$: they descend the cliff and settle in the minimum at
# $w = 0.5^{1/50} = 0.986$.
#
# ## What was measured
#
# These are [measured verdicts](../benchmarks/results/claims/report.md) on claims of the course.

# %%
verdicts.show("initial_variance", "vanishing", "clipping", "depth")

# %% [markdown]
# ## Exercise
#
# By which factor does a ReLU layer with Glorot's initialization multiply the variance of its
# activations if all layers have the same width? Predict it, then measure it.

# %% jupyter={"source_hidden": true, "outputs_hidden": true} tags=["hide-cell"]
# Each ReLU halves the mean square. Glorot's 2 / (n + n) = 1 / n does not compensate for that, but
# He's 2 / n does.
for name in ("glorot_normal", "he_normal"):
    print(f"{name}: times {reports['relu', name].forward_gain:.2f} a layer")
