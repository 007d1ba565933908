"""Which cases of a slow test belong to every run; the others are in the exhaustive tier."""

import pytest


def everyday(cases, chosen):
    """``cases`` for ``parametrize``; those not among ``chosen`` are marked exhaustive."""
    return [x if x in chosen else pytest.param(x, marks=pytest.mark.exhaustive) for x in cases]
