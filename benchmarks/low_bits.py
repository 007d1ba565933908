"""Effect of low precision on training: moments of 8 and 4 bits, and parameters in bfloat16.

    python -m benchmarks low_bits [--quick]

Five small trainings with several seeds each, by AdamW at a constant learning rate. For moments
of 8 bits, as integers and as floats, and of 4 bits in every leaf: the final loss relative to
float32, the largest update of any step over the learning rate (about 3 in float32), and the cosine
between the update and that of float32 moments which have seen the same gradients. For bfloat16
parameters: the final loss with rounding to nearest, stochastic rounding, Kahan summation, a float32
copy, and 8 more bits.
"""

import itertools
import statistics
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks._machine import save
from benchmarks._measure import options_of
from jaxopt_course.data import digits
from jaxopt_course.optimizers import adamw
from jaxopt_course.transforms import (
    apply_updates,
    kahan,
    master_weights,
    quantized_state,
    split_weights,
    stochastic_rounding,
)


RATE, BATCH_SIZE = 1e-3, 64
NARROW_RATE = 1e-4  # where rounding to nearest stands still


def main() -> None:
    """Run all trainings, print a line for each, and write ``results/low_bits.json``."""
    options = options_of(__doc__, "two tasks, two seeds, fewer steps").parse_args()
    seeds, steps = (2, 100) if options.quick else (5, 600)
    figures: dict[str, Any] = {}
    for name, (init, loss, data) in list(tasks().items())[: 2 if options.quick else None]:
        keys = jax.random.split(jax.random.key(7), seeds)
        figures[name] = {
            "moments": moments(init, loss, data, keys, steps),
            "parameters": parameters(init, loss, data, keys, steps),
        }
        print(name, figures[name])  # noqa: T201
    print(save("low_bits", {**vars(options), "seeds": seeds, "steps": steps, **figures}))  # noqa: T201


def moments(
    init: Callable[..., Any], loss: Callable[..., Any], data: Any, keys: Any, steps: int
) -> dict[str, Any]:
    """Float32 moments against those of 8 and of 4 bits."""
    exact = adamw(RATE)
    ways: dict[str, Any] = {"8 bits": {}, "float8": {"float8": True}, "4 bits": {"bits": 4}}
    coded = {
        name: quantized_state(exact, min_size=2, chunk=None, **way) for name, way in ways.items()
    }

    def run(tx: Any, key: Any) -> dict[str, Any]:
        params = init(key)

        def step(carry: Any, k: Any) -> Any:
            params, state, beside = carry
            grads = jax.grad(loss)(params, batch(data, k))
            updates, state = tx.update(grads, state, params)
            same, beside = exact.update(grads, beside, params)
            a, b = (
                jnp.concatenate([x.ravel() for x in jax.tree.leaves(u)]) for u in (updates, same)
            )
            cosine = a @ b / (jnp.linalg.norm(a) * jnp.linalg.norm(b))
            return (apply_updates(params, updates), state, beside), (jnp.abs(a).max(), cosine)

        first = (params, tx.init(params), exact.init(params))
        (params, *_), (largest, cosine) = jax.lax.scan(step, first, jax.random.split(key, steps))
        return {
            "final_loss": loss(params, data),
            "largest_over_rate": largest.max() / RATE,
            "cosine_mean": cosine.mean(),
            "cosine_least": cosine.min(),
        }

    found = {}
    for name, tx in {"float32": exact, **coded}.items():
        result = jax.jit(jax.vmap(lambda key, tx=tx: run(tx, key)))(keys)
        found[name] = jax.tree.map(lambda x: [round(float(v), 6) for v in x], result)
    wide = found["float32"]
    for name in coded:
        pairs = zip(found[name]["largest_over_rate"], wide["largest_over_rate"], strict=True)
        found[name]["loss_ratio"] = mean(found[name]["final_loss"]) / mean(wide["final_loss"])
        found[name]["spike_ratio"] = max(a / b for a, b in pairs)
    return found


def parameters(
    init: Callable[..., Any], loss: Callable[..., Any], data: Any, keys: Any, steps: int
) -> dict[str, float]:
    """Mean final loss of bfloat16 parameters over that of float32."""
    ways = {
        "float32": (jnp.float32, adamw(NARROW_RATE)),
        "nearest": (jnp.bfloat16, adamw(NARROW_RATE)),
        "stochastic": (jnp.bfloat16, stochastic_rounding(adamw(NARROW_RATE), key=0)),
        "kahan": (jnp.bfloat16, kahan(adamw(NARROW_RATE))),
        "master": (jnp.bfloat16, master_weights(adamw(NARROW_RATE))),
        "split": (jnp.bfloat16, split_weights(adamw(NARROW_RATE))),
    }

    def run(dtype: Any, tx: Any, key: Any) -> Any:
        params = jax.tree.map(lambda p: p.astype(dtype), init(key))

        def step(carry: Any, k: Any) -> Any:
            params, state = carry
            wide = jax.tree.map(lambda p: p.astype(jnp.float32), params)
            grads = jax.grad(loss)(wide, batch(data, k))
            updates, state = tx.update(grads, state, params)
            return (apply_updates(params, updates), state), None

        (params, _), _ = jax.lax.scan(
            step, (params, tx.init(params)), jax.random.split(key, 4 * steps)
        )
        return loss(jax.tree.map(lambda p: p.astype(jnp.float32), params), data)

    losses = {
        name: mean(np.asarray(jax.jit(jax.vmap(lambda key, way=way: run(*way, key)))(keys)))
        for name, way in ways.items()
    }
    ratios = {f"{name}_over_float32": loss / losses["float32"] for name, loss in losses.items()}
    return {"float32_loss": losses["float32"], **ratios}


def mean(values: Any) -> float:
    """The mean of a few numbers."""
    return statistics.fmean(float(value) for value in values)


def batch(data: Any, key: Any) -> Any:
    """Rows drawn at random."""
    rows = jax.random.randint(key, (BATCH_SIZE,), 0, data[0].shape[0])
    return jax.tree.map(lambda x: x[rows], data)


def tasks() -> dict[str, tuple[Callable[..., Any], Callable[..., Any], Any]]:
    """Name -> initial parameters of a key, loss of parameters and data, data."""
    found = digits()
    x, y = jnp.asarray(found.inputs, jnp.float32), jnp.asarray(found.targets)
    noisy = x * jnp.exp(2 * jax.random.normal(jax.random.key(1), (64,)))  # badly scaled
    smooth = jnp.sin(x @ jax.random.normal(jax.random.key(2), (64, 8)) / 4)
    return {
        "classifier": (layers(64, 128, 10), cross_entropy(jax.nn.relu), (x, y)),
        "deep tanh": (layers(64, 64, 64, 64, 64, 10), cross_entropy(jnp.tanh), (x, y)),
        "badly scaled": (layers(64, 128, 10), cross_entropy(jax.nn.relu), (noisy, y)),
        "regression": (layers(64, 128, 64, 8), squares(jax.nn.gelu), (x, smooth)),
        "autoencoder": (layers(64, 96, 16, 96, 64), squares(jax.nn.relu), (x, x)),
    }


def layers(*widths: int) -> Callable[[Any], Any]:
    """He's initialization of dense layers."""

    def init(key: Any) -> Any:
        pairs = list(itertools.pairwise(widths))
        keys = jax.random.split(key, len(pairs))
        return [
            (jax.random.normal(k, pair) * (2 / pair[0]) ** 0.5, jnp.zeros(pair[1]))
            for k, pair in zip(keys, pairs, strict=True)
        ]

    return init


def forward(activation: Callable[[Any], Any], params: Any, x: Any) -> Any:
    """The outputs of dense layers."""
    for kernel, bias in params[:-1]:
        x = activation(x @ kernel + bias)
    return x @ params[-1][0] + params[-1][1]


def cross_entropy(activation: Callable[[Any], Any]) -> Callable[[Any, Any], Any]:
    """The loss of a classifier."""

    def loss(params: Any, data: Any) -> Any:
        logits = jax.nn.log_softmax(forward(activation, params, data[0]))
        return -jnp.mean(jnp.take_along_axis(logits, data[1][:, None], axis=1))

    return loss


def squares(activation: Callable[[Any], Any]) -> Callable[[Any, Any], Any]:
    """The loss of a regression."""
    return lambda params, data: jnp.mean((forward(activation, params, data[0]) - data[1]) ** 2)


if __name__ == "__main__":
    main()
