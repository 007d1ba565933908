# %% [markdown]
# # 14. Training that resumes
#
# Long trainings are interrupted: by a time limit, a power failure, a full disk. A resumed training
# must continue as if there had been no interruption. Besides the weights, this concerns the state
# of the optimizer, the count of the schedule, dropout and the order of the data. If the state
# after $t$ steps is $s_t$ and a step is a pure function,
#
# $$s_{t+1} = F(s_t, \text{batch}_t), \qquad \text{batch}_t = B(\text{key}, t),$$
#
# then only $s_t$ has to be saved.

# %%
# %matplotlib inline
import pathlib
import tempfile

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt

import jaxopt_course as jc


plt.style.use("course.mplstyle")
directory = pathlib.Path(tempfile.mkdtemp(), "checkpoints")

# %%
digits = jc.data.digits()
parts = jc.data.split(jax.random.key(0), 1797, validation=400, test=400)
rows = jc.Rows(parts.train, validation=parts.validation)
model = {"name": "MLP", "config": {"outputs": 10, "hidden": [64], "dropout": 0.2}}
task = jc.linen_task(
    jc.nn.MLP(**model["config"]), digits.inputs[:1], jc.problems.problem("multiclass")
)
optimizer = jc.adamw(jc.cosine_decay_schedule(5e-3, decay_steps=400), weight_decay=1e-2)
how = {
    "key": jax.random.key(1),
    "epochs": 20,
    "batch_size": 50,
    "rows": rows,
    "progress": False,
    "segment": 20,
}

# %% [markdown]
# ## An interruption
#
# `fit` runs in compiled segments and calls the callbacks between them. This callback simulates a
# power failure in the ninth epoch. `fit` saves a checkpoint before it returns, as it does on
# Ctrl-C, SIGTERM or an exception.


# %%
def pull_the_plug(record):
    """Interrupt the training after 180 of 400 steps."""
    if record.step == 180:
        raise KeyboardInterrupt


try:
    jc.fit(task, optimizer, digits, checkpoint=directory, callbacks=[pull_the_plug], **how)
except KeyboardInterrupt:
    with jc.checkpoints.CheckpointStore(directory) as store:
        print("interrupted; saved at step", store.latest())

# %% [markdown]
# ## Resuming
#
# The same call with `resume="auto"` resumes from the checkpoint; without a checkpoint it starts a
# new training. For comparison, the next cell also runs the training without an interruption and
# with other segments.

# %%
resuming = jc.training.Checkpointing(directory, resume="auto")
resumed = jc.fit(task, optimizer, digits, checkpoint=resuming, **how)
in_one_go = jc.fit(task, optimizer, digits, **{**how, "segment": 400})
leaves = zip(jax.tree.leaves(resumed.state), jax.tree.leaves(in_one_go.state), strict=True)
print("every bit of the state:", all(bool((a == b).all()) for a, b in leaves))

# %%
figure, axes = plt.subplots()
epochs = in_one_go.history["step"] / 20
axes.plot(epochs, in_one_go.history["validation_loss"], linewidth=5, alpha=0.4, label="in one go")
axes.plot(epochs, resumed.history["validation_loss"], color="k", marker="o", label="resumed")
axes.axvline(9, color="0.4", linestyle=":", label="interrupted")
axes.set(xlabel="epochs", ylabel="validation loss", xticks=range(0, 21, 5))
axes.legend()
plt.show()

# %% [markdown]
# ## Refused checkpoints
#
# Each array has a checksum and each training a fingerprint. A checkpoint of another optimizer
# could be loaded, but the result would be meaningless. It is refused unless the difference is
# accepted by name.

# %%
try:
    jc.fit(task, jc.sgd(0.1), digits, checkpoint=resuming, **how)
except jc.checkpoints.CheckpointMismatchError as error:
    print(str(error).replace(str(directory), "DIRECTORY"))

# %% [markdown]
# ## Saving a model for use
#
# A bundle is a model with everything that its use requires: parameters, scaler, class names. With
# early stopping, `fit` can restore the best parameters; they are always in `best_params`.

# %%
bundle = jc.training.Bundle(
    model=model,
    input_shape=(64,),
    problem="multiclass",
    params=resumed.best_params,
    model_state={},
    label_names=digits.target_names,
)
jc.training.save_bundle(directory.with_name("digits.bundle"), bundle)
loaded = jc.training.load_bundle(directory.with_name("digits.bundle"))
labels = jc.training.apply_bundle(loaded, digits.inputs[parts.test]).labels
truth = [digits.target_names[i] for i in digits.targets[parts.test]]
print("correct on the test rows:", f"{(labels == truth).mean():.3f}")

# %% [markdown]
# ## Exercise
#
# Save and restore a state with `CheckpointStore`, and check that a network resumed from its
# *parameters alone* ends at other parameters. What was lost?

# %% jupyter={"source_hidden": true, "outputs_hidden": true} tags=["hide-cell"]
# Adam's two means and the count of the schedule, so the step after the restart differs.
step = jax.jit(jc.training.make_step(task, optimizer))
batch = jc.Batch(jnp.array(digits.inputs[:50]), jnp.array(digits.targets[:50]))
state = jc.training.init_state(task, optimizer, jax.random.key(2))
for _ in range(30):
    state, _ = step(state, batch)
with jc.checkpoints.CheckpointStore(directory.with_name("by-hand")) as store:
    store.save(30, state)
    whole = store.restore(like=state).tree
partial = whole._replace(opt_state=optimizer.init(whole.params))
ends = [jax.tree.leaves(step(start, batch)[0].params) for start in (state, whole, partial)]
distance = lambda a, b: max(float(jnp.abs(x - y).max()) for x, y in zip(a, b, strict=True))
print(f"whole {distance(ends[0], ends[1]):.1e}, parameters alone {distance(ends[0], ends[2]):.1e}")
