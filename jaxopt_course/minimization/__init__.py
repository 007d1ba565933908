"""Minimization of plain functions by any gradient transformation."""

from ._minimize import MinimizeOutcome as MinimizeOutcome
from ._minimize import Minimum as Minimum
from ._minimize import minimize as minimize
from ._trajectory import trajectory as trajectory
