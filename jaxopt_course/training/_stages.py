"""A training that can be paused: what searches need that give up, or go on, before the end."""

from collections.abc import Callable
from typing import Any, NamedTuple, get_args

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from jaxopt_course.core import canonical_convolutions, checks
from jaxopt_course.tasks import targets_check

from ._arguments import built
from ._evaluate import validation
from ._feed import Feed, make_feed
from ._loop import Evaluated, Loop, Progress, hold, make_loop, release
from ._rows import as_examples, as_rows, count_rows, rows_used
from ._state import Rows
from ._timetable import WITHOUT_END, make_timetable


class Stages(NamedTuple):
    """The parts of a training, pure functions to be compiled by whoever puts them together.

    start: ``start(key, hyperparameters, rows) -> progress``.
    advance: ``advance(progress, hyperparameters, rows, end) -> progress``: from where it is up to
        step ``end``, which may be traced. A training that has diverged stays where it is.
    evaluate: ``evaluate(progress, hyperparameters, rows) -> (progress, row)``: means over the
        examples since the last evaluation, and over the validation rows, by name. It is as the
        last one of a training that ends here: of the parameters after the gradients that are
        still accumulated have been applied, though ``progress`` keeps them.
    build: ``build(hyperparameters) -> (task, optimizer)``.
    steps_per_epoch: of all rows.
    """

    start: Callable[..., Progress]
    advance: Callable[..., Progress]
    evaluate: Callable[..., tuple[Progress, dict[str, Array]]]
    build: Callable[[Any], Any]
    steps_per_epoch: int


def make_stages(
    build: Callable[[Any], Any],
    data: Any,
    *,
    batch_size: int,
    evaluate: Evaluated = "averaged",
) -> Stages:
    """The stages of the training that :func:`make_train` makes of the same arguments.

    Args:
        build: ``build(hyperparameters) -> (task, optimizer)``, called while being traced.
        data: a pair (inputs, targets), or anything with these attributes, of all rows.
        batch_size: in [1, training rows].
        evaluate: which parameters are evaluated, ``"averaged"`` or ``"raw"``.

    Examples:
        >>> import optax
        >>> from jaxopt_course.problems import problem
        >>> from jaxopt_course.tasks import function_task
        >>> init = lambda key: {"w": jnp.zeros((1, 1))}
        >>> task = function_task(init, lambda p, x: x @ p["w"], problem("regression"))
        >>> x = jnp.array([[1.0], [2.0], [3.0]])
        >>> stages = make_stages(lambda rate: (task, optax.sgd(rate)), (x, 2 * x), batch_size=2)
        >>> progress = stages.start(jax.random.key(0), 0.1)
        >>> progress = jax.jit(stages.advance)(progress, 0.1, None, 7)
        >>> int(progress.state.step)
        7
    """
    checks.integer("make_stages", "batch_size", batch_size, "[1, inf)")
    checks.choice("make_stages", "evaluate", evaluate, get_args(Evaluated))
    examples = as_examples("make_stages", data)
    n = count_rows("make_stages", examples)
    evaluated = evaluate

    def parts(hyperparameters: Any, rows: Rows | None) -> tuple[Loop, Feed]:
        task, optimizer = built("make_stages", build, hyperparameters)
        used = as_rows("make_stages", rows, n)
        n_train = used.train.shape[0]
        timetable = make_timetable("make_stages", n_train, steps=WITHOUT_END, batch_size=batch_size)
        validate = validation(task, examples, used, batch_size)
        feed = make_feed(examples, used, timetable)
        options: dict[str, Any] = {"evaluated": evaluated, "batch_at": feed.batch_at}
        return make_loop(task, optimizer, validate, None, **options), feed

    def start(key: Any, hyperparameters: Any, rows: Rows | None = None) -> Progress:
        task, _ = built("make_stages", build, hyperparameters)
        loop, feed = parts(hyperparameters, rows)
        targets_check(task, examples[0])("make_stages", examples[1], rows_used(rows, n))
        return loop.start(key, feed.like)

    def advance(
        progress: Progress, hyperparameters: Any, rows: Rows | None, end: Int[Array, ""] | int
    ) -> Progress:
        loop, feed = parts(hyperparameters, rows)
        begin, key = progress.state.step, progress.state.key

        def step(index: Array, carry: Any) -> Any:
            progress, epoch = carry
            epoch = feed.turn(key, epoch, index)
            return loop.step(progress, feed.batch(epoch.table, index))[0], epoch

        end = jnp.where(progress.running, jnp.asarray(end, begin.dtype), begin)
        carry = (hold(progress), feed.nothing)
        run = canonical_convolutions(lambda carry: jax.lax.fori_loop(begin, end, step, carry))
        return release(run(carry)[0])

    def evaluate_end(
        progress: Progress, hyperparameters: Any, rows: Rows | None = None
    ) -> tuple[Progress, dict[str, Array]]:
        return parts(hyperparameters, rows)[0].evaluate(progress, True)

    return Stages(start, advance, evaluate_end, build, -(-n // batch_size))
