"""Problems: a table from the type of a problem to its output activation, loss and metrics.

    problem                         activation   loss of an example
    binary                          sigmoid      binary cross-entropy
    multiclass                      softmax      categorical cross-entropy
    next_byte                       softmax      categorical cross-entropy
    multilabel                      sigmoid      binary cross-entropy, summed over the labels
    regression                      none         mean squared error
    unit_regression                 sigmoid      mean squared error, targets in [0, 1]
    unit_regression_cross_entropy   sigmoid      binary cross-entropy, targets in [0, 1]

Losses, metrics and labels take the outputs of a model before the activation (logits, if there is
one). Outputs are converted to float32 or wider first, so losses neither overflow nor lose digits in
half precision. If an example has several outcomes (pixels, positions of a sequence), its loss is
their mean. ``next_byte`` is ``multiclass`` for language models over bytes, with the metric
``bits_per_byte``.
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
from jaxopt_course.metrics import (
    accuracy,
    binary_accuracy,
    bits_per_byte,
    exact_match,
    mean_absolute_error,
)


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

    Outputs have the shape [batch, n_outputs]. Targets have the same shape, or [batch] if there is
    one output. Targets of ``multiclass`` are class indices [batch] or one-hot rows
    [batch, n_outputs].

    Attributes:
        name: the key in ``PROBLEMS``.
        targets: the allowed targets: ``"bits"`` (0 or 1, or a probability in [0, 1]),
            ``"classes"``, finite ``"real"`` numbers, numbers of the ``"unit"`` interval [0, 1], or
            ``"any"`` values. Trainings and evaluations refuse other concrete targets; a problem
            with a custom loss may need ``"any"``.
        activation: function from outputs to predictions: probabilities, or numbers in the unit of
            the targets.
        loss: function from (outputs, targets) to losses f[batch], in float32 or wider.
        metrics: map from names to functions from (outputs, targets) to values f[batch].
        predict_label: function from outputs to labels: class indices [batch], 0 or 1 for each label
            [batch, n_outputs], or the prediction itself.
    """

    name: str
    targets: str
    activation: Callable[[Array], Array]
    loss: PerExample
    metrics: Mapping[str, PerExample]
    predict_label: Callable[[Array], Array]

    def n_outputs(self, targets: ArrayLike) -> int:
        """The number of outputs that a model needs for the targets of a whole data set."""
        values = _concrete("n_outputs", targets)
        if values.ndim > 1:
            return values.shape[-1]
        return int(values.max()) + 1 if self.targets == "classes" else 1


def problem(name: str) -> Problem:
    """The problem called ``name``.

    Examples:
        >>> losses = problem("multiclass").loss(jnp.zeros((1, 4)), jnp.array([2]))
        >>> round(float(losses[0]), 4)  # log(4)
        1.3863
    """
    checks.choice("problem", "name", name, PROBLEMS)
    return PROBLEMS[name]


def infer_problem(targets: ArrayLike) -> Problem:
    """Guess the problem of ``targets`` from their dtype and shape.

    Floats are ``regression``. A vector of integers or bools is ``binary`` if all are 0 or 1, else
    ``multiclass``. A matrix of them is ``multiclass`` if every row is one-hot, else ``multilabel``.
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
        targets: concrete targets of the data set, [rows] or [rows, n_outputs].
        n_outputs: number of outputs of the model; for ``"classes"`` the number of classes.

    Raises:
        TypeError: if the targets are traced or not numbers, or class indices are not integers.
        ValueError: if their shape does not fit or a value is not allowed.

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
    """Raise unless the problem allows these values of the targets.

    It looks only at values, since the loss checks shapes while it is traced.

    Args:
        owner: name of the calling function, for the message.
        problem: the row of the table.
        values: consecutive rows of concrete targets.
        outputs: shape of the outputs of one example. Class indices are checked only if it is given.
        first_row: index of the first row of ``values``.
        used: mask of the rows of all targets to check; None means all rows.
    """
    allowed = _allowed(owner, problem, values, outputs)
    if allowed is None or values.size == 0:
        return
    rule, low, high = allowed
    # Two passes without temporaries. NaN propagates, and comparisons with it are False.
    with np.errstate(invalid="ignore"):  # NumPy warns about NaN in half precision
        least, largest = float(values.min()), float(values.max())
    if not (low <= least and largest <= high):
        wide = values.astype(np.float64)
        _require(owner, problem, rule, values, (wide >= low) & (wide <= high), first_row, used)
    if problem.targets == "classes" and high == 1 and values.shape[1:] == outputs:
        sums = values.sum(-1, dtype=np.float64)
        rule = "have rows that sum to 1"
        # 1e-2 allows for rows of half-precision probabilities
        _require(owner, problem, rule, sums, np.abs(sums - 1) < 1e-2, first_row, used)


def _allowed(
    owner: str, problem: Problem, values: np.ndarray, outputs: tuple[int, ...]
) -> tuple[str, float, float] | None:
    """The rule for these targets in words, its lower and its upper bound; None without a rule."""
    if problem.targets == "any":
        return None
    _check_numbers(owner, values.dtype)
    if problem.targets == "real":
        largest = float(np.finfo(np.float64).max)
        return "be finite", -largest, largest
    if problem.targets != "classes" or (len(outputs) > 0 and values.shape[1:] == outputs):
        return "lie in [0, 1]", 0.0, 1.0
    if values.shape[1:] != outputs[:-1] or outputs[-1:] < (2,):
        return None  # the loss raises for this shape
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
    """Raise if an entry of a used row is not ``good``; the message names the first one."""
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
            f"{owner}: targets must be real numbers, got {dtype}; map names to class indices first."
        )


def _concrete(owner: str, targets: ArrayLike) -> np.ndarray:
    """``targets`` as a NumPy array of at least one row of numbers."""
    if checks.is_traced(targets):
        raise TypeError(f"{owner}: `targets` must be concrete; call it outside jit and vmap.")
    values = np.asarray(targets)
    _check_numbers(owner, values.dtype)
    if values.ndim == 0 or values.size == 0:
        raise ValueError(f"{owner}: targets must have at least one row, got shape {values.shape}.")
    return values


def _fitted(function: PerExample) -> PerExample:
    """``function`` of widened outputs and targets of the same shape, averaged over outcomes.

    Targets [batch] are reshaped to fit outputs [batch, 1], and the reverse. For all other
    differences in shape ``function`` raises.
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
    if outputs.shape[-1] < 2:  # the softmax of a single output is 1
        raise ValueError(
            "multiclass: outputs must have the shape [batch, classes] with classes in [2, inf), "
            f"got the shape {outputs.shape}."
        )
    if targets.ndim == outputs.ndim:
        return softmax_cross_entropy(outputs, targets)
    return softmax_cross_entropy_with_integer_labels(outputs, targets)


def _bits_of_bytes(outputs: Array, targets: Array) -> Array:
    return bits_per_byte(_multiclass_loss(outputs, targets))


def _largest(outputs: Float[Array, "batch classes"]) -> Shaped[Array, "batch"]:
    return jnp.argmax(outputs, -1).astype(jnp.int32)


def _bits(outputs: Float[Array, "..."]) -> Shaped[Array, "..."]:
    return (outputs > 0).astype(jnp.int32)


def _bit(outputs: Float[Array, "..."]) -> Shaped[Array, "..."]:
    return _bits(outputs[..., 0] if outputs.shape[1:] == (1,) else outputs)


def _row(
    name: str,
    targets: str,
    activation: Callable[[Array], Array],
    loss: PerExample,
    metrics: Mapping[str, PerExample],
    predict_label: Callable[[Array], Array],
) -> Problem:
    """A problem whose loss and metrics are :func:`_fitted`."""
    fitted = {key: _fitted(metric) for key, metric in metrics.items()}
    return Problem(
        name=name,
        targets=targets,
        activation=activation,
        loss=_fitted(loss),
        metrics=MappingProxyType(fitted),
        predict_label=predict_label,
    )


_MAE = {"mean_absolute_error": mean_absolute_error}
_UNIT_MAE = {"mean_absolute_error": _of_sigmoid(mean_absolute_error)}
_MATCHES = {"exact_match": exact_match, "label_accuracy": binary_accuracy}
_OF_BYTES = {"accuracy": accuracy, "bits_per_byte": _bits_of_bytes}
_LOGISTIC = sigmoid_binary_cross_entropy
_sigmoid, _softmax, _identity = jax.nn.sigmoid, jax.nn.softmax, jax.nn.identity
_rows = (
    _row("binary", "bits", _sigmoid, _LOGISTIC, {"accuracy": binary_accuracy}, _bit),
    _row("multiclass", "classes", _softmax, _multiclass_loss, {"accuracy": accuracy}, _largest),
    _row("next_byte", "classes", _softmax, _multiclass_loss, _OF_BYTES, _largest),
    _row("multilabel", "bits", _sigmoid, multilabel_cross_entropy, _MATCHES, _bits),
    _row("regression", "real", _identity, mean_squared_error, _MAE, _identity),
    _row("unit_regression", "unit", _sigmoid, _of_sigmoid(mean_squared_error), _UNIT_MAE, _sigmoid),
    _row("unit_regression_cross_entropy", "unit", _sigmoid, _LOGISTIC, _UNIT_MAE, _sigmoid),
)
PROBLEMS: Mapping[str, Problem] = MappingProxyType({row.name: row for row in _rows})
