"""Floor 2: the table from the type of a problem to output activation, loss and metrics.

    problem                         activation   loss of an example
    binary                          sigmoid      binary cross-entropy
    multiclass                      softmax      categorical cross-entropy
    multilabel                      sigmoid      binary cross-entropy, summed over the labels
    regression                      none         mean squared error
    unit_regression                 sigmoid      mean squared error, targets in [0, 1]
    unit_regression_cross_entropy   sigmoid      binary cross-entropy, targets in [0, 1]

"Outputs" are what the model computes before the activation (logits, where there is one): losses,
metrics and labels all take them. They are widened to float32 first, so that losses neither
overflow nor lose digits in half precision. Where an example has several outcomes (pixels,
positions of a sequence), its loss is the mean over them.
"""

import dataclasses
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Bool, Float, Shaped

from jaxopt_course.core import checks, tree
from jaxopt_course.losses import (
    mean_squared_error,
    multilabel_cross_entropy,
    sigmoid_binary_cross_entropy,
    softmax_cross_entropy,
    softmax_cross_entropy_with_integer_labels,
)
from jaxopt_course.metrics import accuracy, binary_accuracy, exact_match, mean_absolute_error


__all__ = [
    "PROBLEMS",
    "Problem",
    "check_target_values",
    "check_targets",
    "infer_problem",
    "problem",
]

Targets = Shaped[Array, "..."]
PerExample = Callable[[Array, Array], Array]  # outputs, targets -> one value for each example


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Problem:
    """One row of the table.

    Outputs have shape [batch, n_outputs]. Targets have the same shape, or [batch] where there is
    one output; of ``multiclass``, they are class numbers [batch] or one-hot rows
    [batch, n_outputs].

    Attributes:
        name: its key in ``PROBLEMS``.
        targets: what targets hold: ``"bits"`` (0 or 1, or a probability in [0, 1]),
            ``"classes"``, finite ``"real"`` numbers, numbers of the ``"unit"`` interval [0, 1],
            or ``"any"`` values. Trainings and evaluations refuse concrete targets outside this
            set; a copy of a problem with a loss of one's own may need ``"any"``.
        activation: outputs -> predictions: probabilities, or numbers in the targets' unit.
        loss: (outputs, targets) -> losses f[batch], in float32 or wider.
        metrics: name -> (outputs, targets) -> values f[batch], in float32 or wider.
        predict_label: outputs -> what a person reads: class numbers [batch], 0 or 1 for each
            label [batch, n_outputs], or the prediction itself.
    """

    name: str
    targets: str
    activation: Callable[[Array], Array]
    loss: PerExample
    metrics: Mapping[str, PerExample]
    predict_label: Callable[[Array], Array]

    def n_outputs(self, targets: ArrayLike) -> int:
        """How many outputs a model needs for these targets, taken of the whole data set.

        Examples:
            >>> import numpy as np
            >>> problem("multiclass").n_outputs(np.array([0, 2, 1]))
            3
        """
        values = _concrete("n_outputs", targets)
        if values.ndim > 1:
            return values.shape[-1]
        return int(values.max()) + 1 if self.targets == "classes" else 1


def problem(name: str) -> Problem:
    """The problem called ``name``.

    Raises:
        ValueError: if there is none of that name.

    Examples:
        >>> import jax.numpy as jnp
        >>> losses = problem("multiclass").loss(jnp.zeros((1, 4)), jnp.array([2]))
        >>> round(float(losses[0]), 4)  # log(4)
        1.3863
    """
    checks.choice("problem", "name", name, PROBLEMS)
    return PROBLEMS[name]


def infer_problem(targets: ArrayLike) -> Problem:
    """The likely problem: a guess from dtype and shape, for tables without a stated type.

    Floats are ``regression``. Integers and bools are, as a vector, ``binary`` if none but 0 and
    1 occur and ``multiclass`` otherwise; as a matrix, ``multiclass`` if every row has exactly
    one 1 (one-hot) and ``multilabel`` otherwise.
    """
    values = _concrete("infer_problem", targets)
    if jnp.issubdtype(values.dtype, jnp.floating):
        return problem("regression")
    bits = bool(np.isin(values, (0, 1)).all())
    if values.ndim == 1:
        return problem("binary" if bits else "multiclass")
    one_hot = bits and bool((values.sum(-1) == 1).all())
    return problem("multiclass" if one_hot else "multilabel")


def check_targets(problem: Problem, targets: ArrayLike, n_outputs: int) -> None:
    """Raise unless a model with ``n_outputs`` outputs can be trained on ``targets``.

    Args:
        problem: the row of the table.
        targets: of the data set, concrete: [rows] or [rows, n_outputs].
        n_outputs: of the model; for ``"classes"`` the number of classes.

    Raises:
        TypeError: if the targets are traced, no numbers, or class numbers that are no integers.
        ValueError: if their shape or a value breaks the rule; the message names the first one.

    Examples:
        >>> check_targets(problem("multiclass"), np.array([0, 3]), 3)
        Traceback (most recent call last):
        ValueError: check_targets: multiclass targets must lie in [0, 3), got 3 at row 1.
    """
    checks.integer("check_targets", "n_outputs", n_outputs, "[1, inf)")
    values = _concrete("check_targets", targets)
    numbered = problem.targets == "classes" and values.ndim == 1
    rows_fit = values.shape[1:] == (n_outputs,)
    if not (rows_fit or (values.ndim == 1 and (numbered or n_outputs == 1))):
        vector = "[rows] or " if problem.targets == "classes" or n_outputs == 1 else ""
        raise ValueError(
            f"check_targets: {problem.name} targets must have the shape "
            f"{vector}[rows, {n_outputs}], got {values.shape}."
        )
    check_target_values("check_targets", problem, values, (n_outputs,))


def check_target_values(
    owner: str,
    problem: Problem,
    values: Shaped[np.ndarray, "rows ..."],
    outputs: tuple[int, ...] = (),
    *,
    first_row: int = 0,
    used: Bool[np.ndarray, "all_rows"] | None = None,
) -> None:
    """Raise unless the values of concrete targets are those that the problem allows.

    The loss checks shapes while it is traced, and this function only looks at values.

    Args:
        owner: the function, for the message.
        problem: the row of the table.
        values: some consecutive rows of the targets.
        outputs: the shape of the outputs of one example. Class numbers are checked where it is
            known.
        first_row: the number of the first row of ``values``, for the message.
        used: which rows of all targets count; None: all of them. The others may hold anything.

    Raises:
        TypeError: if the values are not numbers, or class numbers that are not integers.
        ValueError: if a row that counts holds a value outside the allowed set.
    """
    allowed = _allowed(owner, problem, values, outputs)
    if allowed is None or values.size == 0:
        return
    rule, low, high = allowed
    # Two passes without temporaries: a NaN comes out of both, and every comparison with it fails.
    with np.errstate(invalid="ignore"):  # NumPy warns of a NaN among half-precision numbers
        least, largest = float(values.min()), float(values.max())
    if not (low <= least and largest <= high):
        wide = values.astype(np.float64)
        _require(owner, problem, rule, values, (wide >= low) & (wide <= high), first_row, used)
    if problem.targets == "classes" and high == 1 and values.shape[1:] == outputs:
        sums = values.sum(-1, dtype=np.float64)
        rule = "have rows that sum to 1"
        # 1e-2: rows of half-precision probabilities
        _require(owner, problem, rule, sums, np.abs(sums - 1) < 1e-2, first_row, used)


def _allowed(
    owner: str, problem: Problem, values: np.ndarray, outputs: tuple[int, ...]
) -> tuple[str, float, float] | None:
    """The rule for such targets in words, its least value and its largest; None: there is none."""
    if problem.targets == "any":
        return None
    _check_numbers(owner, values.dtype)
    if problem.targets == "real":
        largest = float(np.finfo(np.float64).max)
        return "be finite", -largest, largest
    if problem.targets != "classes" or (len(outputs) > 0 and values.shape[1:] == outputs):
        return "lie in [0, 1]", 0.0, 1.0
    if values.shape[1:] != outputs[:-1] or outputs[-1:] < (2,):
        return None  # of another shape than the loss takes, which says so itself
    if not jnp.issubdtype(values.dtype, np.integer):
        raise TypeError(
            f"{owner}: {problem.name} targets must be integers in [0, {outputs[-1]}) or one-hot "
            f"rows, got {values.dtype}."
        )
    return f"lie in [0, {outputs[-1]})", 0.0, outputs[-1] - 1.0


def _require(
    owner: str,
    problem: Problem,
    rule: str,
    values: np.ndarray,
    good: np.ndarray,
    first_row: int,
    used: np.ndarray | None,
) -> None:
    """Raise if an entry is not ``good`` and its row counts; name the first one."""
    bad = np.argwhere(~good)
    if used is not None:
        bad = bad[used[first_row + bad[:, 0]]]
    if len(bad):
        first = tuple(int(i) for i in bad[0])
        place = f"row {first_row + first[0]}" + "".join(f", column {i}" for i in first[1:])
        raise ValueError(
            f"{owner}: {problem.name} targets must {rule}, got {values[first].item()!r} at {place}."
        )


def _check_numbers(owner: str, dtype: Any) -> None:
    if not any(jnp.issubdtype(dtype, kind) for kind in (np.integer, jnp.floating, np.bool)):
        raise TypeError(
            f"{owner}: targets must be real numbers, got {dtype}; map names to class numbers first."
        )


def _concrete(owner: str, targets: ArrayLike) -> np.ndarray:
    """``targets`` as a NumPy array of at least one row of numbers."""
    if checks.is_traced(targets):
        raise TypeError(f"{owner} reads the values of the targets: call it outside jit and vmap.")
    values = np.asarray(targets)
    _check_numbers(owner, values.dtype)
    if values.ndim == 0 or values.size == 0:
        raise ValueError(f"{owner}: targets must have at least one row, got shape {values.shape}.")
    return values


def _fitted(function: PerExample) -> PerExample:
    """``function`` of widened outputs and fitting targets, averaged over outcomes.

    Targets [batch] fit outputs [batch, 1], and the reverse: the one broadcast that is meant is
    made explicit, every other difference is refused by the function.
    """

    def per_example(outputs: Float[Array, "batch ..."], targets: Targets) -> Float[Array, "batch"]:
        outputs, targets = jnp.asarray(outputs), jnp.asarray(targets)
        if (*targets.shape, 1) == outputs.shape:
            targets = targets[..., None]
        elif targets.shape == (*outputs.shape, 1):
            targets = targets[..., 0]
        return _mean_of_rows(function(tree.widened(outputs), targets))

    return per_example


def _of_sigmoid(function: PerExample) -> PerExample:
    """``function`` of sigmoid(outputs)."""
    return lambda outputs, targets: function(jax.nn.sigmoid(outputs), targets)


def _mean_of_rows(values: Float[Array, "batch ..."]) -> Float[Array, "batch"]:
    if values.ndim == 0:
        raise ValueError("problem: outputs must have the shape [batch, n_outputs], got a vector.")
    return jnp.mean(values, axis=tuple(range(1, values.ndim)))


def _multiclass_loss(outputs: Array, targets: Array) -> Array:
    if outputs.shape[-1] < 2:  # softmax gives a single one the probability 1, whatever it is
        raise ValueError(
            f"multiclass: outputs must be [batch, classes], classes in [2, inf), got the shape "
            f"{outputs.shape}."
        )
    if targets.ndim == outputs.ndim:
        return softmax_cross_entropy(outputs, targets)
    return softmax_cross_entropy_with_integer_labels(outputs, targets)


def _bits(outputs: Float[Array, "..."]) -> Shaped[Array, "..."]:
    return (outputs > 0).astype(jnp.int32)


def _bit(outputs: Float[Array, "..."]) -> Shaped[Array, "..."]:
    return _bits(outputs[..., 0] if outputs.shape[1:] == (1,) else outputs)


_binary = Problem(
    name="binary",
    targets="bits",
    activation=jax.nn.sigmoid,
    loss=_fitted(sigmoid_binary_cross_entropy),
    metrics=MappingProxyType({"accuracy": _fitted(binary_accuracy)}),
    predict_label=_bit,
)
_multiclass = Problem(
    name="multiclass",
    targets="classes",
    activation=jax.nn.softmax,
    loss=_fitted(_multiclass_loss),
    metrics=MappingProxyType({"accuracy": _fitted(accuracy)}),
    predict_label=lambda outputs: jnp.argmax(outputs, -1).astype(jnp.int32),
)
_multilabel = Problem(
    name="multilabel",
    targets="bits",
    activation=jax.nn.sigmoid,
    loss=_fitted(multilabel_cross_entropy),
    metrics=MappingProxyType(
        {"exact_match": _fitted(exact_match), "label_accuracy": _fitted(binary_accuracy)}
    ),
    predict_label=_bits,
)
_regression = Problem(
    name="regression",
    targets="real",
    activation=jax.nn.identity,
    loss=_fitted(mean_squared_error),
    metrics=MappingProxyType({"mean_absolute_error": _fitted(mean_absolute_error)}),
    predict_label=jax.nn.identity,
)
_unit_regression = dataclasses.replace(
    _regression,
    name="unit_regression",
    targets="unit",
    activation=jax.nn.sigmoid,
    loss=_fitted(_of_sigmoid(mean_squared_error)),
    metrics=MappingProxyType({"mean_absolute_error": _fitted(_of_sigmoid(mean_absolute_error))}),
    predict_label=jax.nn.sigmoid,
)
_unit_regression_cross_entropy = dataclasses.replace(
    _unit_regression,
    name="unit_regression_cross_entropy",
    loss=_fitted(sigmoid_binary_cross_entropy),
)

PROBLEMS: Mapping[str, Problem] = MappingProxyType(
    {
        row.name: row
        for row in (
            _binary,
            _multiclass,
            _multilabel,
            _regression,
            _unit_regression,
            _unit_regression_cross_entropy,
        )
    }
)
