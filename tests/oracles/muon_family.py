"""Methods that followed Muon."""

import functools
import types

import numpy as np

import jaxopt_course as jc
from jaxopt_course.optimizers import MuonDimensionNumbers, scale_by_muon, scale_by_shape
from jaxopt_course.transforms import chain, scale, scale_by_learning_rate
from tests.catalogue.member import offering
from tests.oracles.rows import Row, of_torch


def emerging_hyperball(leaves):
    from emerging_optimizers.orthogonalized_optimizers import MuonHyperball

    options = {"coefficient_type": "simple", "fp32_matmul_prec": "highest"}
    return MuonHyperball(leaves, 0.3, 0.9, 0.0, **options)


def heavy_hyperball(leaves):
    import heavyball

    options = {"betas": (0.0, 0.99), "eps": 1e-8, "compile_step": False}
    return heavyball.HyperBallAdamW(leaves, lr=0.3, **options)


def in_float64(module):
    """pytorch-optimizer iterates in bfloat16; here in the dtype of the comparison."""
    import importlib

    import torch

    owner = importlib.import_module(f"pytorch_optimizer.optimizer.{module}")
    plain = owner.zero_power_via_newton_schulz_5
    owner.zero_power_via_newton_schulz_5 = functools.partial(plain, dtype=torch.float64)


def pytorch_normuon(leaves):
    import pytorch_optimizer

    in_float64("muon.normuon")
    group = {"params": leaves, "use_muon": True, "eps": 0.0}
    options = {"nesterov": False, "use_adjusted_lr": True, "foreach": False}
    return pytorch_optimizer.NorMuon([group], 0.1, 0.9, 0.8, 0.1, **options)


def pytorch_scion(norm, **options):
    def build(leaves):
        import pytorch_optimizer
        from pytorch_optimizer.optimizer import scion

        in_float64("scion")
        kind = getattr(scion.LMONorm, norm)
        return pytorch_optimizer.SCION(leaves, 0.1, 0.2, norm_type=kind, foreach=False, **options)

    return build


def pytorch_muon_clip(leaves):
    """The leaves come in alphabetical order; its steps are given the logits of every batch."""
    import pytorch_optimizer
    import torch

    in_float64("muon.base")
    groups = [
        {"params": [leaf], "use_muon": True, "attention_name": "", "qk_clip": role}
        for leaf, role in zip(leaves, ("key", "query"), strict=True)
    ]
    tx = pytorch_optimizer.MuonClip(groups, 0.1, 0.9, qk_clip_threshold=100.0, qk_clip_alpha=0.3)
    logits = {"": torch.tensor(LOGITS)}
    return types.SimpleNamespace(step=lambda: tx.step(attention_max_logits=logits))


def muon_with_clip():
    tx = chain(
        scale_by_muon(beta=0.9, eps=0.0, nesterov=False, weight_dimension_numbers=OUT_IN),
        scale_by_shape(OUT_IN, 0.2),
        scale_by_learning_rate(0.1),
        jc.qk_clip(100.0, 0.3, heads_of=lambda path, leaf: ("", path, 0)),
    )
    return offering(tx, lambda updates, params: {"max_logits": {"": np.array(LOGITS)}})


LOGITS = [110.0, 80.0]


def scion_of_torch(norm="spectral", **options):
    return jc.scion(0.1, norm, beta=0.8, **({"weight_dimension_numbers": OUT_IN} | options))


OUT_IN = MuonDimensionNumbers(1, 0)  # torch's first axis is that of the outputs

ROWS = {
    "hyperball_of_adam": Row(
        "heavyball",
        lambda: jc.hyperball(jc.adam(1.0, 0.0, 0.99, eps=0.0), 0.3),
        of_torch(heavy_hyperball, "float32"),
        bound=2e-6,
        note="inside it has no first moment (`b1=0`)",
        dtype="float32",
    ),
    "hyperball_of_muon": Row(
        "emerging-optimizers",
        lambda: jc.hyperball(chain(scale_by_muon(beta=0.9, nesterov=False), scale(-1.0)), 0.3),
        of_torch(emerging_hyperball, "float32"),
        bound=2e-6,
        note="without Nesterov momentum, whose bias correction differs",
        dtype="float32",
    ),
    "normuon": Row(
        "pytorch-optimizer",
        lambda: jc.normuon(
            0.1,
            beta=0.9,
            beta2=0.8,
            eps=0.0,
            weight_decay=0.1,
            nesterov=False,
            weight_dimension_numbers=OUT_IN,
            consistent_rms=0.2,
        ),
        of_torch(pytorch_normuon),
        bound=1e-14,
        note="without Nesterov momentum, whose bias correction differs; iterated in float64",
    ),
    "qk_clip": Row(
        "pytorch-optimizer",
        muon_with_clip,
        of_torch(pytorch_muon_clip),
        bound=7e-7,
        note="behind Muon, iterated in float64; its factors are float32",
        shapes={"key": (8, 3), "query": (8, 3)},
    ),
    "scion": Row(
        "pytorch-optimizer",
        lambda: scion_of_torch(radius=2.0),
        of_torch(pytorch_scion("SPECTRAL", scale=2.0)),
        bound=1e-14,
        note="unconstrained; iterated in float64",
    ),
    "scion_constrained": Row(
        "pytorch-optimizer",
        lambda: scion_of_torch(radius=2.0, weight_decay=1.0),
        of_torch(pytorch_scion("SPECTRAL", scale=2.0, constraint=True)),
        bound=1e-14,
        note="`weight_decay=1`; iterated in float64",
    ),
    "scion_embedding": Row(
        "pytorch-optimizer",
        lambda: scion_of_torch("embedding", weight_dimension_numbers=None),
        of_torch(pytorch_scion("COL", norm_kwargs={"transpose": True})),
        bound=9e-8,
        note="it adds 1e-8 to a root mean square, which is not done here",
    ),
    "scion_rms": Row(
        "pytorch-optimizer",
        lambda: scion_of_torch("rms"),
        of_torch(pytorch_scion("BIAS")),
        bound=7e-8,
        note="it adds 1e-8 to a root mean square, which is not done here",
        shapes={"bias": (7,)},
    ),
    "scion_sign": Row(
        "pytorch-optimizer",
        lambda: scion_of_torch("sign"),
        of_torch(pytorch_scion("SIGN")),
        bound=1e-15,
    ),
}
