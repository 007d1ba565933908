"""The ranges that claims say their numbers lie in: the least effect that counts, and why that size.

They are set before anything is measured. Most are common to all claims about one quantity: a loss
that differs by less than 5 %, or a cost that differs by less than a fifth, counts as the same.
"""

import math
from typing import NamedTuple


class Claimed(NamedTuple):
    """The range that a claim says a number lies in, strictly between the two ends.

    least: its lower end; -inf: there is none.
    most: its upper end; inf: there is none.
    reason: why the ends lie there, as half a sentence.
    """

    least: float
    most: float
    reason: str = ""

    def __str__(self) -> str:
        if math.isinf(self.most):
            return f"above {self.least:.3g}"
        if math.isinf(self.least):
            return f"below {self.most:.3g}"
        return f"{self.least:.3g} to {self.most:.3g}"


LEAST_LOSS, LEAST_COST = 1.05, 1.2
_LOSS = "a loss that differs by less than 5 % counts as the same"
_COST = "a cost that differs by less than a fifth counts as the same"

LARGER_LOSS = Claimed(LEAST_LOSS, math.inf, _LOSS)
BETTER_LOSS = Claimed(-math.inf, 1 / LEAST_LOSS, _LOSS)
NOT_BETTER_LOSS = Claimed(1 / LEAST_LOSS, math.inf, _LOSS)
SAME_LOSS = Claimed(1 / LEAST_LOSS, LEAST_LOSS, _LOSS)
LARGER_LOSS_GAIN = Claimed(math.log(LEAST_LOSS), math.inf, _LOSS)  # of a difference of log losses
LARGER_COST = Claimed(LEAST_COST, math.inf, _COST)
SMALLER_COST = Claimed(-math.inf, 1 / LEAST_COST, _COST)
