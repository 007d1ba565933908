"""Diagnose a training by its curves: underfitting, overfitting, or a bad learning rate.

The rules depend on the shape of the curves, not on their unit. The achievable decrease is the first
loss minus that of a perfect model.

    diverged            the loss is not finite at the end, or higher than at the start
    underfitting        the training loss decreases by less than half of the achievable (bias)
    overfitting         the validation loss ends above the training loss by more than a tenth of the
                        achievable decrease (variance), or it has risen from its minimum by more
                        than a tenth of its decrease up to there
    rate too small      at least a tenth of the decrease happens in the last fifth
    rate too large      the loss rises about as often as it falls, by more than it decreases in all
    batch too small     the loss decreases, but changes between evaluations are mostly noise

A training can have both bias and variance. An accuracy a is treated as the loss 1 - a, whose
achievable decrease is 1.

Reference: the remedies are those of the course; the reading of curves follows Goodfellow, Bengio
& Courville, "Deep Learning", 2016, section 11.3, and Ng, "Machine Learning Yearning", 2018,
chapters 20 to 27.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from jaxopt_course.core import checks


BIAS = 0.5  # of the achievable decrease: a smaller decrease is underfitting
GAP = 0.1  # of the achievable decrease: a larger gap of validation to training is overfitting
RISE = 0.1  # of the decrease of the validation loss: a larger rise afterwards is overfitting
FEWEST = 4  # evaluations
REMEDIES = {
    "diverged": "Lower the learning rate, clip the gradients, scale the inputs.",
    "underfitting": (
        "Train longer, use a larger model or another one, a better optimizer or rate, less "
        "regularization."
    ),
    "overfitting": (
        "Get more data or augment it, regularize (L2, L1, dropout), stop early, use a smaller "
        "model."
    ),
    "learning rate too small": "Use a larger rate, or train longer.",
    "learning rate too large": "Use a smaller rate, or one that decays.",
    "batch too small": "Use larger batches, or a rate that decays.",
    "good": "Evaluate it on the test data, once.",
}


class Finding(NamedTuple):
    """One diagnosis.

    name: "diverged", "underfitting", "overfitting", "learning rate too small", "learning rate
        too large", "batch too small" or "good".
    evidence: a sentence with the numbers behind it.
    remedy: what to try.
    """

    name: str
    evidence: str
    remedy: str


class DiagnosisReport(NamedTuple):
    """The findings of :func:`diagnose`, at least one, the most serious first; ``print`` it."""

    findings: list[Finding]

    @property
    def names(self) -> list[str]:
        """The names of all findings."""
        return [finding.name for finding in self.findings]

    def __str__(self) -> str:
        return "\n".join(f"{f.name.capitalize()}: {f.evidence} {f.remedy}" for f in self.findings)


class _Curves(NamedTuple):
    """The curves of a loss, or of 1 - accuracy, up to the end of the training.

    name: "loss" or "accuracy".
    training: f[evaluations].
    validation: f[evaluations]; empty without validation.
    attainable: the value of a perfect model.
    range: the achievable decrease.
    """

    name: str
    training: np.ndarray
    validation: np.ndarray
    attainable: float
    range: float

    def shown(self, value: float) -> str:
        """A value as it is in the history."""
        return f"{1 - value if self.name == 'accuracy' else value:.3g}"


def diagnose(history: Mapping[str, Any], *, attainable: float = 0.0) -> DiagnosisReport:
    """Diagnose a training by its history.

    Args:
        history: history of a :class:`~jaxopt_course.training.Run`, or columns of a log, with at
            least four evaluations of ``"loss"``, ``"accuracy"`` or both, and optionally of
            ``"validation_loss"`` and ``"validation_accuracy"``. If both are given, the loss decides
            on bias, learning rate and batch size, and both on variance. NaN entries after the end
            of the training are ignored.
        attainable: the loss of a perfect model, such as the entropy of the labels or the variance
            of the noise.

    Examples:
        >>> history = {"loss": [2.0, 1.0, 0.5, 0.2, 0.1], "validation_loss": [2, 1.2, 1, 1.1, 1.1]}
        >>> print(diagnose(history))
        Overfitting: the loss ended at 0.1 on training and at 1.1 on validation data, and the \
validation loss was 1 at evaluation 3 of 5 and ended at 1.1. Get more data or augment it, \
regularize (L2, L1, dropout), stop early, use a smaller model.
    """
    checks.number("diagnose", "attainable", attainable)
    names = [name for name in ("loss", "accuracy") if name in history]
    if not names:
        raise ValueError(
            f"diagnose: `history` must have 'loss' or 'accuracy', got {sorted(history)}."
        )
    evidence = _of_divergence(history, names[0])
    if evidence:
        return _report([("diverged", evidence)])
    curves = [_curves(history, name, attainable) for name in names]
    first = curves[0]
    if len(first.training) < FEWEST:
        raise ValueError(
            f"diagnose: `history` must have {FEWEST} evaluations or more, got "
            f"{len(first.training)}."
        )
    begin, end = first.shown(first.training[0]), first.shown(first.training[-1])
    good = ("good", f"the training {first.name} went from {begin} to {end}, and has settled.")
    return _report([*_of_bias(first), *_of_variance(curves), *_of_rate(first)] or [good])


def _report(found: Iterable[tuple[str, str]]) -> DiagnosisReport:
    """The report of names and evidence."""
    return DiagnosisReport([Finding(name, evidence, REMEDIES[name]) for name, evidence in found])


def _of_divergence(history: Mapping[str, Any], name: str) -> str:
    """The evidence that the training diverged; empty if it did not."""
    training = np.asarray(history[name], float)
    finite = np.flatnonzero(np.isfinite(training))
    if not finite.size or np.isinf(training).any():
        return f"the training {name} is not finite."
    end = finite[-1] + 1
    first, last = training[0], training[end - 1]
    if last < first if name == "accuracy" else last > first:
        return f"the training {name} went from {first:.3g} to {last:.3g}."
    validation = np.asarray(history.get(f"validation_{name}", []), float)[:end]
    if validation.size and not np.isfinite(validation[-1]) and not np.isnan(validation).all():
        return f"the validation {name} is not finite."
    return ""


def _curves(history: Mapping[str, Any], name: str, attainable: float) -> _Curves:
    training = np.asarray(history[name], float)
    training = training[: np.flatnonzero(np.isfinite(training))[-1] + 1]  # NaN follows the end
    validation = np.asarray(history.get(f"validation_{name}", []), float)[: len(training)]
    validation = validation[np.isfinite(validation)]
    if name == "accuracy":
        training, validation, attainable, possible = 1 - training, 1 - validation, 0.0, 1.0
    else:
        possible = float(max([training[0], *validation[:1]]) - attainable)
    return _Curves(name, training, validation, attainable, possible)


def _of_bias(curves: _Curves) -> Iterator[tuple[str, str]]:
    won = curves.training[0] - curves.training.min()
    possible = curves.training[0] - curves.attainable
    if won < BIAS * possible:
        text = f"the training {curves.name} improved by {won:.3g} of an achievable {possible:.3g}."
        yield "underfitting", text


def _of_variance(all_curves: list[_Curves]) -> Iterator[tuple[str, str]]:
    said = [sentence for own in all_curves if own.validation.size for sentence in _gaps(own)]
    if said:
        yield "overfitting", f"{', and '.join(said)}."


def _gaps(curves: _Curves) -> Iterator[str]:
    """Whether validation ends above training, and whether it has risen from its minimum."""
    name, shown, validation = curves.name, curves.shown, curves.validation
    training, best, last = curves.training[-1], validation.min(), validation[-1]
    if last - training > GAP * curves.range:
        yield (
            f"the {name} ended at {shown(training)} on training and at {shown(last)} on validation "
            "data"
        )
    if last - best > RISE * (validation[0] - best):
        yield (
            f"the validation {name} was {shown(best)} at evaluation {validation.argmin() + 1} of "
            f"{len(validation)} and ended at {shown(last)}"
        )


def _of_rate(curves: _Curves) -> Iterator[tuple[str, str]]:
    loss, attainable = curves.training, curves.attainable
    steps = np.diff(loss)
    won = loss[0] - loss[-1]
    up = steps[steps > 0].sum()
    late = loss[-1 - max(1, len(loss) // 5)] - loss[-1]
    rises = float(np.mean(steps > 0))
    evidence = (
        f"{rises:.0%} of the changes are increases, by {up:.3g} in all, and the total decrease is "
        f"{won:.3g}."
    )
    if rises >= 0.4 and up > won:
        yield "learning rate too large", evidence
    elif rises >= 0.3 and up > won / 4:
        yield "batch too small", evidence
    elif late > 0.1 * won and loss[-1] - attainable > 0.1 * (loss[0] - attainable):
        text = f"{late:.3g} of the decrease of {won:.3g} happened in the last fifth."
        yield "learning rate too small", text
