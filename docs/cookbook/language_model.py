"""A byte language model on Python's own documentation, by AdamW and by Muon, against 3-grams."""

import pathlib
import tempfile
from pydoc_data.topics import topics

import jax
import jax.numpy as jnp
import numpy as np

import jaxopt_course as jc
from jaxopt_course.data import decode_tokens, encode_text
from jaxopt_course.metrics import perplexity
from jaxopt_course.nn import Transformer
from jaxopt_course.problems import problem
from jaxopt_course.training import sample_tokens


LENGTH, STEPS = 64, 1200
folder = pathlib.Path(tempfile.mkdtemp())
(folder / "text").write_text("\n".join(topics.values()))
inputs, targets = jc.data.text(folder / "text", LENGTH)
n = len(inputs) * 9 // 10  # the last tenth of the text is held out
rows = jc.Rows(jnp.arange(n), None, jnp.arange(n, len(inputs)))

# 3-grams: counts of a byte after two others, with the smoothing that is best on the held-out text.
codes = lambda text: (text[:-2] * 256 + text[1:-1]) * 256 + text[2:]
seen, held_out = codes(inputs[:n].ravel()), codes(inputs[n:].ravel())
counts = np.bincount(seen, minlength=256**3).reshape(-1, 256)
found, before = counts.ravel()[held_out], counts.sum(1)[held_out // 256]
scores = [-np.log((found + a) / (before + 256 * a)) for a in (0.003, 0.01, 0.03, 0.1)]
three_grams = min(float(perplexity(losses)) for losses in scores)
print(f"3-grams: perplexity {three_grams:.2f}")

modern = {"positions": "rotary", "normalization": "rms", "tied": True, "attention": "jax"}
model = Transformer(256, LENGTH, width=64, scan=True, remat=True, dtype="bfloat16", **modern)
task = jc.linen_task(model, inputs[:1], problem("next_byte"))
decay = lambda peak: jc.warmup_cosine_decay_schedule(0.0, peak, 50, STEPS // 2)
optimizers = {"adamw": jc.adamw(decay(5e-3)), "muon": jc.muon(decay(0.02))}
for name, optimizer in optimizers.items():
    optimizer = jc.ema_params(jc.MultiSteps(optimizer, 2), 0.98)
    options = {"rows": rows, "batch_size": 8, "key": jax.random.key(0), "progress": False}
    saved = jc.training.Checkpointing(folder / name, resume="auto")
    options |= {"checkpoint": saved, "evaluate_every": STEPS // 2}
    if name == "muon":  # which is interrupted halfway, and resumed
        jc.fit(task, optimizer, (inputs, targets), steps=STEPS // 2, **options)
    run = jc.fit(task, optimizer, (inputs, targets), steps=STEPS, **options)
    last = {key: values[-1] for key, values in run.history.items()}
    ours = float(perplexity(last["validation_loss"]))
    print(f"{name}: perplexity {ours:.2f}, {last['validation_bits_per_byte']:.2f} bits per byte")
    prompt, count = encode_text("The class "), 100
    draw = {"key": jax.random.key(1), "length": LENGTH, "temperature": 0.5}
    drawn = sample_tokens(task, run.best_params, run.state.model_state, prompt, count, **draw)
    print(repr(decode_tokens(drawn)))
    assert ours < three_grams
