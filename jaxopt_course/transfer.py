"""Hyperparameters that are tuned on a small model and used on a large one: muP and CompleteP.

For a leaf whose inputs are m times as many as in the base model, and whose outputs are n times as
many, the hyperparameters of the base model are multiplied by

    optimizer   learning rate    eps
    adam        1 / m            1 / n      updates do not depend on the size of gradients
    sgd         n / m            1          updates are proportional to gradients
    muon        sqrt(n / m)      1          updates have singular values that depend on no shape

Weight decay, which the learning rate multiplies, is divided by the factor of the learning rate. The
standard deviation of the initial entries is multiplied by 1 / sqrt(m), and by 1 / m in the output
layer, where n = 1. Biases and gains have m = 1. In this form of muP the model has no multipliers.
The package ``mup`` divides the inputs of the output layer by m instead, and its steps are the same.

CompleteP adds the depth, which is r times that of the base model. The model multiplies each
residual branch by r^-a, and the hyperparameters of leaves inside of the blocks are multiplied by

    learning rate    r^(a-1), and r^(2a-1) for sgd
    eps              r^-a

too; the weight decay has no factor of the depth. The paper's table is for AdamW. Gradients inside
of the blocks are proportional to r^-a, hence the factor for sgd.

References: Yang, Hu et al., "Tensor Programs V: Tuning Large Neural Networks via Zero-Shot
Hyperparameter Transfer", 2022, table 3, https://arxiv.org/abs/2203.03466; Yang, Simon & Bernstein,
"A Spectral Condition for Feature Learning", 2023, https://arxiv.org/abs/2310.17813, for Muon;
Dey et al., "Don't be lazy: CompleteP enables compute-efficient deep transformers", 2025, table 1,
https://arxiv.org/abs/2505.01618; Bordelon et al., "Depthwise Hyperparameter Transfer in Residual
Networks", 2023, https://arxiv.org/abs/2309.16620, for sgd.
"""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import jax
import numpy as np
import optax
from jaxtyping import PyTree, ScalarLike

from jaxopt_course.core import GradientTransformationExtraArgs, Mask, Params, checks, tree
from jaxopt_course.optimizers import MuonDimensionNumbers
from jaxopt_course.tasks import Task
from jaxopt_course.transforms import partition


__all__ = ["Multipliers", "completep", "mup", "scale_init", "with_multipliers"]

KINDS = ("adam", "sgd", "muon")
INITIALIZERS = ("fan_in", "fan_avg", "fan_out", "constant")
WRAPPED = ("value", "raw_value")  # the last parts of the paths of NNX variables
VECTORS = ("bias", "b", "scale", "gain")  # leaves without inputs, however many axes they have

Dimensions: TypeAlias = MuonDimensionNumbers | Mask | None


class Multipliers(NamedTuple):
    """By what the hyperparameters of the base model are multiplied for one leaf.

    learning_rate: of the learning rate.
    eps: of the number that Adam adds to the root of its second moment.
    weight_decay: of a weight decay that is multiplied by the learning rate.
    initial_scale: of the entries that the initializer of the target model draws.
    """

    learning_rate: float = 1.0
    eps: float = 1.0
    weight_decay: float = 1.0
    initial_scale: float = 1.0


def mup(
    base: Params,
    target: Params,
    kind: str | Mask = "adam",
    *,
    initializer: str | Mask = "fan_in",
    dimensions: Dimensions = None,
) -> PyTree:
    """The multipliers of muP for each leaf of a model that is wider than the base model.

    The axes whose sizes differ are recognized by comparing shapes. The last axis of a leaf counts
    its outputs, the one before its inputs; if two axes differ they are the outputs and inputs.
    Leaves with fewer than two axes, and those called ``bias``, ``b``, ``scale`` or ``gain``, have
    outputs only.

    Two changes of a model are no multipliers of leaves. Where the width of attention heads grows,
    their logits must be divided by it and not by its root. A head that is tied to the embedding
    must divide its outputs by the width.

    Args:
        base: the parameters of the base model, or their shapes, as ``jax.eval_shape`` returns them.
        target: those of the model to be trained, with the same structure.
        kind: ``"adam"`` for optimizers that normalize each entry, such as ``adamw`` and ``lion``,
            ``"sgd"`` for those that do not, ``"muon"`` for :func:`~jaxopt_course.optimizers.muon`
            with its factor by shape, whose vectors have the multipliers of Adam; or a tree of these
            names, shaped like a prefix of the params, or a function of the params that returns one.
        initializer: of what the variance of the target's initializers is the inverse: ``"fan_in"``
            as for He's and LeCun's, ``"fan_avg"`` as for Glorot's, ``"fan_out"`` as for Flax's
            ``Embed``; or ``"constant"`` if it depends on no width; or a tree of these names.
        dimensions: which axes are the inputs and outputs of leaves of which the rule above does not
            hold, as ``weight_dimension_numbers`` of :func:`~jaxopt_course.optimizers.muon`; None
            for a leaf applies the rule.

    Returns:
        A tree shaped like ``target``, of :class:`Multipliers`.

    Raises:
        ValueError: if the trees differ in structure, or the rule does not tell the axes of a leaf.

    Examples:
        >>> shapes = lambda n: {"w": jax.ShapeDtypeStruct((n, n), float)}
        >>> mup(shapes(64), shapes(256))["w"].learning_rate
        0.25
    """
    structure: Any = jax.tree.structure(target)
    if jax.tree.structure(base) != structure:
        raise ValueError(
            "mup: `base` must have the structure of `target`, "
            f"got {jax.tree.structure(base)} and {structure}."
        )
    given = {"kind": kind, "initializer": initializer, "dimensions": dimensions}
    columns = [_for_each_leaf("mup", name, values, target) for name, values in given.items()]
    paths = [path for path, _ in jax.tree.leaves_with_path(target)]
    shapes = (map(np.shape, jax.tree.leaves(params)) for params in (base, target))
    of_leaf = functools.partial(_of_leaf, "mup")
    return jax.tree.unflatten(structure, map(of_leaf, paths, *shapes, *columns))


def completep(
    base: Params,
    target: Params,
    depth_ratio: ScalarLike,
    blocks: Mask,
    kind: str | Mask = "adam",
    *,
    alpha: ScalarLike = 1.0,
    initializer: str | Mask = "fan_in",
    dimensions: Dimensions = None,
) -> PyTree:
    """The multipliers of CompleteP for each leaf of a wider and deeper residual network.

    The model itself must multiply each residual branch by ``depth_ratio ** -alpha``.

    Args:
        base: shapes of a model with the base model's width and the *target's* depth.
        target: the parameters of the model to be trained, or their shapes, in the same structure.
        depth_ratio: depth of the target over that of the base model, static, in (0, inf).
        blocks: which leaves lie in residual blocks, normalizations and biases included: a tree of
            bools shaped like (a prefix of) the params, or a function of the params.
        kind: as for :func:`mup`.
        alpha: the exponent of the depth, static, in [0.5, 1]; 1 is CompleteP.
        initializer: as for :func:`mup`.
        dimensions: as for :func:`mup`.

    Returns:
        A tree shaped like ``target``, of :class:`Multipliers`.

    Examples:
        >>> shapes = lambda n: {"w": jax.ShapeDtypeStruct((n, n), float)}
        >>> completep(shapes(64), shapes(128), 4, True)["w"].eps
        0.125
    """
    owner = "completep"
    for name, value, rule in (
        ("depth_ratio", depth_ratio, "(0, inf)"),
        ("alpha", alpha, "[0.5, 1]"),
    ):
        checks.number(owner, name, value, rule)
        if checks.is_traced(value):
            raise TypeError(f"{owner}: `{name}` is static, got a traced value.")
    ratio, exponent = np.asarray([depth_ratio, alpha], float).tolist()
    own = mup(base, target, kind, initializer=initializer, dimensions=dimensions)
    kinds, inside = (
        _for_each_leaf(owner, name, values, target)
        for name, values in (("kind", kind), ("blocks", blocks))
    )

    def deeper(own: Multipliers, kind: str, is_inside: bool) -> Multipliers:
        if not is_inside:
            return own
        power = 2 * exponent - 1 if kind == "sgd" else exponent - 1
        rate, eps = own.learning_rate * ratio**power, own.eps * ratio**-exponent
        return own._replace(learning_rate=rate, eps=eps)

    leaves, structure = jax.tree.flatten(own, is_leaf=_is_multipliers)
    return jax.tree.unflatten(structure, map(deeper, leaves, kinds, inside))


def with_multipliers(
    build: Callable[[Multipliers], optax.GradientTransformation], multipliers: PyTree
) -> GradientTransformationExtraArgs:
    """The optimizer of the target model: one of ``build`` for each group of equal multipliers.

    Args:
        build: makes the optimizer of a group of leaves from their :class:`Multipliers`, by which it
            multiplies the hyperparameters of the base model. These may be traced, or schedules.
        multipliers: a tree of multipliers, such as :func:`mup` returns.

    Returns:
        A :func:`~jaxopt_course.transforms.partition` of the leaves. Transformations that look at
        all leaves, such as ``clip_by_global_norm``, are to be chained with it, not built in it.

    Examples:
        >>> from jaxopt_course.optimizers import adamw
        >>> shapes = lambda n: {"w": jax.ShapeDtypeStruct((n, n), float)}
        >>> build = lambda m: adamw(1e-3 * m.learning_rate, weight_decay=0.1 * m.weight_decay)
        >>> tx = with_multipliers(build, mup(shapes(64), shapes(256)))
    """
    checks.function("with_multipliers", "build", build)
    found = jax.tree.leaves(multipliers, is_leaf=_is_multipliers)
    for own in found:
        if not _is_multipliers(own):
            raise TypeError(
                "with_multipliers: the leaves of `multipliers` must be Multipliers, "
                f"got {checks.shown(own)}."
            )
    groups = {own: number for number, own in enumerate(dict.fromkeys(found))}
    labels = jax.tree.map(groups.__getitem__, multipliers, is_leaf=_is_multipliers)
    return partition({number: build(own) for own, number in groups.items()}, labels)


def scale_init(task: Task, multipliers: PyTree) -> Task:
    """The task whose initial parameters are multiplied by ``initial_scale``, leaf by leaf.

    Args:
        task: the task of the target model.
        multipliers: a tree of :class:`Multipliers`, shaped like its parameters.

    Examples:
        >>> from jaxopt_course.problems import problem
        >>> from jaxopt_course.tasks import function_task
        >>> init, apply = lambda key: {"w": jax.numpy.ones((2, 1))}, lambda p, x: x @ p["w"]
        >>> task = function_task(init, apply, problem("regression"))
        >>> scaled = scale_init(task, {"w": Multipliers(initial_scale=0.5)})
        >>> scaled.init(jax.random.key(0))[0]["w"].tolist()
        [[0.5], [0.5]]
    """

    def init(key: Any) -> tuple[Params, PyTree]:
        params, model_state = task.init(key)
        scaled = lambda x, own: tree.scale(x, own.initial_scale)
        return jax.tree.map(scaled, params, multipliers), model_state

    return task._replace(init=init)


class Fans(NamedTuple):
    """The numbers of inputs and outputs of a leaf."""

    inputs: int
    outputs: int


def _for_each_leaf(owner: str, name: str, values: Any, params: Params) -> list[Any]:
    """``values``, a tree shaped like a prefix of ``params`` or a function of it, leaf by leaf."""
    found: list[Any] = []
    extend = lambda value, below: found.extend([value] * len(jax.tree.leaves(below)))
    is_leaf = lambda x: x is None or isinstance(x, MuonDimensionNumbers)
    try:
        jax.tree.map(extend, tree.for_tree(values, params), params, is_leaf=is_leaf)
    except ValueError as error:
        raise ValueError(
            f"{owner}: `{name}` must be a tree shaped like a prefix of the params."
        ) from error
    return found


def _of_leaf(
    owner: str,
    path: Any,
    base: tuple[int, ...],
    target: tuple[int, ...],
    kind: str,
    initializer: str,
    spec: MuonDimensionNumbers | None,
) -> Multipliers:
    checks.choice(owner, "kind", kind, KINDS)
    checks.choice(owner, "initializer", initializer, INITIALIZERS)
    if len(base) != len(target):
        raise ValueError(
            f"{owner}: a leaf must have the same axes in `base` and `target`, got {base} and "
            f"{target}{checks.at(path)}."
        )
    axes = _axes(owner, path, base, target, spec)
    if axes is None:
        growth = math.prod(target) / math.prod(base)
        rate = growth if kind == "sgd" else 1.0
        return Multipliers(rate, 1.0 if kind == "sgd" else 1 / growth, 1 / rate)
    old, new = (Fans(*(math.prod(x[i] for i in own) for own in axes)) for x in (base, target))
    m, n = new.inputs / old.inputs, new.outputs / old.outputs
    rates = {
        "adam": 1 / m,
        "sgd": n / m,
        "muon": math.sqrt(n / m) * _shape_factor(old) / _shape_factor(new),
    }
    drawn = {  # standard deviations, relative to those of the base model
        "constant": 1.0,
        "fan_in": 1 / math.sqrt(m),
        "fan_out": 1 / math.sqrt(n),
        "fan_avg": math.sqrt(sum(old) / sum(new)),
    }
    wanted = 1 / m if n == 1 else 1 / math.sqrt(m)
    rate, eps = rates[kind], 1 / n if kind == "adam" else 1.0
    return Multipliers(rate, eps, 1 / rate, wanted / drawn[initializer])


def _axes(
    owner: str,
    path: Any,
    base: tuple[int, ...],
    target: tuple[int, ...],
    spec: MuonDimensionNumbers | None,
) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
    """The axes of the inputs and of the outputs; None for a leaf that has no inputs."""
    n = len(target)
    if spec is not None:
        inputs, outputs = (
            tuple(axis % n for axis in np.atleast_1d(axes).tolist()) for axes in spec
        )
        return inputs, outputs
    names = [jax.tree_util.keystr((key,), simple=True) for key in path]
    if n < 2 or next((x for x in names[::-1] if x not in WRAPPED), None) in VECTORS:
        return None
    differ = [i for i in range(n) if base[i] != target[i]]
    if len(differ) == 2:
        return (differ[0],), (differ[1],)
    if len(differ) < 2 and set(differ) <= {n - 2, n - 1}:
        return (n - 2,), (n - 1,)
    raise ValueError(
        f"{owner}: `dimensions` must say which axes are the inputs and outputs of the leaf"
        f"{checks.at(path)}, whose shapes are {base} and {target}."
    )


def _shape_factor(fans: Fans) -> float:
    """The factor of Muon's updates by :func:`~jaxopt_course.optimizers.scale_by_shape`."""
    return math.sqrt(max(1, fans.outputs / fans.inputs))


def _is_multipliers(x: Any) -> bool:
    return isinstance(x, Multipliers)
