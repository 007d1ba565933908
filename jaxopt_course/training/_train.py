"""A whole training as one pure function, which compiles into one program.

The outer scan runs over evaluations, the inner one over the steps between two of them. Scans have a
fixed length, so the training can be differentiated with respect to hyperparameters.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from jaxopt_course.core import canonical_convolutions, checks, on_auto_axes

from ._arguments import Evaluated, built, check_build, check_key, make_timetable
from ._data import as_examples, as_rows, count_rows
from ._early_stopping import EarlyStopping, check_early_stopping
from ._memory import WHOLE, Segments, scan, segments_of
from ._progress import Progress, frozen_metrics, release, run_of
from ._state import Rows, Run
from ._step import check_track
from ._training import Held, Setup, Training


def make_train(
    build: Callable[[Any], Any],
    data: Any,
    *,
    epochs: int | None = None,
    steps: int | None = None,
    batch_size: int,
    evaluate_every: int | None = None,
    early_stopping: EarlyStopping | None = None,
    evaluate: Evaluated = "averaged",
    track: Sequence[str] = (),
    remat: bool = False,
) -> Callable[..., Run]:
    """The function ``train(key, hyperparameters=None, rows=None) -> Run``.

    ``train`` is pure and does not compile itself: jit it, ``vmap`` it over keys, hyperparameters
    and rows, differentiate it with respect to hyperparameters. Each epoch sees every training row
    once, in an order of its own; the last batch is padded with rows of weight 0. A training that
    diverges or stops early is frozen from that evaluation on. Gradients that
    :class:`~jaxopt_course.transforms.MultiSteps` still accumulates after the last step are applied
    before the last evaluation.

    Args:
        build: ``build(hyperparameters) -> (task, optimizer)``. It is called while ``train`` is
            traced, so every number in it can be a hyperparameter: rates, decays, dropout.
        data: a pair (inputs, targets) of all rows, or an object with these attributes. Both may be
            pytrees of arrays. Without targets it is (inputs, None), or an array or a dict of arrays
            alone. It becomes part of the program. If it, the hyperparameters or the key are on a
            mesh with explicit axes, the training runs on automatic axes, and every device gets the
            run.
        epochs: number of passes over the training rows, in [1, inf). Give exactly one of `epochs`
            and `steps`.
        steps: number of batches, in [1, inf).
        batch_size: rows of a batch, in [1, training rows].
        evaluate_every: steps between evaluations, in [1, inf). None: one epoch. The last step is
            evaluated in any case.
        early_stopping: rule that ends the training before its last step, and the metric that
            decides which parameters are best. None: no rule; the lowest loss is best.
        evaluate: ``"averaged"`` evaluates and keeps the averages of the parameters that the
            optimizer defines, as ``ema_params`` and ``schedule_free`` do. ``"raw"`` evaluates the
            trained parameters. Averages are evaluated with the model state of the trained
            parameters; a warning says so if there is one.
        track: numbers to add to every row of the history, of ``"learning_rate"``,
            ``"gradient_norm"`` and ``"update_norm"``. The norms are global ones of the gradients
            that the optimizer receives and of the changes of the parameters, as means over the
            steps since the last evaluation; the learning rate is that of the last update (see
            :func:`~jaxopt_course.transforms.learning_rates`).
        remat: whether derivatives of ``train`` compute its steps again instead of storing them.
            Their memory then grows with the square root of the number of steps, and each step is
            computed once more. The training itself is not changed.

    Returns:
        ``train``. Its ``hyperparameters`` are any pytree that ``build`` accepts. Its ``rows`` are
        a :class:`Rows`; None trains on all rows, without validation.

    Raises:
        TypeError: if `build` is not a function, or, when ``train`` is called, returns something
            else.
        ValueError: if a number is out of range or there is no example. When ``train`` is called: if
            ``batch_size`` exceeds the number of training rows, or the task's problem does not allow
            a target of a row that is used. If ``rows`` are traced, as in a search, all rows count
            as used.

    Examples:
        >>> import optax
        >>> from jaxopt_course.problems import problem
        >>> from jaxopt_course.tasks import function_task
        >>> def build(hyperparameters):
        ...     init = lambda key: {"w": jnp.zeros((1, 1))}
        ...     apply = lambda params, x: x @ params["w"]
        ...     task = function_task(init, apply, problem("regression"))
        ...     return task, optax.sgd(hyperparameters["learning_rate"])
        >>> x = jnp.array([[1.0], [2.0], [3.0]])
        >>> train = make_train(build, (x, 2 * x), epochs=20, batch_size=2)
        >>> run = jax.jit(train)(jax.random.key(0), {"learning_rate": 0.1})
        >>> round(float(run.state.params["w"][0, 0]), 3)
        2.0
        >>> rates = {"learning_rate": jnp.array([0.01, 0.1])}
        >>> runs = jax.jit(jax.vmap(train, in_axes=(None, 0)))(jax.random.key(0), rates)
        >>> runs.history["loss"].shape
        (2, 20)
    """
    check_build("make_train", build)
    check_early_stopping("make_train", early_stopping)
    checks.choice("make_train", "evaluate", evaluate, get_args(Evaluated))
    tracked = check_track("make_train", track)
    checks.flags("make_train", remat=remat)
    examples = as_examples("make_train", data)
    n = count_rows("make_train", examples)
    lengths: dict[str, Any] = {"epochs": epochs, "steps": steps, "evaluate_every": evaluate_every}
    lengths["batch_size"] = batch_size
    checks.integer("make_train", "batch_size", batch_size, "[1, inf)")
    make_timetable("make_train", max(n, batch_size), **lengths)  # all checks except those on rows

    def train(key: Any, hyperparameters: Any = None, rows: Rows | None = None) -> Run:
        return on_auto_axes(run, key, hyperparameters, rows, examples)

    def run(key: Any, hyperparameters: Any, rows: Rows | None, examples: Any) -> Run:
        task, optimizer = built("make_train", build, hyperparameters)
        check_key("train", key)
        used = as_rows("train", rows, n)
        timetable = make_timetable("train", used.train.shape[0], **lengths)
        setup = Setup(task, optimizer, timetable, evaluate, track=tracked)
        training = Training(setup, examples, used, early_stopping, owner="make_train")
        return _trained(training, key, remat)

    return train


def _trained(training: Training, key: Any, remat: bool) -> Run:
    """The run of the whole training; ``remat``: its derivatives compute steps again."""
    timetable = training.setup.timetable
    every = timetable.evaluate_every
    whole, rest = divmod(timetable.steps, every)
    held, history = training.hold(training.start(key)), []
    for begin, number, length in [(0, whole, every), (timetable.steps - rest, 1, rest)]:
        if number * length > 0:
            firsts = _first_steps(begin, number, length, timetable.steps_per_epoch)
            stretch = length // firsts.shape[1]
            segments = segments_of(timetable.steps, length, stretch) if remat else WHOLE
            held, metrics = _intervals(training, held, length, firsts, segments)
            history.append(metrics)
    progress = release(training.finish(held.progress, held.progress.running))
    columns = jax.tree.map(lambda *parts: jnp.concatenate(parts), *history)
    return run_of(progress, columns, progress.outcome)


def _first_steps(
    begin: int, number: int, length: int, steps_per_epoch: int
) -> Int[np.ndarray, "intervals stretches"]:
    """The first steps of the stretches of each interval: equal ones, each within an epoch."""
    offset = begin % steps_per_epoch
    stretch = math.gcd(length, steps_per_epoch, offset)
    if number == 1 and offset + length <= steps_per_epoch:
        stretch = length
    return np.arange(begin, begin + number * length, stretch, dtype=np.int32).reshape(number, -1)


def _intervals(
    training: Training,
    held: Held,
    length: int,
    firsts: Int[np.ndarray, "intervals stretches"],
    segments: Segments,
) -> tuple[Held, dict[str, Array]]:
    """For each row of ``firsts``, ``length`` steps and an evaluation, while the training runs.

    Epochs are drawn outside of this condition: under ``vmap`` both of its branches are computed and
    the step is batched, so each step would draw an epoch.
    """
    steps = jnp.arange(length // firsts.shape[1], dtype=jnp.int32)
    batches = training.batches

    def stretch(held: Held, first: Array) -> tuple[Held, None]:
        epoch = batches.turn(held.progress.state.key, held.epoch, first)

        def step(progress: Progress, index: Array) -> tuple[Progress, None]:
            return training.step(progress, batches.batch(epoch.table, index))[0], None

        run = lambda progress: scan(step, progress, first + steps, segments.steps)[0]
        same = lambda progress: progress
        return Held(jax.lax.cond(held.progress.running, run, same, held.progress), epoch), None

    def interval(held: Held, firsts: Array) -> tuple[Held, dict[str, Array]]:
        (progress, epoch, _), _ = scan(stretch, held, firsts, segments.stretches)
        like = jax.eval_shape(lambda progress: training.evaluate(progress, False), progress)[1]
        last = firsts[-1] + steps.shape[0] == training.setup.timetable.steps
        evaluate = lambda progress: training.evaluate(progress, last)
        if segments is not WHOLE:
            evaluate = jax.checkpoint(evaluate)
        frozen = lambda progress: (progress, frozen_metrics(progress, like))
        progress, metrics = jax.lax.cond(progress.running, evaluate, frozen, progress)
        return Held(progress, epoch), metrics

    run = canonical_convolutions(
        lambda held, firsts: scan(interval, held, firsts, segments.intervals)
    )
    return run(held, jnp.asarray(firsts))
