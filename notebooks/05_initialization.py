# %% [markdown]
# # 5. Initialization and vanishing gradients
#
# A deep network multiplies: what each layer does to the size of its input happens again and again.
# $0.8^{100}$ is about $2 \cdot 10^{-10}$ and $1.5^{100}$ about $4 \cdot 10^{17}$. For weights of
# variance $\gamma$ and a linear layer of $n_\text{in}$ inputs and $n_\text{out}$ outputs,
#
# $$\operatorname{Var}(\text{output}) = n_\text{in} \gamma \operatorname{Var}(\text{input}), \quad
# \operatorname{Var}(\text{slope back}) = n_\text{out}\, \gamma \operatorname{Var}(\text{slope}) .$$
#
# Both are kept only if $n_\text{in} = n_\text{out}$; Glorot's compromise is
# $\gamma = 2 / (n_\text{in} + n_\text{out})$. ReLU zeroes half of its inputs, for which He's
# $\gamma = 2 / n_\text{in}$ makes up.

# %%
# %matplotlib inline
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt

import jaxopt_course as jc


plt.style.use("course.mplstyle")

# %% [markdown]
# ## Variance through depth
#
# Noise is sent through 8 layers and back. Layers shrink from 256 to 64 units, so that forward and
# backward want different things: what keeps the activations costs the slopes a factor of 4.

# %%
deep = lambda init, activation, width=256: jc.diagnostics.variance_through_depth(
    init, activation, 8, key=jax.random.key(0), widths=(256, width), rows=128
)
report = deep("fan_in_normal", "identity", width=64)
print(report)
jc.plots.variance_curves(report, title="n_in times the variance is 1: kept forward")

# %% [markdown]
# With activations, by initializer. `standard_normal` is N(0, 1); `small_normal` has the standard
# deviation 0.01.

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
# N(0, 1) explodes under ReLU and, hidden by tanh, saturates it: a variance near 1 means outputs of
# -1 and 1, where tanh has no slope. N(0, 0.01) dies out. Glorot's suits tanh, He's suits ReLU.
#
# ## Layer by layer
#
# A look at the first batch of a network of nine sigmoid layers: the slope of a sigmoid is 1/4 at
# most, so little reaches the bottom.

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
# ## Exercise
#
# By how much does a ReLU layer under Glorot's initialization multiply the variance of its
# activations, when all layers have equal width? Predict, then measure.

# %% jupyter={"source_hidden": true, "outputs_hidden": true} tags=["hide-cell"]
# The mean square is halved by each ReLU, and Glorot's 2 / (n + n) = 1 / n does not make up for it;
# He's 2 / n does.
for name in ("glorot_normal", "he_normal"):
    print(f"{name}: times {reports['relu', name].forward_gain:.2f} a layer")
