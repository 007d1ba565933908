"""Parameters as safetensors files, which other libraries can read, and which contain no code.

The name of a leaf is its path, joined by dots: ``{"dense": {"kernel": ...}}`` has the name
``dense.kernel``, as in the files of PyTorch and in those of Hugging Face for Flax.
"""

import os
import pathlib
from typing import Any

import jax
import numpy as np
from jaxtyping import PyTree

from jaxopt_course.core import Params, replacing

from ._leaves import ARRAYS, differences, native, placed
from ._manifest import briefly


DTYPES = {
    *("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    *("float16", "bfloat16", "float32", "float64", "complex64"),
}


def export_safetensors(path: str | os.PathLike[str], params: Params) -> None:
    """Write ``params`` to the file ``path``, atomically.

    Args:
        path: path of the file.
        params: a pytree of arrays, of dtypes that the format supports.

    Raises:
        ValueError: if two leaves have the same name, or a leaf is not such an array.
        ImportError: if safetensors is not installed.

    Examples:
        >>> import tempfile
        >>> import jax.numpy as jnp
        >>> path = pathlib.Path(tempfile.mkdtemp(), "model.safetensors")
        >>> export_safetensors(path, {"dense": {"kernel": jnp.ones((2, 3), jnp.bfloat16)}})
        >>> params = import_safetensors(path)
        >>> params["dense"]["kernel"].shape, params["dense"]["kernel"].dtype.name
        ((2, 3), 'bfloat16')
    """
    files = _library("export_safetensors")
    arrays = {}
    for name, leaf in _named("export_safetensors", params).items():
        if not isinstance(leaf, ARRAYS) or str(leaf.dtype.name) not in DTYPES:
            what = leaf.dtype if isinstance(leaf, ARRAYS) else repr(leaf)
            raise ValueError(
                f"export_safetensors: {name} must be an array of a dtype that the format has: "
                f"{', '.join(sorted(DTYPES))}; got {what}."
            )
        arrays[name] = np.asarray(native(leaf), order="C")
    with replacing(path) as part:
        files.numpy.save_file(arrays, part, metadata={"format": "flax"})


def import_safetensors(path: str | os.PathLike[str], like: PyTree = None) -> PyTree:
    """Read the parameters in the file ``path``.

    Args:
        path: path of the file.
        like: a pytree of arrays or of ``jax.ShapeDtypeStruct``, whose structure and placement the
            parameters get. None: nested dicts of NumPy arrays.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is damaged, or names, shapes or dtypes are not those of ``like``.
        ImportError: if safetensors is not installed.
    """
    files = _library("import_safetensors")
    if not pathlib.Path(path).is_file():
        raise FileNotFoundError(f"import_safetensors: there is no file {os.fspath(path)}.")
    try:
        with files.safe_open(path, "np") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (files.SafetensorError, AttributeError, OSError) as error:
        raise ValueError(
            f"import_safetensors: {os.fspath(path)} cannot be read: {briefly(error)}."
        ) from error
    if like is None:
        return _nested(arrays)
    wanted = _named("import_safetensors", like)
    found = differences(arrays, wanted)
    if found is not None:
        raise ValueError(f"import_safetensors: {os.fspath(path)} is of other parameters: {found}.")
    leaves = [placed(arrays[name], leaf) for name, leaf in wanted.items()]
    return jax.tree.unflatten(jax.tree.structure(like), leaves)


def _library(owner: str) -> Any:
    try:
        import safetensors
        import safetensors.numpy
    except ImportError as error:
        raise ImportError(
            f"{owner} needs safetensors: pip install 'jaxopt_course[safetensors]'."
        ) from error
    return safetensors


def _named(owner: str, tree: PyTree) -> dict[str, Any]:
    """The leaves of ``tree`` under their names in a file."""
    named: dict[str, Any] = {}
    for path, leaf in jax.tree.leaves_with_path(tree):
        name = jax.tree_util.keystr(path, simple=True, separator=".")
        if name in named:
            raise ValueError(f"{owner}: two leaves would be called {name!r}.")
        named[name] = leaf
    return named


def _nested(arrays: dict[str, Any]) -> dict[str, Any]:
    """Nested dicts of arrays whose names are paths with dots."""
    tree: dict[str, Any] = {}
    for name, array in arrays.items():
        *parents, last = name.split(".")
        place = tree
        for parent in parents:
            place = place.setdefault(parent, {})
            if not isinstance(place, dict):
                break
        if not isinstance(place, dict) or last in place:
            raise ValueError(
                f"import_safetensors: {name!r} lies within another array: give `like`, whose "
                "structure it is to have."
            )
        place[last] = array
    return tree
