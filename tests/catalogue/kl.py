"""Variants of Shampoo and SOAP."""

from jaxopt_course import optimizers
from tests.catalogue.matrix import FACTORS, SOAP, TURNS
from tests.catalogue.member import RATE, Member


KL = SOAP | {"initial_eigenvalue": 0.3}
SOAP_MUON = {
    "weight_decay": 0.1,
    "adam_b1": 0.8,
    "adam_b2": 0.95,
    "adam_weight_decay": 0.05,
    "adam_learning_rate": 0.05,
    "consistent_rms": 0.2,
}

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
    "soap_muon": Member(
        optimizers.soap_muon,
        RATE | SOAP | SOAP_MUON,
        exempt=FACTORS | TURNS,
    ),
}

PAIRS = {}
