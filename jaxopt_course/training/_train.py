"""A whole training as one pure function, which compiles into one program.

The outer scan goes over evaluations, the inner one over the steps between two of them. Scans, and
no open-ended loops, so that the training can be differentiated with respect to hyperparameters.
"""

import math
from collections.abc import Callable
from typing import Any, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from jaxopt_course.core import canonical_convolutions, checks, on_auto_axes
from jaxopt_course.tasks import targets_check

from ._arguments import built, check_key
from ._early_stopping import EarlyStopping, check_early_stopping
from ._evaluate import validation
from ._feed import Epoch, Feed, make_feed
from ._loop import Evaluated, Loop, Progress, frozen_row, hold, make_loop, release
from ._rows import as_examples, as_rows, count_rows, rows_used
from ._state import Rows, Run
from ._timetable import make_timetable


_Carry = tuple[Progress, Epoch]


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
) -> Callable[..., Run]:
    """The function ``train(key, hyperparameters=None, rows=None) -> Run``.

    It is pure: jit it, ``vmap`` it over keys, hyperparameters and rows, differentiate it with
    respect to hyperparameters. It does not compile itself. An epoch sees every training row once,
    in an order of its own; the last batch is filled up with rows of weight 0. A training that
    diverges or stops early is frozen from that evaluation on. Gradients that
    :class:`~jaxopt_course.transforms.MultiSteps` still accumulates after the last step are applied
    before the last evaluation.

    Args:
        build: ``build(hyperparameters) -> (task, optimizer)``. It is called while ``train`` is
            traced, so every number in it can be a hyperparameter: rates, decays, dropout.
        data: a pair (inputs, targets), or anything with these attributes, of all rows. It becomes
            part of the program. Where it, the hyperparameters or the key lie on a mesh with
            explicit axes, the training runs on automatic ones, and every device gets the run.
        epochs: how often to see every training row, in [1, inf); or else
        steps: how many batches to see, in [1, inf).
        batch_size: in [1, training rows].
        evaluate_every: steps from one evaluation to the next, in [1, inf). None: one epoch. The
            end is evaluated in any case.
        early_stopping: when to end before that. None: never.
        evaluate: ``"averaged"`` evaluates and keeps the averages of the parameters where the
            optimizer defines them, as ``ema_params`` and ``schedule_free`` do; ``"raw"`` evaluates
            the parameters that are trained. Averaged parameters are evaluated with the model state
            of the trained ones: a warning says so if there is one.

    Returns:
        ``train``. Its ``hyperparameters`` are any pytree that ``build`` takes, its ``rows`` a
        :class:`Rows`; None trains on all rows, without validation.

    Raises:
        TypeError: if `build` is no function, or, when ``train`` is called, returns something else.
        ValueError: if a number is out of range or there is no example. When ``train`` is called,
            for rows come then: if ``batch_size`` is above the number of training rows, or the
            task's problem does not allow a target of a row that is used. Where ``rows`` are traced,
            as in a search, all rows of ``data`` count as used.

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
    if not callable(build):
        raise TypeError(
            "make_train: `build` must be a function of hyperparameters that returns "
            f"(task, optimizer), got {type(build).__name__}."
        )
    check_early_stopping("make_train", early_stopping)
    checks.choice("make_train", "evaluate", evaluate, get_args(Evaluated))
    examples = as_examples("make_train", data)
    n = count_rows("make_train", examples)
    numbers: dict[str, Any] = {
        "epochs": epochs,
        "steps": steps,
        "batch_size": batch_size,
        "evaluate_every": evaluate_every,
    }
    checks.integer("make_train", "batch_size", batch_size, "[1, inf)")
    make_timetable("make_train", max(n, batch_size), **numbers)  # all checks but that on the rows

    def train(key: Any, hyperparameters: Any = None, rows: Rows | None = None) -> Run:
        return on_auto_axes(training, key, hyperparameters, rows, examples)

    def training(key: Any, hyperparameters: Any, rows: Rows | None, examples: Any) -> Run:
        task, optimizer = built("make_train", build, hyperparameters)
        check_key("train", key)
        used = as_rows("train", rows, n)
        targets_check(task, examples[0])("make_train", examples[1], rows_used(rows, n))
        timetable = make_timetable("train", used.train.shape[0], **numbers)
        feed = make_feed(examples, used, timetable)
        validate = validation(task, examples, used, timetable.batch_size)
        options: dict[str, Any] = {"evaluated": evaluate, "batch_at": feed.batch_at}
        loop = make_loop(task, optimizer, validate, early_stopping, **options)
        progress = hold(loop.start(key, feed.like))
        carry, history = (progress, feed.nothing), []
        whole, rest = divmod(timetable.steps, timetable.evaluate_every)
        for begin, number, length in [
            (0, whole, timetable.evaluate_every),
            (timetable.steps - rest, 1, rest),
        ]:
            if number * length > 0:
                firsts = _first_steps(begin, number, length, timetable.steps_per_epoch)
                carry, rows_of_part = _intervals(loop, feed, carry, length, firsts, timetable.steps)
                history.append(rows_of_part)
        progress = release(loop.finish(carry[0], carry[0].running))
        return Run(
            state=progress.state,
            best_params=progress.best_params,
            best_model_state=progress.best_model_state,
            history=jax.tree.map(lambda *parts: jnp.concatenate(parts), *history),
            outcome=progress.outcome,
        )

    return train


def _first_steps(
    begin: int, number: int, length: int, steps_per_epoch: int
) -> Int[np.ndarray, "intervals stretches"]:
    """Where the stretches of each interval begin: equal ones, each within an epoch."""
    offset = begin % steps_per_epoch
    stretch = math.gcd(length, steps_per_epoch, offset)
    if number == 1 and offset + length <= steps_per_epoch:
        stretch = length
    return np.arange(begin, begin + number * length, stretch, dtype=np.int32).reshape(number, -1)


def _intervals(
    loop: Loop,
    feed: Feed,
    carry: _Carry,
    length: int,
    firsts: Int[np.ndarray, "intervals stretches"],
    end: int,
) -> tuple[_Carry, dict[str, Array]]:
    """For each row of ``firsts`` so many steps and an evaluation, unless the training has ended.

    The evaluation after ``end`` steps is the last one.
    Epochs are drawn outside of what depends on that. Under ``vmap`` both sides of such a condition
    are computed, the numbers of the steps come apart, and each step would draw an epoch.
    """
    steps = jnp.arange(length // firsts.shape[1], dtype=jnp.int32)

    def stretch(carry: _Carry, first: Array) -> tuple[_Carry, None]:
        progress, epoch = carry
        epoch = feed.turn(progress.state.key, epoch, first)
        step = lambda progress, index: (
            loop.step(progress, feed.batch(epoch.table, index))[0],
            None,
        )
        run = lambda progress: jax.lax.scan(step, progress, first + steps)[0]
        return (jax.lax.cond(progress.running, run, lambda same: same, progress), epoch), None

    def interval(carry: _Carry, firsts: Array) -> tuple[_Carry, dict[str, Array]]:
        (progress, epoch), _ = jax.lax.scan(stretch, carry, firsts)
        row = jax.eval_shape(loop.evaluate, progress)[1]
        last = firsts[-1] + steps.shape[0] == end
        evaluate = lambda progress: loop.evaluate(progress, last)
        frozen = lambda progress: (progress, frozen_row(progress, row))
        progress, row = jax.lax.cond(progress.running, evaluate, frozen, progress)
        return (progress, epoch), row

    scan = canonical_convolutions(lambda carry, rows: jax.lax.scan(interval, carry, rows))
    return scan(carry, jnp.asarray(firsts))
