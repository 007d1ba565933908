"""Time operations and networks inside a compiled loop against one program call for each step.

    python -m benchmarks loops [--quick] [NAMES ...]

A step computes one operation, and its result enters the next step. The same steps run as one
``jax.lax.scan`` and as calls of a compiled step. Their ratio is 1 where the loop has no cost. On
CPUs the gradients of convolutions take up to 50 times as long in a loop. The column ``canonical``
has the ratio with ``canonical_convolutions``, by which this library avoids that. The networks are
trained by ``make_train`` and by a loop over ``make_step``.
"""

import functools
import statistics
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from benchmarks._machine import save
from benchmarks._measure import interleaved, options_of, table
from benchmarks._networks import NETWORKS
from jaxopt_course.core import canonical_convolutions
from jaxopt_course.optimizers import adam
from jaxopt_course.problems import problem
from jaxopt_course.tasks import Batch, linen_task
from jaxopt_course.training import init_state, make_step, make_train


SLOWER = 1.3  # ratios beyond it are listed: below it, neighbours on the machine decide
STEPS, ROUNDS = 8, 5
KEY = jax.random.key(0)
Operation = tuple[Callable[..., Any], tuple[Any, ...]]


def main() -> None:
    """Measure operations and networks, print two tables, and write ``results/loops.json``."""
    parser = options_of(__doc__, "fewer rounds")
    parser.add_argument("names", nargs="*", metavar="NAMES", help="parts of names (default: all)")
    options = parser.parse_args()
    rounds = 3 if options.quick else ROUNDS
    chosen = lambda name: not options.names or any(part in name for part in options.names)
    operations, networks = {}, {}
    for name, make in filter(lambda item: chosen(item[0]), OPERATIONS.items()):
        say(name)
        operations[name] = timed_operation(*make(), rounds)
    for name, model in filter(lambda item: chosen(item[0]), NETWORKS.items()):
        say(name)
        networks[name] = timed_network(*model(), rounds)
    for title, rows in (("operations", operations), ("networks", networks)):
        if rows:
            say(f"\n{title}\n{table(rows)}")
    report(operations, networks)
    if not options.names:
        figures = {"quick": options.quick, "steps": STEPS, "rounds": rounds}
        say(str(save("loops", figures | {"operations": operations, "networks": networks})))


def report(operations: Mapping[str, Any], networks: Mapping[str, Any]) -> None:
    """Say which operations are slower in a loop, first as JAX has them, then here."""
    slow = [name for name, row in operations.items() if row["ratio"] > SLOWER]
    here = [name for name in slow if operations[name].get("canonical", SLOWER + 1) > SLOWER]
    say(f"\nslower in a loop by more than {SLOWER}: {', '.join(slow) or 'none'}")
    say(f"of these with canonical convolutions: {', '.join(here) or 'none'}")
    for name, row in networks.items():
        word = "met" if row["ratio"] <= 1 else "missed"
        say(f"{name}: {row['ratio']:.2f}, goal at most 1: {word}")


def timed_operation(f: Callable[..., Any], args: tuple[Any, ...], rounds: int) -> dict[str, float]:
    """The row of one operation."""

    def step(carry: jax.Array, args: Any) -> jax.Array:
        moved = [
            x + carry.astype(x.dtype) if jnp.isdtype(x.dtype, "real floating") else x for x in args
        ]
        leaves = jax.tree.leaves(f(*moved))
        return sum(jnp.sum(jnp.square(x.astype(jnp.float32))) for x in leaves) * 1e-20

    def in_a_loop(args: Any) -> jax.Array:
        start = jnp.zeros(())
        return jax.lax.scan(lambda c, _: (step(c, args), None), start, length=STEPS)[0]

    one = jax.jit(step)

    def step_by_step() -> jax.Array:
        carry = jnp.zeros(())
        for _ in range(STEPS):
            carry = one(carry, args)
        return carry

    loop = jax.jit(in_a_loop)
    ways = {"in a loop": lambda: loop(args), "a program a step": step_by_step}
    if "conv_general_dilated" in str(jax.make_jaxpr(in_a_loop)(args)):
        canonical = jax.jit(canonical_convolutions(in_a_loop))
        ways["canonical"] = lambda: canonical(args)
    times = interleaved(ways, rounds, warm_up=1)
    row = milliseconds(times, STEPS)
    row["ratio"] = ratio(times, "in a loop")
    if "canonical" in times:
        row["canonical"] = ratio(times, "canonical")
    return row


def timed_network(model: nn.Module, data: Any, rounds: int) -> dict[str, float]:
    """The row of one network: an epoch by Adam, of ``STEPS`` steps."""
    inputs, targets = data
    size = len(inputs) // STEPS
    task, tx = linen_task(model, inputs[:1], problem("multiclass")), adam(1e-3)
    step = jax.jit(make_step(task, tx), donate_argnums=0)
    train = jax.jit(make_train(lambda _: (task, tx), (inputs, targets), epochs=1, batch_size=size))
    batches = [
        Batch(inputs[i : i + size], targets[i : i + size]) for i in range(0, STEPS * size, size)
    ]

    def step_by_step() -> Any:
        state = init_state(task, tx, KEY)
        for batch in batches:
            state, _ = step(state, batch)
        return state.params

    ways = {"in a loop": lambda: train(KEY).state.params, "a program a step": step_by_step}
    times = interleaved(ways, rounds, warm_up=1)
    return milliseconds(times, STEPS) | {"ratio": ratio(times, "in a loop")}


def milliseconds(times: Mapping[str, list[float]], steps: int) -> dict[str, float]:
    """Medians of a step."""
    columns = {"in a loop": "loop_ms", "a program a step": "step_ms", "canonical": "canonical_ms"}
    return {columns[way]: 1e3 * statistics.median(took) / steps for way, took in times.items()}


def ratio(times: Mapping[str, list[float]], way: str) -> float:
    """The median of the rounds' ratios to a program a step."""
    pairs = zip(times[way], times["a program a step"], strict=True)
    return statistics.median(a / b for a, b in pairs)


def say(text: str) -> None:
    """Print at once."""
    print(text, flush=True)  # noqa: T201


def normal(*shape: int) -> jax.Array:
    """The same random numbers for the same shape."""
    return jax.random.normal(KEY, shape, jnp.float32)


def slopes(f: Callable[..., jax.Array], argument: int = 0) -> Callable[..., jax.Array]:
    """The gradient of half the sum of squares of ``f``."""
    return jax.grad(lambda *args: jnp.sum(jnp.square(f(*args))) / 2, argument)


def convolutions(
    name: str, inputs: tuple[int, ...], kernel: tuple[int, ...], **given: Any
) -> dict[str, Callable[[], Operation]]:
    """A convolution of channels-last arrays, and its gradients by its inputs and its kernel."""
    axes = len(inputs) - 2
    spatial = "DHW"[3 - axes :]
    numbers = (f"N{spatial}C", f"{spatial}IO", f"N{spatial}C")
    options = {"window_strides": (1,) * axes, "padding": "SAME", "dimension_numbers": numbers}
    f = functools.partial(jax.lax.conv_general_dilated, **options | given)
    arrays = lambda: (normal(*inputs), normal(*kernel))
    return {
        f"conv {name}": lambda: (f, arrays()),
        f"conv {name}, gradient by input": lambda: (slopes(f, 0), arrays()),
        f"conv {name}, gradient by kernel": lambda: (slopes(f, 1), arrays()),
    }


def attention(masked: bool, causal: bool = False) -> tuple[Callable[..., jax.Array], Any]:
    q = normal(8, 128, 4, 32)
    mask = jnp.arange(128) < 100 if masked else None
    f = lambda q, k, v: jax.nn.dot_product_attention(
        q, k, v, mask=None if mask is None else mask[None, None, None, :], is_causal=causal
    )
    return f, (q, jnp.sin(q), jnp.cos(q))


def pooled(reduce: Callable[..., jax.Array]) -> tuple[Callable[[jax.Array], jax.Array], Any]:
    return lambda x: reduce(x, (2, 2), (2, 2)), (normal(64, 32, 32, 16),)


def recurrent() -> tuple[Callable[..., jax.Array], Any]:
    layer, x = nn.RNN(nn.GRUCell(64)), normal(32, 50, 32)
    params = layer.init(KEY, x)
    return lambda x: layer.apply(params, x), (x,)


def normalized(x: jax.Array) -> jax.Array:
    centred = x - x.mean(-1, keepdims=True)
    return centred * jax.lax.rsqrt(jnp.square(centred).mean(-1, keepdims=True) + 1e-6)


def patches(x: jax.Array) -> jax.Array:
    return jax.lax.conv_general_dilated_patches(
        x, (3, 3), (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def with_slopes(name: str, make: Callable[[], Operation]) -> dict[str, Callable[[], Operation]]:
    """An operation and its gradient by the first argument."""

    def gradient() -> Operation:
        f, args = make()
        return slopes(f), args

    return {name: make, f"{name}, gradient": gradient}


def definite() -> jax.Array:
    x = normal(8, 96, 96)
    return x @ x.mT + 96 * jnp.eye(96)


ROWS = np.random.default_rng(0).integers(0, 4096, 20000)
OPERATIONS: dict[str, Callable[[], Operation]] = {
    **with_slopes("matrix product", lambda: (jnp.matmul, (normal(512, 512), normal(512, 512)))),
    **with_slopes("batched product", lambda: (jnp.matmul, (normal(64, 64, 64),) * 2)),
    **with_slopes("attention", lambda: attention(masked=False)),
    **with_slopes("attention, mask", lambda: attention(masked=True)),
    **with_slopes("attention, causal", lambda: attention(masked=False, causal=True)),
    **with_slopes("max pooling", lambda: pooled(nn.max_pool)),
    **with_slopes("mean pooling", lambda: pooled(nn.avg_pool)),
    **with_slopes("layer norm", lambda: (normalized, (normal(4096, 256),))),
    **with_slopes("softmax", lambda: (jax.nn.softmax, (normal(4096, 256),))),
    **with_slopes("gelu", lambda: (jax.nn.gelu, (normal(1024, 1024),))),
    **with_slopes("recurrent layer", recurrent),
    **with_slopes("cumulative sum", lambda: (lambda x: jnp.cumsum(x, 0), (normal(1024, 256),))),
    **with_slopes("sort", lambda: (lambda x: jnp.sort(x, -1), (normal(256, 512),))),
    "top k": lambda: (lambda x: jax.lax.top_k(x, 8)[0], (normal(256, 1024),)),
    **with_slopes("gather", lambda: (lambda x: x[ROWS], (normal(4096, 64),))),
    "scatter": lambda: (lambda x: jnp.zeros((4096, 64)).at[ROWS].add(x), (normal(20000, 64),)),
    "segment sum": lambda: (
        lambda x: jax.ops.segment_sum(x, ROWS, num_segments=4096),
        (normal(20000, 64),),
    ),
    "FFT": lambda: (lambda x: jnp.abs(jnp.fft.rfft2(x)), (normal(16, 128, 128),)),
    "Cholesky": lambda: (jnp.linalg.cholesky, (definite(),)),
    "triangular solve": lambda: (
        lambda a, b: jax.scipy.linalg.solve_triangular(a, b, lower=True),
        (jnp.linalg.cholesky(definite()), normal(8, 96, 96)),
    ),
    "QR": lambda: (lambda x: jnp.linalg.qr(x)[1], (normal(8, 96, 96),)),
    "eigenvalues": lambda: (jnp.linalg.eigvalsh, (definite(),)),
    "singular values": lambda: (
        lambda x: jnp.linalg.svd(x, compute_uv=False),
        (normal(8, 64, 64),),
    ),
    "random normal": lambda: (
        lambda x: x + jax.random.normal(jax.random.fold_in(KEY, 1), x.shape),
        (normal(1024, 512),),
    ),
    "random permutation": lambda: (lambda x: jax.random.permutation(KEY, x), (normal(1 << 16),)),
    "dropout": lambda: (
        lambda x: jnp.where(jax.random.bernoulli(KEY, 0.9, x.shape), x, 0),
        (normal(1024, 512),),
    ),
    **with_slopes(
        "resizing",
        lambda: (
            lambda x: jax.image.resize(x, (16, 64, 64, 8), "linear"),
            (normal(16, 32, 32, 8),),
        ),
    ),
    **with_slopes("patches", lambda: (patches, (normal(32, 16, 16, 8),))),
    **convolutions("2d", (64, 8, 8, 16), (3, 3, 16, 32)),
    **convolutions("1 x 1", (64, 8, 8, 32), (1, 1, 32, 64)),
    **convolutions("strides", (64, 16, 16, 16), (3, 3, 16, 32), window_strides=(2, 2)),
    **convolutions("kernel dilation", (32, 16, 16, 16), (3, 3, 16, 16), rhs_dilation=(2, 2)),
    **convolutions(
        "transposed", (32, 8, 8, 16), (3, 3, 16, 16), lhs_dilation=(2, 2), padding=[(2, 1)] * 2
    ),
    **convolutions("1d", (64, 64, 16), (5, 16, 32)),
    **convolutions("3d", (8, 8, 8, 8, 8), (3, 3, 3, 8, 16)),
    **convolutions("groups", (32, 8, 8, 64), (3, 3, 16, 128), feature_group_count=4),
    **convolutions("depthwise", (32, 16, 16, 32), (3, 3, 1, 32), feature_group_count=32),
}


if __name__ == "__main__":
    main()
