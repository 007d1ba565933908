"""The claims of the course, by name, in its order."""

from collections.abc import Mapping
from types import MappingProxyType

from jaxopt_course.core import checks

from ._adagrad_cost import ADAGRAD_COST
from ._adagrad_rate import ADAGRAD_RATE
from ._adam_convergence import ADAM_CONVERGENCE
from ._batch_memory import BATCH_MEMORY
from ._batch_norm import BATCH_NORMALIZATION
from ._batch_size import BATCH_SIZE
from ._biases import BIASES
from ._capacity import CAPACITY
from ._claim import Claim
from ._clipping import CLIPPING
from ._covariate_shift import COVARIATE_SHIFT
from ._decision_boundary import DECISION_BOUNDARY
from ._defaults import DEFAULTS
from ._depth import DEPTH
from ._double_descent import DOUBLE_DESCENT
from ._dropout_ensemble import DROPOUT_ENSEMBLE
from ._dropout_l2 import DROPOUT_L2
from ._dying_steps import DYING_STEPS
from ._initial_variance import INITIAL_VARIANCE
from ._l2_contours import L2_CONTOURS
from ._local_minima import LOCAL_MINIMA
from ._momentum import MOMENTUM
from ._norm_regularizes import NORM_REGULARIZES
from ._rare_features import RARE_FEATURES
from ._scaling import SCALING
from ._scarce_data import SCARCE_DATA
from ._schedule import SCHEDULE
from ._search_methods import SEARCH_METHODS
from ._single_steps import SINGLE_STEPS
from ._smaller_models import SMALLER_MODELS
from ._sparsity import SPARSITY
from ._storage import STORAGE
from ._twenty_examples import TWENTY_EXAMPLES
from ._vanishing import VANISHING


CLAIMS: Mapping[str, Claim] = MappingProxyType(
    {
        own.name: own
        for own in (
            MOMENTUM,
            BATCH_SIZE,
            DYING_STEPS,
            DEFAULTS,
            SCHEDULE,
            SCALING,
            BATCH_NORMALIZATION,
            INITIAL_VARIANCE,
            VANISHING,
            SPARSITY,
            SCARCE_DATA,
            DROPOUT_ENSEMBLE,
            CAPACITY,
            SEARCH_METHODS,
            DOUBLE_DESCENT,
            CLIPPING,
            DROPOUT_L2,
            NORM_REGULARIZES,
            BIASES,
            LOCAL_MINIMA,
            RARE_FEATURES,
            STORAGE,
            SINGLE_STEPS,
            TWENTY_EXAMPLES,
            DEPTH,
            ADAGRAD_RATE,
            ADAGRAD_COST,
            ADAM_CONVERGENCE,
            BATCH_MEMORY,
            COVARIATE_SHIFT,
            DECISION_BOUNDARY,
            L2_CONTOURS,
            SMALLER_MODELS,
        )
    }
)


def claim(name: str) -> Claim:
    """The claim called ``name``; call it to try it.

    Raises:
        ValueError: if there is none of that name.

    Examples:
        >>> import jax
        >>> claim("storage")(jax.random.key(0)).verdict
        'does not hold'
    """
    checks.choice("claim", "name", name, CLAIMS)
    return CLAIMS[name]
