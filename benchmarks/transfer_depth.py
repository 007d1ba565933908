"""The best learning rate and the change of activations over depths, with and without CompleteP.

    python -m benchmarks transfer_depth [--quick]

A residual network of width 32 learns the digits with AdamW for three epochs in batches of 64. The
branch of a block is layer normalization, an affine map, ReLU and an affine map. The standard
parametrization adds the outputs of the branches as they are, and has the same learning rate for all
leaves. CompleteP (alpha = 1) and alpha = 1/2 multiply them by r^-alpha, where the network has r
times as many blocks as the shallowest one, at which all three are the same. Rates, seeds and losses
are those of the benchmark ``transfer``.

The coordinate check takes steps on the first 256 digits. It measures by how much the outputs of the
last block and of the network have changed since the start, because the initial outputs of the last
block depend on the depth. The branches start with random outputs, or with outputs of 0.
"""

import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax

import jaxopt_course as jc
from benchmarks._machine import save
from benchmarks._measure import options_of, table
from benchmarks.transfer import (
    COORDINATE_RATE,
    DIGITS,
    PROBLEM,
    RATES,
    as_lists,
    best_rates,
    loss_of_rates,
    slopes_of,
)
from jaxopt_course.diagnostics import coordinate_check


ALPHAS = {"standard": None, "CompleteP": 1.0, "alpha = 1/2": 0.5}
RANDOM, ZEROS = nn.initializers.lecun_normal(), nn.initializers.zeros_init()
WIDTH, WEIGHT_DECAY, EPS = 32, 0.1, 1e-8


def main() -> None:
    """Print the best rates and the slopes, and write ``results/transfer_depth.json``."""
    less = "two depths, one seed, one epoch, without alpha = 1/2 and random branches of the check"
    options = options_of(__doc__, less).parse_args()
    depths, checked, seeds, epochs = (2, 4, 8, 16, 32), (2, 8, 32), 3, 3
    alphas, starts = ALPHAS, {"random": RANDOM, "zeros": ZEROS}
    if options.quick:
        depths, checked, seeds, epochs = depths[:2], checked[:2], 1, 1
        alphas = {name: ALPHAS[name] for name in ("standard", "CompleteP")}
        starts = {"zeros": ZEROS}
    build = lambda alpha, depth: functools.partial(model, depth, depths[0], alpha)
    shallowest = {depths[0]: loss_of_rates(build(None, depths[0]), seeds, epochs)}
    losses = {
        name: shallowest | {n: loss_of_rates(build(alpha, n), seeds, epochs) for n in depths[1:]}
        for name, alpha in alphas.items()
    }
    best = best_rates(losses, "depth")
    batch = jc.Batch(DIGITS.inputs[:256], DIGITS.targets[:256])
    check = functools.partial(coordinate_check, batch=batch, key=jax.random.key(0), steps=11)
    of = lambda alpha, init: lambda n: changes(*build(alpha, n)(COORDINATE_RATE, init))
    slopes = {
        f"{name}, {start}": slopes_of(check(of(alpha, init), checked, seeds=seeds))
        for name, alpha in alphas.items()
        for start, init in starts.items()
    }
    print(table(slopes))  # noqa: T201
    figures = {"rates": RATES.tolist(), "best": best, "losses": as_lists(losses), "slopes": slopes}
    print(save("transfer_depth", vars(options) | figures))  # noqa: T201


class Block(nn.Module):
    """Adds ``multiplier`` times the outputs of its branch to its inputs."""

    multiplier: float
    last_init: Callable[..., Any]

    @nn.compact
    def __call__(self, h: jax.Array) -> jax.Array:
        branch = nn.Dense(WIDTH, kernel_init=nn.initializers.he_normal())(jc.nn.LayerNorm()(h))
        return h + self.multiplier * nn.Dense(WIDTH, kernel_init=self.last_init)(nn.relu(branch))


class Residual(nn.Module):
    """Blocks whose parameters are stacked, so that the layers are the same at every depth."""

    depth: int
    multiplier: float
    last_init: Callable[..., Any]

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        over_blocks = nn.scan(
            lambda block, h: (block(h), None),
            variable_axes={"params": 0},
            split_rngs={"params": True},
            length=self.depth,
        )
        blocks = Block(self.multiplier, self.last_init, name="blocks")
        h, _ = over_blocks(blocks, nn.Dense(WIDTH)(x))
        self.sow("intermediates", "last_block", h)
        return nn.Dense(10)(jc.nn.LayerNorm()(h))


def model(depth: int, base: int, alpha: float | None, rate: Any, last_init: Any = RANDOM) -> Any:
    """The task and the optimizer of a depth."""
    ratio = depth / base
    network = Residual(depth, 1.0 if alpha is None else ratio**-alpha, last_init)
    task = jc.linen_task(network, DIGITS.inputs[:1], PROBLEM)
    build = lambda m: jc.adamw(
        rate * m.learning_rate, eps=EPS * m.eps, weight_decay=WEIGHT_DECAY * m.weight_decay
    )
    if alpha is None:
        return task, build(jc.transfer.Multipliers())
    shapes = jax.eval_shape(task.init, jax.random.key(0))[0]
    blocks = {name: name == "blocks" for name in shapes}
    multipliers = jc.transfer.completep(shapes, shapes, ratio, blocks, alpha=alpha)
    return task, jc.with_multipliers(build, multipliers)


def changes(task: Any, optimizer: Any) -> Any:
    """Both, where the activations of the task are their changes since the start."""

    def init(key: Any) -> Any:
        params, _ = task.init(key)
        return params, {"start": params}

    def activations(params: Any, model_state: Any, inputs: Any) -> Any:
        now, before = (task.activations(x, {}, inputs) for x in (params, model_state["start"]))
        return {name: now[name] - before[name] for name in ("last_block_0", "outputs")}

    return task._replace(init=init, activations=activations), optimizer


if __name__ == "__main__":
    main()
