"""What concerns the size of batches and of models: noise scales."""

from jaxopt_course import transforms
from tests.catalogue.member import Member


def monitored(batch_size, k, decay):
    """The measurement where it belongs."""
    measure = transforms.measure_noise_scale(batch_size, k, decay)
    return transforms.monitor({"noise": measure})


MEMBERS = {
    "measure_noise_scale": Member(monitored, {"batch_size": 8.0, "k": 2.4, "decay": 0.9}),
}

PAIRS = {}
