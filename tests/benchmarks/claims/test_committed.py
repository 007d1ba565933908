"""The committed results are those of the code: whole, judged as they would be now, and measured
again where that is cheap.
"""

import json
import pathlib
import re
from collections import Counter

import jax
import numpy as np
import pytest

from benchmarks.claims import CLAIMS, DEPENDS, FAILS, HOLDS, UNDECIDED, Verdict, claim
from benchmarks.claims import verdicts_markdown as table_of
from benchmarks.claims._effects import COMPARISONS
from tests.tiers import everyday_first


ROOT = pathlib.Path(__file__).parents[3]
RESULTS = ROOT / "benchmarks" / "results" / "claims"
RECORD = json.loads((RESULTS / "claims.json").read_text())
STORED = {own["name"]: Verdict.from_json(own) for own in RECORD["claims"]}


def test_all_claims_were_measured_in_full():
    assert list(STORED) == list(CLAIMS)
    assert not RECORD["quick"]
    for name, verdict in STORED.items():
        assert verdict.claim == CLAIMS[name].sentence
        assert verdict.seeds == RECORD["seeds"] >= 10
        assert not verdict.quick
        assert (RESULTS / f"{name}.png").exists()


def test_the_intervals_are_corrected_for_as_many_effects_as_there_are():
    assert sum(len(verdict.effects) for verdict in STORED.values()) == COMPARISONS


def test_each_effect_has_a_least_size_with_its_reason():
    for verdict in STORED.values():
        for effect in verdict.effects:
            assert effect.claimed.reason, effect.what
            assert effect.claimed.least < effect.claimed.most


def test_the_stored_verdicts_are_those_of_the_stored_numbers():
    for own in RECORD["claims"]:
        verdict = STORED[own["name"]]
        assert verdict.verdict == own["verdict"]
        assert [e.verdict for e in verdict.effects] == [e["verdict"] for e in own["effects"]]


def test_the_page_is_that_of_the_stored_numbers():
    assert (RESULTS / "report.md").read_text() == table_of(STORED.values())


def test_the_readme_counts_the_verdicts():
    counts = Counter(verdict.verdict for verdict in STORED.values())
    text = re.sub(r"\s+", " ", (ROOT / "README.md").read_text())
    said = re.search(
        r"(\d+) hold, (\d+) depend on a condition that is named, (\d+) do(?:es)? not hold and "
        r"(\d+) (?:is|are) undecided",
        text,
    )
    assert said is not None
    found = [counts[verdict] for verdict in (HOLDS, DEPENDS, FAILS, UNDECIDED)]
    assert [int(number) for number in said.groups()] == found


def test_a_number_without_an_interval_is_a_bound_and_says_so():
    bounds = [
        effect
        for verdict in STORED.values()
        for effect in verdict.effects
        if effect.at_least or effect.at_most
    ]
    assert bounds
    page = (RESULTS / "report.md").read_text()
    for effect in bounds:
        assert effect.shown.startswith((">= ", "<= ")) or "neither" in effect.shown
        assert f"| {effect.shown} | {effect.interval} |" in page
    assert all(np.isfinite([e.low, e.high]).all() for e in _others(bounds))


def _others(bounds):
    every = [effect for verdict in STORED.values() for effect in verdict.effects]
    return [effect for effect in every if effect not in bounds]


@pytest.mark.parametrize(
    "name", everyday_first(1, ["storage", "momentum", "sparsity", "initial_variance"])
)
def test_a_cheap_claim_gives_the_committed_numbers_again(name):
    found = claim(name)(jax.random.key(RECORD["seed"]), seeds=RECORD["seeds"])
    for new, old in zip(found.effects, STORED[name].effects, strict=True):
        assert new.what == old.what
        # Rounding in other programs moves a path that counts steps by one of some hundred.
        np.testing.assert_allclose(new[1:4], old[1:4], rtol=1e-2, atol=1e-3)
    assert found.verdict == STORED[name].verdict
