"""A byte language model on Python's own documentation, by AdamW and by Muon, against 3-grams."""

import pathlib
import tempfile
from pydoc_data.topics import topics

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
from optax import contrib


LENGTH, STEPS, BATCH, WIDTH, HEADS, BLOCKS = 64, 1200, 8, 64, 4, 2
folder = pathlib.Path(tempfile.mkdtemp())
text = np.frombuffer("\n".join(topics.values()).encode(), np.uint8).astype(np.int32)
count = (len(text) - 1) // LENGTH
inputs = text[: count * LENGTH].reshape(count, LENGTH)
targets = text[1 : count * LENGTH + 1].reshape(count, LENGTH)
n = count * 9 // 10  # the last tenth of the text is held out

# 3-grams: counts of a byte after two others, with the smoothing that is best on the held-out text.
codes = lambda text: (text[:-2] * 256 + text[1:-1]) * 256 + text[2:]
seen, held_out = codes(inputs[:n].ravel()), codes(inputs[n:].ravel())
counts = np.bincount(seen, minlength=256**3).reshape(-1, 256)
found, before = counts.ravel()[held_out], counts.sum(1)[held_out // 256]
scores = [-np.log((found + a) / (before + 256 * a)) for a in (0.003, 0.01, 0.03, 0.1)]
three_grams = min(float(np.exp(losses.mean())) for losses in scores)
print(f"3-grams: perplexity {three_grams:.2f}")


def rotary(x):
    size = x.shape[-1]
    angles = jnp.outer(jnp.arange(x.shape[1]), 10_000.0 ** (-jnp.arange(0, size, 2) / size))
    cos, sin = jnp.cos(angles)[:, None], jnp.sin(angles)[:, None]
    first, second = jnp.split(x.astype(jnp.float32), 2, axis=-1)
    turned = jnp.concatenate([first * cos - second * sin, second * cos + first * sin], -1)
    return turned.astype(x.dtype)


def attend(query, key, value):
    return jax.nn.dot_product_attention(rotary(query), rotary(key), value, is_causal=True)


class Block(nn.Module):
    @nn.compact
    def __call__(self, h, _):
        bf16 = {"dtype": jnp.bfloat16}
        attention = nn.MultiHeadDotProductAttention(HEADS, attention_fn=attend, **bf16)
        h = h + attention(nn.RMSNorm(**bf16)(h))
        wide = nn.gelu(nn.Dense(4 * WIDTH, **bf16)(nn.RMSNorm(**bf16)(h)))
        return h + nn.Dense(WIDTH, **bf16)(wide), None


class Transformer(nn.Module):
    @nn.compact
    def __call__(self, tokens):
        start = nn.initializers.normal(0.02)
        embedding = nn.Embed(256, WIDTH, embedding_init=start, dtype=jnp.bfloat16)
        block = nn.remat(Block, prevent_cse=False)
        axes, rngs = {"params": 0}, {"params": True}
        blocks = nn.scan(block, variable_axes=axes, split_rngs=rngs, length=BLOCKS)
        h, _ = blocks()(embedding(tokens), None)
        return embedding.attend(nn.RMSNorm(dtype=jnp.bfloat16)(h)).astype(jnp.float32)


model = Transformer()


def mean_loss(params, x, y):
    logits = model.apply({"params": params}, x)
    return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()


evaluate = jax.jit(mean_loss)


@jax.jit
def sample(params, window, known, key, temperature):
    def step(carry, key):
        window, known = carry
        logits = model.apply({"params": params}, window[None])[0, known - 1]
        warm = jax.random.categorical(key, logits / jnp.where(temperature > 0, temperature, 1))
        token = jnp.where(temperature > 0, warm, logits.argmax())
        window = jnp.where(known == LENGTH, jnp.roll(window, -1), window)
        place = jnp.minimum(known, LENGTH - 1)
        return (window.at[place].set(token), place + 1), token

    return jax.lax.scan(step, (window, known), jax.random.split(key, 100))[1]


def train(optimizer, directory, until):
    """Train from the last checkpoint, if there is one, up to the step ``until``."""
    init_key, order_key = jax.random.split(jax.random.key(0))
    params = model.init(init_key, inputs[:1])["params"]
    mean = jax.tree.map(jnp.zeros_like, params)
    state = {"params": params, "opt": optimizer.init(params), "mean": mean, "updates": 0}

    @jax.jit
    def step(state, x, y):
        params, i = state["params"], state["updates"]
        grads = jax.grad(mean_loss)(params, x, y)
        updates, opt = optimizer.update(grads, state["opt"], params)
        params, applied = optax.apply_updates(params, updates), optimizer.has_updated(opt)
        average = lambda m, p: jnp.where(applied, 0.98 * m + 0.02 * p, m)
        mean = jax.tree.map(average, state["mean"], params)
        return {"params": params, "opt": opt, "mean": mean, "updates": i + applied}

    with ocp.CheckpointManager(directory) as manager:
        begin = manager.latest_step() or 0
        if begin:
            restore = ocp.args.StandardRestore(jax.eval_shape(lambda: state))
            state = manager.restore(begin, args=restore)
        an_epoch = n // BATCH
        for i in range(begin, until):
            if i == begin or i % an_epoch == 0:
                key = jax.random.fold_in(order_key, i // an_epoch)
                order = np.asarray(jax.random.permutation(key, n))
            rows = order[i % an_epoch * BATCH :][:BATCH]
            state = step(state, inputs[rows], targets[rows])
        manager.save(until, args=ocp.args.StandardSave(state))
    return jax.tree.map(lambda m: m / (1 - 0.98 ** state["updates"]), state["mean"])


decay = lambda peak: optax.warmup_cosine_decay_schedule(0.0, peak, 50, STEPS // 2)
optimizers = {"adamw": optax.adamw(decay(5e-3)), "muon": contrib.muon(decay(0.02))}
for name, inner in optimizers.items():
    optimizer = optax.MultiSteps(inner, 2)
    if name == "muon":  # which is interrupted halfway, and resumed
        train(optimizer, folder / name, STEPS // 2)
    params = train(optimizer, folder / name, STEPS)
    loss = float(evaluate(params, inputs[n:], targets[n:]))
    print(f"{name}: perplexity {np.exp(loss):.2f}, {loss / np.log(2):.2f} bits per byte")
    prompt = np.frombuffer(b"The class ", np.uint8).astype(np.int32)
    window = jnp.zeros(LENGTH, jnp.int32).at[: len(prompt)].set(prompt)
    drawn = sample(params, window, len(prompt), jax.random.key(1), 0.5)
    print(repr(np.asarray(drawn).astype(np.uint8).tobytes().decode(errors="replace")))
    assert np.exp(loss) < three_grams
