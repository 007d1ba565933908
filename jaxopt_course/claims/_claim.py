"""A claim of the course, the experiment that tries it, and the verdict, which the numbers give.

The thresholds stand in the experiments, which say before they measure what would bear them out. A
claim holds if all of its effects do, and does not hold if none does. In between it depends.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
from jaxtyping import Array, Key

from jaxopt_course.core import check_integer

from ._effects import DEPENDS, FAILS, HOLDS, Effect
from ._pictures import Picture, picture_from_json, picture_to_json


__all__ = ["QUICK_SEEDS", "SEEDS", "Claim", "Evidence", "Verdict"]

SEEDS, QUICK_SEEDS = 20, 5


class Evidence(NamedTuple):
    """What an experiment gives.

    effects: the main one first.
    condition: one sentence: under which conditions, and what the verdict hangs on.
    picture: what there is to see.
    """

    effects: tuple[Effect, ...]
    condition: str
    picture: Picture


class Verdict(NamedTuple):
    """What has become of a claim; ``print`` it.

    name: of the claim.
    claim: in one sentence.
    source: the letters of the decks that make it.
    effects: what was measured, the main effect first.
    condition: one sentence: under which conditions, and what the verdict hangs on.
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
        """Where the 95 % interval of the main effect begins."""
        return self.effects[0].low

    @property
    def high(self) -> float:
        """Where it ends."""
        return self.effects[0].high

    @property
    def verdict(self) -> str:
        """``"holds"``, ``"does not hold"`` or ``"it depends"``."""
        found = {effect.verdict for effect in self.effects}
        return HOLDS if found == {HOLDS} else FAILS if found == {FAILS} else DEPENDS

    def __str__(self) -> str:
        quick = " (quick: a try, not a result)" if self.quick else ""
        lines = [f"{self.claim} [{self.source}] {self.verdict.capitalize()}{quick}."]
        for effect in self.effects:
            least, most = effect.accepted
            lines.append(
                f"  {effect.what} {effect.value:.3g} [{effect.low:.3g}, {effect.high:.3g}], "
                f"claimed in ({least:g}, {most:g}): {effect.verdict}"
            )
        return "\n".join([*lines, f"  {self.condition} {self.seeds} seeds."])

    def as_json(self) -> dict[str, Any]:
        """Everything, in a form that JSON can write; :meth:`from_json` reads it."""
        ends = lambda accepted: [end if abs(end) < float("inf") else None for end in accepted]
        return {
            **self._asdict(),
            "verdict": self.verdict,
            "effects": [
                {**e._asdict(), "accepted": ends(e.accepted), "verdict": e.verdict}
                for e in self.effects
            ],
            "picture": picture_to_json(self.picture),
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> "Verdict":
        """The verdict that was stored; judged anew, by the stored numbers."""
        effects = []
        for each in stored["effects"]:
            low, high = each["accepted"]
            accepted = (
                float("-inf") if low is None else float(low),
                float("inf") if high is None else float(high),
            )
            value, lower, upper = (float(each[name]) for name in ("value", "low", "high"))
            effects.append(Effect(each["what"], value, lower, upper, accepted))
        plain = {name: stored[name] for name in cls._fields}
        picture = picture_from_json(stored["picture"])
        return cls(**{**plain, "effects": tuple(effects), "picture": picture})


@dataclasses.dataclass(frozen=True)
class Claim:
    """A claim of the course; call it to try it.

    Attributes:
        name: its key in ``CLAIMS``.
        sentence: what is claimed.
        source: the letters of the decks that claim it.
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
        check_integer(self.name, "seeds", count, "[2, inf)")
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
