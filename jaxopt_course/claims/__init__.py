"""Floor 7: the course's claims as experiments, with effects, intervals over seeds, and verdicts."""

from ._catalogue import CLAIMS, claim
from ._claim import QUICK_SEEDS, SEEDS, Claim, Evidence, Verdict
from ._claimed import Claimed
from ._effects import (
    DEPENDS,
    FAILS,
    HOLDS,
    UNDECIDED,
    Effect,
    exact_effect,
    mean_effect,
    ratio_effect,
    share_effect,
)
from ._pictures import Curves, Groups
from ._tables import verdicts_markdown


__all__ = [
    "CLAIMS",
    "DEPENDS",
    "FAILS",
    "HOLDS",
    "QUICK_SEEDS",
    "SEEDS",
    "UNDECIDED",
    "Claim",
    "Claimed",
    "Curves",
    "Effect",
    "Evidence",
    "Groups",
    "Verdict",
    "claim",
    "exact_effect",
    "mean_effect",
    "ratio_effect",
    "share_effect",
    "verdicts_markdown",
]
