"""What a history of losses says: too little learned, too much, or what is wrong with the rate.

The rules, each of which looks at the shape of the curves and not at their unit:

    diverged            the loss ends as no number, or above where it began
    underfitting        on the training data the loss wins less than half of what it could
    overfitting         the validation loss has risen from its best by a tenth of what it had won
    rate too small      the loss still falls steadily: a tenth of all it won in the last fifth
    rate too large      the loss goes up as often as down, by more than it wins
    batch too small     the loss falls, but from one evaluation to the next it is mostly noise

Reference: the remedies are those of the course; the reading of curves follows Goodfellow, Bengio
& Courville, "Deep Learning", 2016, section 11.3.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from jaxopt_course.core import check_number


__all__ = ["DiagnosisReport", "Finding", "diagnose"]

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


def diagnose(history: Mapping[str, Any], *, attainable: float = 0.0) -> DiagnosisReport:
    """Read the curves of a training.

    Args:
        history: of a :class:`~jaxopt_course.training.Run`, or columns of a log: ``"loss"`` and,
            where there was validation, ``"validation_loss"``, one entry an evaluation, at least
            four. Entries after the end, NaN, are left out.
        attainable: the loss that a perfect model would have: the entropy of the labels, the
            variance of the noise.

    Returns:
        The report; ``print`` it.

    Raises:
        ValueError: if there is no ``"loss"`` or it is too short.

    Examples:
        >>> history = {"loss": [2.0, 1.0, 0.5, 0.2, 0.1], "validation_loss": [2, 1.2, 1, 1.4, 1.8]}
        >>> print(diagnose(history).names)
        ['overfitting']
    """
    check_number("diagnose", "attainable", attainable)
    if "loss" not in history:
        raise ValueError(f"diagnose: `history` must have 'loss', got {sorted(history)}.")
    loss = np.asarray(history["loss"], float)
    finite = np.flatnonzero(np.isfinite(loss))
    if not finite.size or np.isinf(loss).any():
        return DiagnosisReport([_finding("diverged", "the training loss is not finite.")])
    loss = loss[: finite[-1] + 1]  # NaN follows the end of a run
    if loss[-1] > loss[0]:
        evidence = f"the training loss went from {loss[0]:.3g} to {loss[-1]:.3g}."
        return DiagnosisReport([_finding("diverged", evidence)])
    if len(loss) < 4:
        raise ValueError(f"diagnose: `history` must have 4 evaluations or more, got {len(loss)}.")
    findings = [*_of_fit(loss, history, attainable), *_of_rate(loss, attainable)]
    if not findings:
        evidence = f"the training loss fell from {loss[0]:.3g} to {loss[-1]:.3g}, and has settled."
        findings = [_finding("good", evidence)]
    return DiagnosisReport(findings)


def _of_fit(loss: np.ndarray, history: Mapping[str, Any], attainable: float) -> list[Finding]:
    findings = []
    won, possible = loss[0] - loss.min(), loss[0] - attainable
    if won < possible / 2:
        evidence = f"the training loss won {won:.3g} of the {possible:.3g} there are."
        findings.append(_finding("underfitting", evidence))
    if "validation_loss" in history:
        validation = np.asarray(history["validation_loss"], float)[: len(loss)]
        best, last = np.nanmin(validation), validation[-1]
        if not last - best <= 0.1 * abs(validation[0] - best):
            evidence = (
                f"the validation loss was {best:.3g} at evaluation "
                f"{int(np.nanargmin(validation)) + 1} of {len(validation)} and ended at {last:.3g}."
            )
            findings.append(_finding("overfitting", evidence))
    return findings


def _of_rate(loss: np.ndarray, attainable: float) -> list[Finding]:
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
