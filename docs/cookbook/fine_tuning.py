"""Fine-tuning: a new domain with few examples, five ways to start from a trained model."""

import jax
import numpy as np

import jaxopt_course as jc


digits = jc.data.digits()
x, y = digits.inputs, digits.targets
noise = 0.1 * np.random.default_rng(0).normal(size=x.shape)
faint = (0.25 + 0.5 * x + noise).astype(np.float32)  # the new domain
few, test = slice(1000, 1040), slice(1100, None)

model = jc.nn.MLP(10, (128, 128))
task = jc.linen_task(model, x[:1], jc.problems.problem("multiclass"))
options = {"key": jax.random.key(0), "progress": False}
trained = jc.fit(task, jc.adam(1e-3), (x[:1000], y[:1000]), epochs=30, batch_size=50, **options)

# The file of a trained model is enough to continue.
config = {"name": "MLP", "config": {"outputs": 10, "hidden": [128, 128]}}
bundle = jc.training.Bundle(config, (64,), "multiclass", trained.best_params, {})
jc.training.save_bundle("digits.bundle", bundle)
bundle = jc.training.load_bundle("digits.bundle")
start = jc.starting_from(bundle.task(), bundle.params)

is_frozen = jc.regularizers.by_path({"Dense_2": False}, otherwise=True)
speeds = jc.regularizers.by_path({"Dense_0": "slow", "Dense_1": "slow"}, otherwise="fast")
by_layer = jc.partition({"slow": jc.adam(3e-4), "fast": jc.adam(3e-3)}, speeds)
head_only = jc.selective_transform(jc.adam(3e-3), freeze_mask=is_frozen)
ways = {
    "from scratch": (task, jc.adam(3e-3)),
    "all parameters": (start, jc.adam(1e-3)),
    "rates by layer": (start, by_layer),
    "head only": (start, head_only),
    "LoRA": (jc.lora(start, rank=4), jc.adam(3e-3)),
}
accuracy = {}
for name, (way, optimizer) in ways.items():
    run = jc.fit(way, optimizer, (faint[few], y[few]), epochs=40, batch_size=20, **options)
    params = run.state.params
    accuracy[name] = jc.evaluate(way, params, {}, faint[test], y[test])["accuracy"]
    print(f"{name:15} accuracy {accuracy[name]:.3f}")

# The last run is that of LoRA: merge it into a plain model, and save this one.
print(f"LoRA trains {sum(p.size for p in jax.tree.leaves(params))} of ", end="")
print(f"{sum(p.size for p in jax.tree.leaves(bundle.params))} parameters")
jc.training.save_bundle("faint.bundle", bundle._replace(params=way.merge(params)))
labels = jc.training.apply_bundle(jc.training.load_bundle("faint.bundle"), faint[test]).labels
assert np.isclose((labels == y[test]).mean(), accuracy["LoRA"])
assert accuracy["LoRA"] > accuracy["from scratch"] + 0.05
