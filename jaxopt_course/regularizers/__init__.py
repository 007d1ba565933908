"""Penalties, their proximal operators, projections, and the selection of parameters.

The projections of optax (balls, simplex, box, half-spaces) are ``jaxopt_course.projections``.
"""

from ._penalties import elastic_net_penalty as elastic_net_penalty
from ._penalties import group_lasso_penalty as group_lasso_penalty
from ._penalties import l1_penalty as l1_penalty
from ._penalties import l2_penalty as l2_penalty
from ._penalties import nuclear_norm_penalty as nuclear_norm_penalty
from ._proximal import project_l2_constraint as project_l2_constraint
from ._proximal import prox_box as prox_box
from ._proximal import prox_elastic_net as prox_elastic_net
from ._proximal import prox_group_lasso as prox_group_lasso
from ._proximal import prox_l0 as prox_l0
from ._proximal import prox_l1 as prox_l1
from ._proximal import prox_l2 as prox_l2
from ._proximal import prox_nuclear as prox_nuclear
from ._proximal import prox_simplex as prox_simplex
from ._selection import by_path as by_path
from ._selection import penalty as penalty
from ._selection import weights_only as weights_only
