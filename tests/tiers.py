"""Which cases of a slow test belong to every run; the others are in the exhaustive tier."""

import pytest


def everyday(cases, chosen):
    """``cases`` for ``parametrize``; those not among ``chosen`` are marked exhaustive."""
    return [x if x in chosen else exhaustive(x) for x in cases]


def everyday_first(count, cases):
    """``cases`` for ``parametrize``; those after the first ``count`` are marked exhaustive."""
    return [*list(cases)[:count], *map(exhaustive, list(cases)[count:])]


def exhaustive(case):
    """A case of one argument, or a tuple of several, in the exhaustive tier."""
    values = case if type(case) is tuple else (case,)
    return pytest.param(*values, marks=pytest.mark.exhaustive)
