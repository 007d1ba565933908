"""Which leaves of a network are matrices for Muon, and along which axes.

Muon is for the hidden weights of a network. Its authors advise AdamW for embeddings, output layers,
biases and gains (Jordan et al., 2024, https://kellerjordan.github.io/posts/muon). The role of a
leaf is read off its path, its shape and the leaves beside it, as Flax Linen, Flax NNX and Equinox
name them; n stands for axes of stacked layers, which are a batch of matrices:

    dense, recurrent      kernel (n, in, out), weight (n, out, in) of Equinox     in x out
    attention, inputs     query, key, value (n, d, heads, k)                      d x (heads k)
    attention, output     out (n, heads, k, d)                                    (heads k) x d
    convolution           kernel (n, *window, in, out), or (n, out, in, *window)  (window in) x out

An output layer is known by its name (``head``, ``logits``, ...) or, if none has such a name, as the
last of the numbered dense layers at the root. Layers are stacked if the biases and gains beside
them have an axis more than they need, of the same size.
"""

import functools
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from jaxopt_course.core import Params


class MuonDimensionNumbers(NamedTuple):
    """Which axes of a weight are the rows and columns of its matrix. The other axes are a batch.

    reduction_axis: the axis or axes that a layer sums over, its inputs.
    output_axis: the axis or axes of its outputs.
    """

    reduction_axis: int | Sequence[int] = 0
    output_axis: int | Sequence[int] = 1


class LeafOfMuon(NamedTuple):
    """How Muon treats a leaf.

    path: path of the leaf, as :func:`jax.tree_util.keystr` writes it.
    shape: its shape.
    dimensions: its dimension numbers, or None if AdamW updates it.
    role: what it was taken for, such as ``"dense"`` or ``"embedding"``.
    is_certain: whether its role was recognized. If not, Muon takes it if it has two axes.
    """

    path: str
    shape: tuple[int, ...]
    dimensions: MuonDimensionNumbers | None
    role: str
    is_certain: bool = True


class MuonRouting(tuple[LeafOfMuon, ...]):
    """A :class:`LeafOfMuon` for each leaf of a tree; as text, a table."""

    __slots__ = ()

    def __str__(self) -> str:
        rows = [("leaf", "shape", "updated by", "role")]
        for leaf in self:
            by = "AdamW"
            if leaf.dimensions is not None:
                by = "Muon, {} x {}".format(*leaf.dimensions)
            role = leaf.role if leaf.is_certain else f"{leaf.role} (not recognized)"
            rows.append((leaf.path, str(leaf.shape), by, role))
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)
        return "\n".join(lines)


def muon_dimensions(params: Params) -> PyTree:
    """The dimension numbers of each hidden weight, and None for the leaves of AdamW.

    It recognizes the parameters of Flax Linen, Flax NNX and Equinox, and is the default of
    :func:`muon`. A leaf with two axes whose role is not recognized counts as a dense kernel; one
    with more axes has None. :func:`describe_muon` shows what was recognized.

    Args:
        params: tree of parameters; only paths and shapes matter.

    Examples:
        >>> params = {"embedding": jnp.ones((9, 4)), "Dense_0": {"kernel": jnp.ones((4, 4))},
        ...           "head": {"kernel": jnp.ones((4, 9))}}
        >>> muon_dimensions(params)["Dense_0"]["kernel"]
        MuonDimensionNumbers(reduction_axis=0, output_axis=1)
    """
    specs = [leaf.dimensions for leaf in describe_muon(params)]
    return jax.tree.unflatten(jax.tree.structure(params), specs)


def two_axis_dimensions(params: Params) -> PyTree:
    """Dimension numbers for every leaf with two axes, and None for all others: optax's default.

    Args:
        params: tree of parameters; only shapes matter.

    Examples:
        >>> two_axis_dimensions([jnp.ones((9, 4)), jnp.ones(4)])
        [MuonDimensionNumbers(reduction_axis=0, output_axis=1), None]
    """
    of_leaf = lambda x: MuonDimensionNumbers() if jnp.ndim(x) == 2 else None
    return jax.tree.map(of_leaf, params)


def describe_muon(params: Params) -> MuonRouting:
    """Say of each leaf which part of :func:`muon` updates it by default, and what it was taken for.

    ``print`` shows a table.

    Args:
        params: tree of parameters; only paths and shapes matter.

    Examples:
        >>> print(describe_muon({"kernel": jnp.ones((4, 9)), "bias": jnp.ones(9)}))
        leaf        shape   updated by     role
        ['bias']    (9,)    AdamW          vector or number
        ['kernel']  (4, 9)  Muon, 0 x 1    dense
    """
    nodes = [_node(params, path, x) for path, x in jax.tree.leaves_with_path(params)]
    inside: dict[tuple[str, ...], list[_Node]] = {}
    for node in nodes:
        for depth in range(max(len(node.names), 1)):
            inside.setdefault(node.names[:depth], []).append(node)
    surplus = {module: _surplus(leaves) for module, leaves in inside.items()}
    head = _head_by_position(nodes, inside)

    def of_leaf(node: _Node) -> LeafOfMuon:
        beside = [n for n in inside[node.names[:-1]] if n.names != node.names]
        is_head = _is_head(node) or (head is not None and node.names[: len(head)] == head)
        role, dimensions, is_certain = _role(node, beside, _stacked(node, surplus), is_head)
        return LeafOfMuon(node.path, node.shape, dimensions, role, is_certain)

    return MuonRouting(map(of_leaf, nodes))


def ambiguous(owner: str, routing: MuonRouting) -> str | None:
    """One sentence that names the leaves whose role is not recognized, if there are any."""
    paths = [leaf.path for leaf in routing if not leaf.is_certain]
    if not paths:
        return None
    shown = ", ".join(paths[:5]) + (f" and {len(paths) - 5} more" if len(paths) > 5 else "")
    return (
        f"{owner}: the role of {shown} is not recognized; Muon takes leaves with two axes, AdamW "
        "the others. Give `muon_weight_dimension_numbers` to decide it."
    )


class _Node(NamedTuple):
    """A leaf: its path as written and as names, its shape, and the class of the module it is in."""

    path: str
    names: tuple[str, ...]
    shape: tuple[int, ...]
    module: str

    @property
    def name(self) -> str:
        return self.names[-1] if self.names else ""


# The last word of a name, without numbers and underscores at its end.
BIASES = {"b", "bias", "beta", "shift", "offset"}
GAINS = {"scale", "gain", "gamma", "g"}
WEIGHTS = {"w", "kernel", "weight", "weights", "matrix"}
EMBEDDINGS = {"embed", "embedding", "embeddings", "embedder", "wte", "wpe", "table"}
PLACES = {"pos", "position", "positions", "positional", "place", "places", "pe"}
HEADS = {"head", "logits", "logit", "classifier", "unembed", "unembedding", "readout", "last"}
HEADS_AT_THE_ROOT = {"out", "output", "final", "fc"}
ROOTS = {"decoder", "layers"}
ATTENTION_INPUTS = {"query", "key", "value", "q", "k", "v", "qkv", "kv"}
ATTENTION_OUTPUTS = {"out", "o", "output"}
RECURRENT = {"ih", "hh", *(a + b for a in "ih" for b in "rznifgo")}


def _node(params: Params, path: tuple[Any, ...], x: Any) -> _Node:
    """What is known of a leaf. A variable of NNX and a box of Linen add ``.value`` to its path."""
    keys, names, module, node = path, [], "", params
    if keys and isinstance(keys[-1], jax.tree_util.GetAttrKey) and keys[-1].name == "value":
        keys = keys[:-1]
    for key in keys:
        own = getattr(key, "name", getattr(key, "key", getattr(key, "idx", key)))
        names += str(own).split("/")
        module = "" if node is None else type(node).__name__
        node = _child(node, key)
    is_collection = len(names) > 1 and names[0] == "params"
    return _Node(
        jax.tree_util.keystr(path), tuple(names[is_collection:]), tuple(jnp.shape(x)), module
    )


def _child(node: Any, key: Any) -> Any:
    """The child of a node of the tree, or None if this key does not lead to it."""
    if isinstance(key, jax.tree_util.GetAttrKey):
        return getattr(node, key.name, None)
    try:
        return node[getattr(key, "key", getattr(key, "idx", None))]
    except (IndexError, KeyError, TypeError):
        return None


@functools.cache
def _words(name: str) -> tuple[str, ...]:
    """``"LayerNorm_0"`` -> ``("layer", "norm")``."""
    return tuple(word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name))


def _ends_with(name: str, words: set[str]) -> bool:
    """Whether the last word is one of these, or the only one if it is a letter."""
    own = _words(name)
    return bool(own) and own[-1] in words and (len(own[-1]) > 1 or len(own) == 1)


def _has(names: Sequence[str], words: set[str]) -> bool:
    return any(word in words for name in names for word in _words(name))


def _is_embedding(node: _Node) -> bool:
    return _has([node.module, *node.names[-3:]], EMBEDDINGS | PLACES)


def _is_convolution(node: _Node) -> bool:
    inner = [node.module, *node.names[-4:]]
    return any(word.startswith("conv") for name in inner for word in _words(name))


def _usual_rank(node: _Node) -> int | None:
    """The number of axes of a bias or gain that is not stacked; None for other leaves."""
    if _ends_with(node.name, BIASES):
        of_heads = _has(node.names[-2:-1], ATTENTION_INPUTS) and len(node.shape) > 1
        return 2 if of_heads else 1
    is_gain = _ends_with(node.name, GAINS) or _has([node.module, *node.names[-2:-1]], {"norm"})
    return 1 if is_gain else None


def _surplus(leaves: Sequence[_Node]) -> tuple[int, ...] | None:
    """The sizes of the axes that biases and gains have beyond their own; None if there are none.

    It is empty unless all of them have as many, of the same sizes.
    """
    known = [(n.shape, rank) for n in leaves if (rank := _usual_rank(n)) is not None]
    if not known:
        return None
    number = max(min(len(shape) - rank for shape, rank in known), 0)
    sizes = {shape[:number] for shape, _ in known}
    return sizes.pop() if len(sizes) == 1 else ()


def _stacked(node: _Node, surplus: Mapping[tuple[str, ...], tuple[int, ...] | None]) -> int:
    """Number of leading axes along which layers are stacked.

    The innermost module around the leaf that has biases or gains says it.
    """
    for depth in range(len(node.names) - 1, -1, -1):
        sizes = surplus[node.names[:depth]]
        if sizes is not None:
            fits = node.shape[: len(sizes)] == sizes and len(node.shape) >= len(sizes) + 2
            return len(sizes) if fits else 0
    return 0


Role: TypeAlias = tuple[str, MuonDimensionNumbers | None, bool]


def _role(node: _Node, beside: Sequence[_Node], stacked: int, is_head: bool) -> Role:
    """The role of a leaf, its dimension numbers, and whether it was recognized."""
    if len(node.shape) < 2:
        return "vector or number", None, True
    if _usual_rank(node) is not None:
        return ("bias" if _ends_with(node.name, BIASES) else "gain"), None, True
    if _is_embedding(node):
        return "embedding or positions", None, True
    if is_head:
        return "output layer", None, True
    axes, parent = tuple(range(stacked, len(node.shape))), node.names[-2:-1]
    if len(axes) == 2:
        return _of_two_axes(node, beside, axes)
    if len(axes) == 3 and _has(parent, ATTENTION_INPUTS):
        return "attention, inputs", _numbers(axes[:1], axes[1:]), True
    if len(axes) == 3 and _has(parent, ATTENTION_OUTPUTS):
        return "attention, output", _numbers(axes[:2], axes[2:]), True
    if _is_convolution(node) or (len(axes) == 4 and _ends_with(node.name, {"kernel"})):
        return _of_convolution(node, axes)
    if len(axes) == 3 and any(_ends_with(name, {"dense", "linear"}) for name in parent):
        return "dense", _numbers(axes[1:2], axes[2:]), True  # stacked, without biases
    return "other", None, False


def _of_two_axes(node: _Node, beside: Sequence[_Node], axes: tuple[int, ...]) -> Role:
    """A dense layer or a recurrent one; with a name of its own, it has a vector of its size."""
    has_vector = any(n.shape in {(node.shape[axis],) for axis in axes} for n in beside)
    has_name = _ends_with(node.name, WEIGHTS | RECURRENT | ATTENTION_INPUTS | ATTENTION_OUTPUTS)
    is_known = not node.names or has_name or has_vector or _has([node.name], {"lora", "weight"})
    role = "recurrent" if _has(node.names[-2:], RECURRENT) else "dense"
    inputs, outputs = axes[:1], axes[1:]
    if _is_transposed(node, beside):
        inputs, outputs = outputs, inputs
    return role, _numbers(inputs, outputs), is_known


def _of_convolution(node: _Node, axes: tuple[int, ...]) -> Role:
    outputs_first = _ends_with(node.name, {"weight"})
    if node.shape[axes[1] if outputs_first else axes[-2]] == 1:
        # Each window is a vector: it is depthwise, or the input layer of grey images.
        return "convolution of one channel", None, True
    inputs, outputs = (axes[1:], axes[:1]) if outputs_first else (axes[:-1], axes[-1:])
    return "convolution", _numbers(inputs, outputs), True


def _numbers(inputs: tuple[int, ...], outputs: tuple[int, ...]) -> MuonDimensionNumbers:
    one = lambda axes: axes[0] if len(axes) == 1 else axes
    return MuonDimensionNumbers(one(inputs), one(outputs))


def _is_transposed(node: _Node, beside: Sequence[_Node]) -> bool:
    """Whether the outputs come first, as in Equinox: so says the bias, or else the name."""
    rows, columns = node.shape[-2:]
    sizes = {n.shape[-1] for n in beside if _ends_with(n.name, BIASES) and n.shape}
    if rows != columns and len(sizes & {rows, columns}) == 1:
        return rows in sizes
    return _has([node.name], {"weight"})


def _is_head(node: _Node) -> bool:
    """Whether the name says that this is a matrix of the output layer."""
    parents = node.names[:-1]
    at_the_root = len(parents) == 1 and _ends_with(parents[0], HEADS_AT_THE_ROOT)
    has_name = lambda name: _ends_with(name, HEADS) and not _has([name], {"multi"})
    return len(node.shape) > 1 and (
        any(map(has_name, node.names[-2:])) or (at_the_root and len(node.shape) == 2)
    )


def _head_by_position(
    nodes: Sequence[_Node], inside: Mapping[tuple[str, ...], Sequence[_Node]]
) -> tuple[str, ...] | None:
    """The path of the last of the numbered dense layers at the root, unless a head is named.

    It looks into modules that are alone, and into those called ``layers`` or ``decoder``.
    """
    if any(map(_is_head, nodes)):
        return None
    root: tuple[str, ...] = ()
    while root in inside:
        below = [n for n in inside[root] if len(n.names) > len(root)]
        children = list(dict.fromkeys(n.names[len(root)] for n in below))
        found = _last_of_a_series(root, children, below)
        if found is not None:
            return found
        deeper = [name for name in children if len(children) == 1 or name in ROOTS]
        if not deeper:
            return None
        root = (*root, deeper[0])
    return None


def _last_of_a_series(
    root: tuple[str, ...], children: Sequence[str], below: Sequence[_Node]
) -> tuple[str, ...] | None:
    """The child with the highest number among ``Dense_0, Dense_1, ...`` or the layers of a list."""

    def is_matrix(n: _Node) -> bool:
        return len(n.shape) == 2 and not _is_embedding(n) and _usual_rank(n) is None

    series: dict[str, dict[int, str]] = {}
    for name in children:
        number = re.search(r"\d+$", name)
        if number:
            stem = name[: number.start()].rstrip("_").lower()
            series.setdefault(stem, {})[int(number[0])] = name
    for stem, members in series.items():
        last = members[max(members)]
        own = [n for n in below if n.names[len(root)] == last]
        is_layer = max(len(n.names) for n in own) <= len(root) + 2 and any(map(is_matrix, own))
        if is_layer and (len(members) > 1 or _ends_with(stem, {"dense", "linear"})):
            return (*root, last)
    return None
