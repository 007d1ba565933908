"""Which optimizers ``packed`` takes for elementwise, and which leaves it joins."""

import chex
import jax
import jax.numpy as jnp
import pytest

from jaxopt_course import optimizers, transforms
from jaxopt_course.core import GradientTransformationExtraArgs
from tests.catalogue import RECIPES, TRANSFORMATIONS, classics
from tests.catalogue.member import decay
from tests.tiers import everyday


def filled(*shape, dtype=jnp.float32):
    size = int(jnp.prod(jnp.array(shape, int)))
    return jnp.asarray(jnp.linspace(-1.3, 1.7, size).reshape(shape), dtype)


PARAMS = {
    "bias": [filled(5), filled(7)],
    "cube": [filled(2, 2, 3), filled(1, 2, 3)],
    "gain": [filled(), filled()],
    "half": [filled(3, dtype=jnp.bfloat16), filled(2, dtype=jnp.bfloat16)],
    "kernel": [filled(3, 4), filled(2, 4)],
    "none": None,
    "nothing": filled(0),
    "one": [filled(1), filled(1, 4)],
}
EMPTY = 10  # the number of the leaf without entries, which some optimizers skip
JOINED = ((0, 1, 4, 5, 11), (2, 3), (6, 7), (8, 9, 12))
COMPLEX = {"a": [filled(2, dtype=jnp.complex64), filled(3, dtype=jnp.complex64)], "b": filled(2)}

# What a reader of the jaxpr with a list of sixty elementwise primitives answered. All other members
# of the catalogue are elementwise.
DEPENDS_ON_OTHER_ENTRIES = """
dion; hyperball; normuon; scale_by_dion; scale_by_normuon; scion; scion:embedding; scion:sign;
kl_shampoo; kl_shampoo:diagonal; kl_soap; scale_by_kl_shampoo; scale_by_kl_soap;
schedule_free_plus; soap_muon;
adafactor; adafactor:factored; adagrad_norm; adam_mini; adaptive_grad_clip; add_penalty;
add_penalty:groups; apply_if_finite; cautious; centralize; clip_by_block_rms; clip_by_global_norm;
clip_by_quantile; skip_spikes;
dadapt_adamw; dadapt_adamw:betas; dog; dog:masked; dowg; dynamic_loss_scale; flatten; fromage;
grafted; hutchinson_estimator_diag_hessian; ista:groups; lamb; lamb:masked; lars; lars:masked;
lbfgs; lbfgs:line search; mars; mars:masked; measure_with_ema; monitor; MultiSteps:skipping;
hutchinson_estimator_diag_hessian; ista:groups; lamb; lamb:masked; lars; lars:masked; lbfgs;
lbfgs:line search; mars; mars:masked; measure_noise_scale; measure_with_ema; monitor;
MultiSteps:skipping;
MultiSteps:sum; muon; muon:adaptive, consistent; muon:aol; muon:spectral; newton_cg; normalize;
normalize_by_update_norm; novograd; packed; polyak_sgd; polyak_sgd:sps+; prodigy; prodigy:betas;
projected; psgd_kron; reduce_on_plateau; reduce_on_plateau:means; sam; sam:opaque;
scale_by_adagrad_norm;
scale_by_adam_mini; scale_by_distance_over_gradients; scale_by_dog; scale_by_dog:heuristic;
scale_by_dog:learning rate; scale_by_dowg; scale_by_dowg:from eps; scale_by_factored_rms:factored;
scale_by_lbfgs; scale_by_lbfgs:unscaled; scale_by_mars; scale_by_muon; scale_by_newton_cg;
scale_by_novograd; scale_by_param_block_norm; scale_by_param_block_rms; scale_by_polyak;
scale_by_psgd_kron;
scale_by_shampoo; scale_by_shampoo:modern; scale_by_sm3; scale_by_soap; scale_by_sophia;
scale_by_splus; scale_by_trust_ratio; shampoo;
shampoo:diagonal; shampoo:modern; sm3; snapshot; soap; sophia; splus; zero_nans
"""
DEPENDS_ON_THE_LEAF = """
qk_clip;
adadelta:masked; adamw:masked; add_l1; add_l1:scheduled; ademamix:scheduled; fista; freeze;
inject_hyperparams; ista; masked; partition; proximal:box; proximal_adam; scale_by_shape;
selective_transform; sgdw:masked; simplified_ademamix:masked
"""
ANSWERS = {
    " ".join(name.split()): sentence
    for names, sentence in (
        (DEPENDS_ON_OTHER_ENTRIES, "treat each entry alone"),
        (DEPENDS_ON_THE_LEAF, "treat a leaf alike wherever it lies"),
    )
    for name in names.split(";")
}
OTHER_NUMBERS = {
    "add_noise": "random numbers are drawn for each array",
    "noisy_sgd": "random numbers are drawn for each array",
    "stochastic_rounding": "random numbers are drawn for each array",
    "quantized_state": "other entries share a scale",
    "quantized_state:4 bits": "other entries share a scale",
    "quantized_state:float8": "other entries share a scale",
}


def answer(tx, params=PARAMS):
    """The numbers of the leaves that are joined, or the refusal."""
    try:
        layout = jax.eval_shape(transforms.packed(tx).init, params).layout
    except ValueError as error:
        return next((s for s in set(ANSWERS.values()) if s in str(error)), str(error))
    return tuple(filter(None, (tuple(i for i in group if i != EMPTY) for group in layout.groups)))


def test_the_table_has_no_unknown_names():
    assert set(ANSWERS) | set(OTHER_NUMBERS) <= set(TRANSFORMATIONS)


@pytest.mark.parametrize("name", everyday(TRANSFORMATIONS, classics.MEMBERS))
def test_members_are_judged_as_before_whether_traced_or_not(name):
    member = TRANSFORMATIONS[name]
    wanted = ANSWERS.get(name, JOINED)
    assert answer(member.build()) == wanted
    found = []
    jax.eval_shape(
        lambda numbers: found.append(answer(member.build(**numbers))),
        {k: jnp.float32(v) for k, v in member.numbers.items()},
    )
    assert found == [wanted]


@pytest.mark.parametrize("name", everyday(sorted(set(RECIPES) - set(ANSWERS)), {"lamb"}))
def test_what_is_judged_elementwise_is(name):
    """Joined or not, the updates of random gradients are the same to rounding."""
    if name in OTHER_NUMBERS:
        pytest.skip(OTHER_NUMBERS[name])
    alone = TRANSFORMATIONS[name].build()
    together = transforms.packed(alone)
    states = alone.init(PARAMS), together.init(PARAMS)
    for n in range(4):
        grads = jax.tree.map(lambda p, n=n: jnp.cos(3 * p + n), PARAMS)
        (a, own), (b, packed) = (
            tx.update(grads, state, PARAMS)
            for tx, state in zip((alone, together), states, strict=True)
        )
        chex.assert_trees_all_close(b, a, rtol=1e-5, atol=1e-6)
        states = own, packed


def of_leaves(f):
    """The stateless transformation ``f`` of each gradient."""
    update = lambda updates, state, params=None, **_: (jax.tree.map(f, updates), state)
    return GradientTransformationExtraArgs(lambda params: (), update)


def per_path(params):
    return jax.tree_util.tree_map_with_path(lambda path, x: "idx=1" not in str(path), params)


large_norm = transforms.chain(transforms.clip_by_global_norm(1e30), optimizers.sgd(0.1))
OTHERS = "treat each entry alone"
PLANTED = {
    "a norm that never clips": (large_norm, OTHERS),
    "inside a branch that is hardly ever taken": (transforms.MultiSteps(large_norm, 1000), OTHERS),
    "only where an entry is infinite": (
        of_leaves(lambda g: jnp.where(jnp.isfinite(g).all(), g, 0)),
        OTHERS,
    ),
    "cumsum": (of_leaves(lambda g: jnp.cumsum(g).reshape(g.shape)), OTHERS),
    "sort": (of_leaves(lambda g: jnp.sort(g) if g.ndim else g), OTHERS),
    "reversed": (of_leaves(jnp.flip), OTHERS),
    "places": (of_leaves(lambda g: g * jnp.arange(g.size, dtype=g.dtype).reshape(g.shape)), OTHERS),
    "places of equal numbers": (
        of_leaves(lambda g: g * jnp.cumsum(jnp.ones(g.size, g.dtype)).reshape(g.shape)),
        OTHERS,
    ),
    "a branch by an entry": (
        of_leaves(lambda g: jax.lax.cond(g.ravel()[:1].sum() > 0, lambda: g, lambda: 2 * g)),
        OTHERS,
    ),
    "a loop": (
        of_leaves(lambda g: jax.lax.fori_loop(0, 3, lambda _, x: x + x.sum(), g)),
        OTHERS,
    ),
    "halves of an entry": (
        of_leaves(lambda g: jax.lax.bitcast_convert_type(g, jnp.uint8)[..., 0].astype(g.dtype)),
        OTHERS,
    ),
    "the number of entries, counted": (
        of_leaves(lambda g: g / jnp.maximum(jnp.ones(g.size, g.dtype).sum(), 1)),
        "treat a leaf alike wherever it lies",
    ),
    "a mask by path": (
        optimizers.adamw(0.1, mask=per_path),
        "treat a leaf alike wherever it lies",
    ),
    "a primitive that this library does not use": (
        of_leaves(lambda g: jax.lax.igamma(jnp.ones_like(g), jnp.abs(g))),
        JOINED,
    ),
    "a mask by axes": (
        optimizers.adamw(0.1, mask=lambda tree: jax.tree.map(lambda x: x.ndim > 1, tree)),
        JOINED,
    ),
    "a schedule": (optimizers.adam(decay), JOINED),
    "a derivative": (
        of_leaves(lambda g: jax.vjp(jax.nn.softplus, g)[1](jnp.ones_like(g))[0]),
        JOINED,
    ),
}


@pytest.mark.parametrize("name", PLANTED)
def test_reader_sees(name):
    tx, wanted = PLANTED[name]
    assert answer(tx) == wanted


def test_complex_leaves():
    assert answer(optimizers.adam(0.1), COMPLEX) == ((0, 1),)
    split = transforms.split_real_and_imaginary(optimizers.adam(0.1))
    assert answer(split, COMPLEX) == OTHERS  # it joins two halves to one array


def test_under_vmap_and_jit():
    """A population builds its optimizers from mapped numbers and calls ``init`` inside."""

    def first_moments(rate, b1):
        tx = transforms.packed(optimizers.adamw(rate, b1))
        return transforms.unpack(tx.update(PARAMS, tx.init(PARAMS), PARAMS)[1])[0].mu

    mu = jax.jit(jax.vmap(first_moments))(jnp.array([0.1, 0.2]), jnp.array([0.5, 0.9]))
    chex.assert_trees_all_close(mu["bias"][0][0], 0.5 * PARAMS["bias"][0], rtol=1e-6)
