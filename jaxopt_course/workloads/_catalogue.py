"""The workloads of this library, by name."""

from collections.abc import Mapping
from types import MappingProxyType

from jaxopt_course.core import checks

from ._images import AUTOENCODER, BATCH_NORM, CNN_DIGITS, DEEP_SIGMOID, MLP_DIGITS
from ._linear import DIABETES, FACTORIZATION, LOGISTIC
from ._spirals import SPIRALS
from ._surfaces import QUADRATIC, ROSENBROCK
from ._text import GRU_TEXT, TRANSFORMER_TEXT
from ._workload import Workload


WORKLOADS: Mapping[str, Workload] = MappingProxyType(
    {
        own.name: own
        for own in (
            QUADRATIC,
            ROSENBROCK,
            LOGISTIC,
            DIABETES,
            FACTORIZATION,
            SPIRALS,
            MLP_DIGITS,
            BATCH_NORM,
            CNN_DIGITS,
            AUTOENCODER,
            DEEP_SIGMOID,
            GRU_TEXT,
            TRANSFORMER_TEXT,
        )
    }
)


def workload(name: str) -> Workload:
    """The workload called ``name``.

    Raises:
        ValueError: if there is none of that name.

    Examples:
        >>> workload("spirals").steps
        480
    """
    checks.choice("workload", "name", name, WORKLOADS)
    return WORKLOADS[name]
