"""What a history of losses says: too little learned, too much, or what is wrong with the rate.

The rules, each of which looks at the shape of the curves and not at their unit:

    diverged            the loss is not finite at the end, or above where it began
    underfitting        on the training data the loss wins less than half of what it could (bias)
    overfitting         at the end the validation loss is above the training loss by more than a
                        tenth of what there was to win (variance), or it has risen from its best by
                        more than a tenth of what it had won
    rate too small      the loss still falls steadily: a tenth of all it won in the last fifth
    rate too large      the loss goes up as often as down, by more than it wins
    batch too small     the loss falls, but from one evaluation to the next it is mostly noise

Bias and variance are judged for themselves: a training can have both. Of an accuracy a, the error
1 - a is read as a loss, of which there is 1 to win.

Reference: the remedies are those of the course; the reading of curves follows Goodfellow, Bengio
& Courville, "Deep Learning", 2016, section 11.3, and Ng, "Machine Learning Yearning", 2018,
chapters 20 to 27.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from jaxopt_course.core import checks


BIAS = 0.5  # of what there is to win; to win less on the training data is underfitting
GAP = 0.1  # of what there is to win; validation further above training is overfitting
RISE = 0.1  # of what validation had won; to lose more of it again is overfitting
FEWEST = 4  # evaluations that make a curve
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
    "good": "Test it, once.",
}


class Finding(NamedTuple):
    """One thing that the curves say.

    name: "diverged", "underfitting", "overfitting", "learning rate too small", "learning rate
        too large", "batch too small" or "good".
    evidence: the numbers behind it, in a sentence.
    remedy: what to try.
    """

    name: str
    evidence: str
    remedy: str


class DiagnosisReport(NamedTuple):
    """What :func:`diagnose` found, the gravest first.

    findings: at least one.
    """

    findings: list[Finding]

    @property
    def names(self) -> list[str]:
        """Of all findings."""
        return [finding.name for finding in self.findings]

    def __str__(self) -> str:
        return "\n".join(f"{f.name.capitalize()}: {f.evidence} {f.remedy}" for f in self.findings)


class _Curves(NamedTuple):
    """What is read as a loss: a loss, or one minus an accuracy.

    name: "loss" or "accuracy".
    training: f[evaluations], up to the end of the training.
    validation: likewise; None without validation.
    attainable: the value of a perfect model.
    range: what there is to win.
    """

    name: str
    training: np.ndarray
    validation: np.ndarray | None
    attainable: float
    range: float

    def shown(self, value: float) -> str:
        """A value as the history has it."""
        return f"{1 - value if self.name == 'accuracy' else value:.3g}"


def diagnose(history: Mapping[str, Any], *, attainable: float = 0.0) -> DiagnosisReport:
    """Read the curves of a training.

    Args:
        history: of a :class:`~jaxopt_course.training.Run`, or columns of a log, one entry an
            evaluation, at least four: ``"loss"`` or ``"accuracy"``, or both, and where there was
            validation ``"validation_loss"`` or ``"validation_accuracy"``. Where both are there,
            bias, rate and batch are judged by the loss, and variance by both. Entries after the
            end, NaN, are left out.
        attainable: the loss that a perfect model would have: the entropy of the labels, the
            variance of the noise.

    Returns:
        The report; ``print`` it.

    Raises:
        ValueError: if there is neither ``"loss"`` nor ``"accuracy"``, or it is too short.

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
    diverged = _of_divergence(history, names[0])
    if diverged:
        return DiagnosisReport([_finding("diverged", diverged)])
    curves = [_curves(history, name, attainable) for name in names]
    first = curves[0]
    if len(first.training) < FEWEST:
        raise ValueError(
            f"diagnose: `history` must have {FEWEST} evaluations or more, got "
            f"{len(first.training)}."
        )
    findings = [*_of_bias(first), *_of_variance(curves), *_of_rate(first)]
    if not findings:
        begin, end = first.shown(first.training[0]), first.shown(first.training[-1])
        evidence = f"the training {first.name} went from {begin} to {end}, and has settled."
        findings = [_finding("good", evidence)]
    return DiagnosisReport(findings)


def _of_divergence(history: Mapping[str, Any], name: str) -> str:
    """Why the training counts as diverged, in a sentence; empty if it does not."""
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
    return _Curves(name, training, validation if validation.size else None, attainable, possible)


def _of_bias(curves: _Curves) -> list[Finding]:
    won = curves.training[0] - curves.training.min()
    possible = curves.training[0] - curves.attainable
    if won >= BIAS * possible:
        return []
    evidence = f"the training {curves.name} won {won:.3g} of the {possible:.3g} there are."
    return [_finding("underfitting", evidence)]


def _of_variance(curves: list[_Curves]) -> list[Finding]:
    said = [sentence for own in curves for sentence in (_gap(own), _rise(own)) if sentence]
    return [_finding("overfitting", f"{', and '.join(said)}.")] if said else []


def _gap(curves: _Curves) -> str:
    """What a validation curve that ends above that of training says."""
    if curves.validation is None:
        return ""
    training, validation = curves.training[-1], curves.validation[-1]
    if validation - training <= GAP * curves.range:
        return ""
    return (
        f"the {curves.name} ended at {curves.shown(training)} on training and at "
        f"{curves.shown(validation)} on validation data"
    )


def _rise(curves: _Curves) -> str:
    """What a validation curve that has left its best says."""
    if curves.validation is None:
        return ""
    best, last = curves.validation.min(), curves.validation[-1]
    if last - best <= RISE * (curves.validation[0] - best):
        return ""
    return (
        f"the validation {curves.name} was {curves.shown(best)} at evaluation "
        f"{int(curves.validation.argmin()) + 1} of {len(curves.validation)} and ended at "
        f"{curves.shown(last)}"
    )


def _of_rate(curves: _Curves) -> list[Finding]:
    loss, attainable = curves.training, curves.attainable
    steps = np.diff(loss)
    won = loss[0] - loss[-1]
    up = steps[steps > 0].sum()
    late = loss[-1 - max(1, len(loss) // 5)] - loss[-1]
    rises = float(np.mean(steps > 0))
    evidence = f"{rises:.0%} of the steps go up, by {up:.3g} in all, against {won:.3g} won."
    if rises >= 0.4 and up > won:
        return [_finding("learning rate too large", evidence)]
    if rises >= 0.3 and up > won / 4:
        return [_finding("batch too small", evidence)]
    if late > 0.1 * won and loss[-1] - attainable > 0.1 * (loss[0] - attainable):
        evidence = f"the last fifth won {late:.3g} of {won:.3g}, and the curve has not settled."
        return [_finding("learning rate too small", evidence)]
    return []


def _finding(name: str, evidence: str) -> Finding:
    return Finding(name, evidence, REMEDIES[name])
