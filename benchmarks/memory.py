"""Bytes per parameter of AdamW: its state, and the memory of a compiled step.

    python -m benchmarks memory [--quick]

The tree has blocks of two large matrices and two small vectors, like a transformer. ``state`` is
the size of the result of ``init``. ``temporary`` and ``peak`` are the compiler's account of a step:
gradients in the dtype of the parameters, all of which exist before the update begins, the update,
and its addition to the parameters. The peak also holds parameters, state, and those results that
do not replace a donated argument. Where torch, bitsandbytes and torchao are installed, their states
are counted after a step.
"""

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import optax

from benchmarks._machine import save
from benchmarks._measure import options_of, table
from jaxopt_course.optimizers import adamw
from jaxopt_course.transforms import (
    apply_updates,
    kahan,
    master_weights,
    packed,
    packed_params,
    quantized_state,
    split_weights,
    stochastic_rounding,
)


RATE = 1e-3


def main() -> None:
    """Count bytes, print a table, and write ``results/memory.json``."""
    options = options_of(__doc__, "smaller matrices").parse_args()
    blocks, width = (4, 128) if options.quick else (12, 512)
    wide, narrow = (parameters(blocks, width, dtype) for dtype in (jnp.float32, jnp.bfloat16))
    ways: dict[str, tuple[Any, Any, bool]] = {
        "adamw": (adamw(RATE), wide, True),
        "packed": (packed(adamw(RATE)), wide, True),
        "quantized_state": (quantized_state(adamw(RATE)), wide, True),
        "quantized_state, 4 bits": (quantized_state(adamw(RATE), bits=4), wide, True),
        "optax.adamw": (optax.adamw(RATE), wide, True),
        "optax.adamw, not donated": (optax.adamw(RATE), wide, False),
        "bfloat16: adamw": (adamw(RATE), narrow, True),
        "bfloat16: stochastic_rounding": (stochastic_rounding(adamw(RATE), key=0), narrow, True),
        "bfloat16: kahan": (kahan(adamw(RATE)), narrow, True),
        "bfloat16: master_weights": (master_weights(adamw(RATE)), narrow, True),
        "bfloat16: split_weights": (split_weights(adamw(RATE)), narrow, True),
        "bfloat16: split_weights, 8 bits": (
            split_weights(quantized_state(adamw(RATE))),
            narrow,
            True,
        ),
        "bfloat16: optax.adamw": (optax.adamw(RATE), narrow, True),
    }
    figures = {name: bytes_of(*way) for name, way in ways.items()}
    absent = []
    for name, make in PEERS.items():
        try:
            figures[name] = {"state": bytes_with_torch(make)}
        except ImportError:
            absent.append(name)
    print(table(figures))  # noqa: T201
    if absent:
        print(f"Not installed here, so not counted: {', '.join(absent)}.")  # noqa: T201
    print(save("memory", {**vars(options), "bytes_a_parameter": figures}))  # noqa: T201


def parameters(blocks: int, width: int, dtype: Any) -> dict[str, dict[str, jax.Array]]:
    """The tree that is optimized."""
    shapes = {"up": (width, 4 * width), "down": (4 * width, width), "bias": (4 * width,)}
    block = {**shapes, "scale": (width,)}
    return {
        f"block{i}": {name: jnp.ones(shape, dtype) for name, shape in block.items()}
        for i in range(blocks)
    }


def bytes_of(tx: Any, params: Any, donate: bool) -> dict[str, float]:
    """Of one way: bytes a parameter."""
    number = sum(leaf.size for leaf in jax.tree.leaves(params))
    state = tx.init(params)
    held = packed_params(state, params)

    def step(params: Any, state: Any) -> Any:
        grads = jax.lax.optimization_barrier(jax.tree.map(jnp.cos, params))
        updates, state = tx.update(grads, state, params)
        return apply_updates(params, updates), state

    donated = (0, 1) if donate else ()
    compiled = jax.jit(step, donate_argnums=donated).lower(held, state).compile()
    memory = compiled.memory_analysis()
    returned = memory.output_size_in_bytes - memory.alias_size_in_bytes
    peak = memory.argument_size_in_bytes + returned + memory.temp_size_in_bytes
    return {
        "state": sum(leaf.nbytes for leaf in jax.tree.leaves(state)) / number,
        "temporary": memory.temp_size_in_bytes / number,
        "peak": peak / number,
    }


def bytes_with_torch(make: Callable[[Any], Any]) -> float:
    """Bytes of state a parameter that an optimizer of torch keeps for a matrix, after a step."""
    import torch

    param = torch.nn.Parameter(torch.ones(1024, 1024))
    param.grad = torch.ones_like(param)
    optimizer = make([param])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what torch.compile says of torchao
        optimizer.step()
    tensors = {leaf.data_ptr(): leaf.nbytes for leaf in tensors_in(optimizer.state[param])}
    return sum(tensors.values()) / param.numel()


def tensors_in(part: Any) -> Iterator[Any]:
    """The plain tensors in a state: a subclass says which ones it is made of."""
    if isinstance(part, dict):
        for value in part.values():
            yield from tensors_in(value)
    elif hasattr(part, "__tensor_flatten__"):
        for name in part.__tensor_flatten__()[0]:
            yield from tensors_in(getattr(part, name))
    elif hasattr(part, "data_ptr"):
        yield part


def of_torch(params: Any) -> Any:
    """Torch's own."""
    import torch

    return torch.optim.AdamW(params, lr=RATE)


def of_bitsandbytes(params: Any) -> Any:
    """With 8 bits."""
    import bitsandbytes

    return bitsandbytes.optim.AdamW8bit(params, lr=RATE)


def of_torchao(params: Any) -> Any:
    """With 8 bits."""
    from torchao.optim import AdamW8bit

    return AdamW8bit(params, lr=RATE)


def of_torchao_with_4_bits(params: Any) -> Any:
    """With 4 bits."""
    from torchao.optim import AdamW4bit

    return AdamW4bit(params, lr=RATE)


PEERS = {
    "torch AdamW": of_torch,
    "bitsandbytes AdamW8bit": of_bitsandbytes,
    "torchao AdamW8bit": of_torchao,
    "torchao AdamW4bit": of_torchao_with_4_bits,
}


if __name__ == "__main__":
    main()
