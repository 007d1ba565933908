"""Shampoo and SOAP with factors of least Kullback-Leibler divergence."""

from jaxopt_course import optimizers
from tests.catalogue.matrix import FACTORS, SOAP, TURNS
from tests.catalogue.member import RATE, Member


KL = SOAP | {"initial_eigenvalue": 0.3}

MEMBERS = {
    "kl_shampoo": Member(
        optimizers.kl_shampoo, RATE | KL | {"weight_decay": 0.1}, exempt=FACTORS | TURNS
    ),
    "kl_shampoo:diagonal": Member(
        optimizers.kl_shampoo, RATE | KL, {"max_precond_dim": 0}, exempt=FACTORS
    ),
    "kl_soap": Member(
        optimizers.kl_soap, RATE | KL | {"weight_decay": 0.1}, exempt=FACTORS | TURNS
    ),
    "scale_by_kl_shampoo": Member(optimizers.scale_by_kl_shampoo, KL, exempt=FACTORS | TURNS),
    "scale_by_kl_soap": Member(optimizers.scale_by_kl_soap, KL, exempt=FACTORS | TURNS),
}

PAIRS = {}
