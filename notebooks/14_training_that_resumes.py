# %% [markdown]
# # 14. Training that resumes
#
# Long trainings are interrupted: by a limit, a power cut, a full disk. A training that resumes must
# go on as if nothing had been: not only the weights, but the optimizer's memory, the schedule's
# count, dropout, the order of the data. If the state after $t$ steps is $s_t$ and the step is a
# pure function,
#
# $$s_{t+1} = F(s_t, \text{batch}_t), \qquad \text{batch}_t = B(\text{key}, t),$$
#
# then $s_t$ is all there is to save.

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
# `fit` runs in compiled segments and can do things in between. This callback pulls the plug in the
# ninth epoch; `fit` saves on its way out, as it does on Ctrl-C, SIGTERM, or an exception.


# %%
def pull_the_plug(record):
    """An accident after 180 of 400 steps."""
    if record.step == 180:
        raise KeyboardInterrupt


try:
    jc.fit(task, optimizer, digits, checkpoint=directory, callbacks=[pull_the_plug], **how)
except KeyboardInterrupt:
    with jc.CheckpointStore(directory) as store:
        print("interrupted; saved at step", store.latest())

# %% [markdown]
# ## Going on
#
# The same call with `resume="auto"` goes on from there; where there is no checkpoint it begins. To
# see that nothing was lost, the training is also made in one go, with other segments.

# %%
resumed = jc.fit(task, optimizer, digits, checkpoint=directory, resume="auto", **how)
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
# ## What a checkpoint refuses
#
# Each array has a checksum, and the training a fingerprint: going on with another optimizer would
# give numbers, and nonsense. It is refused unless accepted by name.

# %%
try:
    jc.fit(task, jc.sgd(0.1), digits, checkpoint=directory, resume="auto", **how)
except jc.training.CheckpointMismatchError as error:
    print(str(error).replace(str(directory), "DIRECTORY"))

# %% [markdown]
# ## To take away
#
# A bundle is a model with what its use needs: parameters, scaler, names of the classes. Early
# stopping has restored the best parameters if asked; without it `best_params` has them as well.

# %%
bundle = jc.Bundle(
    model=model,
    input_shape=(64,),
    problem="multiclass",
    params=resumed.best_params,
    model_state={},
    label_names=digits.target_names,
)
jc.save_bundle(directory.with_name("digits.bundle"), bundle)
loaded = jc.load_bundle(directory.with_name("digits.bundle"))
labels = jc.apply_bundle(loaded, digits.inputs[parts.test]).labels
truth = [digits.target_names[i] for i in digits.targets[parts.test]]
print("correct on the test rows:", f"{(labels == truth).mean():.3f}")

# %% [markdown]
# ## Exercise
#
# Save and restore by hand, with `CheckpointStore`, and check that a network resumed from its
# *parameters alone* ends elsewhere. What was lost?

# %% jupyter={"source_hidden": true, "outputs_hidden": true} tags=["hide-cell"]
# Adam's two means and the count of the schedule: the step after a restart is another.
step = jax.jit(jc.training.make_step(task, optimizer))
batch = jc.Batch(jnp.array(digits.inputs[:50]), jnp.array(digits.targets[:50]))
state = jc.training.init_state(task, optimizer, jax.random.key(2))
for _ in range(30):
    state, _ = step(state, batch)
with jc.CheckpointStore(directory.with_name("by-hand")) as store:
    store.save(30, state)
    whole = store.restore(like=state).tree
partial = whole._replace(opt_state=optimizer.init(whole.params))
ends = [jax.tree.leaves(step(start, batch)[0].params) for start in (state, whole, partial)]
distance = lambda a, b: max(float(jnp.abs(x - y).max()) for x, y in zip(a, b, strict=True))
print(f"whole {distance(ends[0], ends[1]):.1e}, parameters alone {distance(ends[0], ends[2]):.1e}")
