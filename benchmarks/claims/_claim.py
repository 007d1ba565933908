"""A claim of the course, the experiment that tries it, and the verdict, which the numbers give.

The experiments say before they measure which numbers would bear them out, and why those: see
``_claimed``. The verdicts, and what leads to each of them, are in ``_effects``.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
from jaxtyping import Array, Key

from jaxopt_course.core import checks

from ._claimed import Claimed
from ._effects import Effect, judge_claim
from ._pictures import Picture, picture_from_json, picture_to_json


SEEDS, QUICK_SEEDS = 20, 5


class Evidence(NamedTuple):
    """What an experiment gives.

    effects: the main one first.
    condition: under which conditions, and what the verdict depends on.
    picture: what there is to see.
    """

    effects: tuple[Effect, ...]
    condition: str
    picture: Picture


class Verdict(NamedTuple):
    """What has become of a claim; ``print`` it.

    name: of the claim.
    claim: in one sentence.
    source: the letters of the parts of the course that make it.
    effects: what was measured, the main effect first.
    condition: under which conditions, and what the verdict depends on.
    picture: what there is to see.
    seeds: how many.
    quick: whether the experiment was cut short: a try, not a result.
    """

    name: str
    claim: str
    source: str
    effects: tuple[Effect, ...]
    condition: str
    picture: Picture
    seeds: int
    quick: bool

    @property
    def effect(self) -> str:
        """What the main effect is, in one sentence."""
        return self.effects[0].what

    @property
    def value(self) -> float:
        """The main effect."""
        return self.effects[0].value

    @property
    def low(self) -> float:
        """Lower end of the interval of the main effect."""
        return self.effects[0].low

    @property
    def high(self) -> float:
        """Upper end of it."""
        return self.effects[0].high

    @property
    def verdict(self) -> str:
        """``"holds"``, ``"does not hold"``, ``"it depends"`` or ``"undecided"``.

        It holds if all effects hold and does not hold if none does. It depends if some hold and
        others do not, and otherwise is undecided while an effect is.
        """
        return judge_claim(self.effects)

    def __str__(self) -> str:
        quick = " (quick: a try, not a result)" if self.quick else ""
        lines = [f"{self.claim} [{self.source}] {self.verdict.capitalize()}{quick}."]
        lines += [
            f"  {effect.what} {effect.shown} {effect.interval}, claimed {effect.claimed}: "
            f"{effect.verdict}"
            for effect in self.effects
        ]
        return "\n".join([*lines, f"  {self.condition} {self.seeds} seeds."])

    def as_json(self) -> dict[str, Any]:
        """Everything, in a form that JSON can write; :meth:`from_json` reads it."""
        return {
            **self._asdict(),
            "verdict": self.verdict,
            "effects": [_effect_to_json(effect) for effect in self.effects],
            "picture": picture_to_json(self.picture),
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> "Verdict":
        """The verdict that was stored, judged again by the stored numbers."""
        effects = tuple(map(_effect_from_json, stored["effects"]))
        plain = {name: stored[name] for name in cls._fields}
        picture = picture_from_json(stored["picture"])
        return cls(**{**plain, "effects": effects, "picture": picture})


def _effect_to_json(effect: Effect) -> dict[str, Any]:
    """JSON has no infinities: a range without an end there has None."""
    finite = lambda end: end if math.isfinite(end) else None
    fields = {name: finite(getattr(effect, name)) for name in ("low", "high")}
    least, most, reason = effect.claimed
    claimed = {"least": finite(least), "most": finite(most), "reason": reason}
    return {**effect._asdict(), **fields, "claimed": claimed, "verdict": effect.verdict}


def _effect_from_json(stored: Mapping[str, Any]) -> Effect:
    low = lambda end: -math.inf if end is None else float(end)
    high = lambda end: math.inf if end is None else float(end)
    own = stored["claimed"]
    return Effect(
        stored["what"],
        float(stored["value"]),
        low(stored["low"]),
        high(stored["high"]),
        Claimed(low(own["least"]), high(own["most"]), own["reason"]),
        stored["at_least"],
        stored["at_most"],
    )


@dataclasses.dataclass(frozen=True)
class Claim:
    """A claim of the course; call it to try it.

    Attributes:
        name: its key in ``CLAIMS``.
        sentence: what is claimed.
        source: the letters of the parts of the course that claim it.
        measure: the experiment, ``measure(key, seeds, quick) -> Evidence``.
    """

    name: str
    sentence: str
    source: str
    measure: Callable[[Any, int, bool], Evidence]

    def __call__(
        self, key: Key[Array, ""], *, seeds: int | None = None, quick: bool = False
    ) -> Verdict:
        """Measure, and judge.

        Args:
            key: of everything that is random.
            seeds: how many trainings that differ in their seed each number is taken from, in
                [2, inf). None: 20; quick: 5.
            quick: cut the trainings short, and leave the expensive ones out.

        Returns:
            The verdict, the same in a process that computes in double precision: the experiment
            computes in single.

        Raises:
            ValueError: if ``seeds`` is below 2.
        """
        count = (QUICK_SEEDS if quick else SEEDS) if seeds is None else seeds
        checks.integer(self.name, "seeds", count, "[2, inf)")
        # Other draws and other roundings would be another experiment.
        with (
            jax.enable_x64(False),
            jax.numpy_dtype_promotion("standard"),
            jax.numpy_rank_promotion("allow"),
        ):
            evidence = self.measure(key, count, quick)
        return Verdict(
            name=self.name,
            claim=self.sentence,
            source=self.source,
            effects=evidence.effects,
            condition=evidence.condition,
            picture=evidence.picture,
            seeds=count,
            quick=quick,
        )
