"""Floor 1: penalties, their proximal operators, projections, and which parameters they concern.

Projections that optax has (balls, simplex, box, half-spaces) are handed on as
``jaxopt_course.projections``.
"""

from ._penalties import (
    elastic_net_penalty,
    group_lasso_penalty,
    l1_penalty,
    l2_penalty,
    nuclear_norm_penalty,
)
from ._projections import project_l2_constraint, prox_box, prox_simplex
from ._proximal import (
    prox_elastic_net,
    prox_group_lasso,
    prox_l0,
    prox_l1,
    prox_l2,
    prox_nuclear,
)
from ._selection import by_path, penalty, weights_only


__all__ = [
    "by_path",
    "elastic_net_penalty",
    "group_lasso_penalty",
    "l1_penalty",
    "l2_penalty",
    "nuclear_norm_penalty",
    "penalty",
    "project_l2_constraint",
    "prox_box",
    "prox_elastic_net",
    "prox_group_lasso",
    "prox_l0",
    "prox_l1",
    "prox_l2",
    "prox_nuclear",
    "prox_simplex",
    "weights_only",
]
