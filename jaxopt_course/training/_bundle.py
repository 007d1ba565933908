"""A trained model in one file, with everything that is needed to apply it to new rows.

The file has a line ``jaxopt_course bundle 2 DIGEST``, a line of JSON that describes the model, and
the arrays in Flax's msgpack format. The digest is the sha256 of everything after its line. The file
contains no code, so a file of unknown origin can at worst be refused.

Bundles are checked before they are written and after they were read: names, sizes and types first,
which describe a model; the arrays must then have the shapes, dtypes and ranges of that model.
"""

import json
import os
import pathlib
import re
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import serialization
from jaxtyping import Array, PyTree, Shaped

from jaxopt_course.checkpoints import briefly
from jaxopt_course.core import Params, checks, replacing, sha256
from jaxopt_course.data import Scaler, TableEncoder, check_features, scale_features
from jaxopt_course.problems import problem
from jaxopt_course.tasks import Task

from ._bundle_checks import check_bundle, init_shapes, make_task, task_of
from ._evaluate import predict


FORMAT, VERSION = "jaxopt_course bundle", "2"
LONGEST_SEAL, LONGEST_HEADER = 200, 1_000_000  # bytes
HEADER = ("model", "input_shape", "problem", "label_names")


class Bundle(NamedTuple):
    """A trained model.

    It is a model of :mod:`jaxopt_course.nn`, which the file describes, or the model of any task:
    ``Bundle.of(task, run.best_params, run.best_model_state)``. The file of the latter holds its
    arrays only, and :func:`load_bundle` is given the task.

    model: ``{"name": ..., "config": {...}}``: a model of :mod:`jaxopt_course.nn` and its arguments,
        as JSON can represent them. None: the model of ``own_task``.
    input_shape: shape of one example, without the batch. With ``own_task`` it may be None, if the
        inputs are not one array of known shape.
    problem: name of the problem type. None: ``own_task`` has none.
    params: the parameters.
    model_state: the model state; ``{}`` if there is none.
    scaler: scaler of the inputs, or None.
    label_names: names of the classes. None: their numbers.
    encoder: how columns of a table become inputs, or None.
    own_task: task of a model that is not described by ``model``; otherwise None.
    """

    model: dict[str, Any] | None
    input_shape: tuple[int, ...] | None
    problem: str | None
    params: Params
    model_state: PyTree
    scaler: Scaler | None = None
    label_names: tuple[str, ...] | None = None
    encoder: TableEncoder | None = None
    own_task: Task | None = None

    @classmethod
    def of(cls, task: Task, params: Params, model_state: PyTree, **others: Any) -> "Bundle":
        """The bundle of any task; ``others`` are ``input_shape``, ``scaler``, ``label_names``.

        Examples:
            >>> from jaxopt_course.tasks import function_task
            >>> apply = lambda params, x: x @ params["w"]
            >>> init = lambda key: {"w": jnp.ones((2, 1))}
            >>> task = function_task(init, apply, problem("regression"))
            >>> bundle = Bundle.of(task, {"w": jnp.ones((2, 1))}, {})
            >>> apply_bundle(bundle, np.ones((1, 2))).labels.tolist()
            [[2.0]]
        """
        kind = None if task.problem is None else task.problem.name
        parts = {"input_shape": None} | others
        return cls(
            None, problem=kind, params=params, model_state=model_state, own_task=task, **parts
        )

    def task(self) -> Task:
        """The task of the model, to evaluate it or to train it further.

        It takes scaled inputs: ``jc.data.scale_features(bundle.scaler, inputs)``.
        ``jc.starting_from(bundle.task(), bundle.params, bundle.model_state)`` continues training.
        """
        if self.own_task is not None:
            return self.own_task
        described = json.dumps(self.model, sort_keys=True)
        return make_task(described, self.input_shape, str(self.problem))


class Predictions(NamedTuple):
    """Predictions of a model for some examples.

    values: probabilities, or numbers in the unit of the targets.
    labels: one readable prediction per example: names of classes if the bundle has them, else class
        numbers, 0 or 1 for each label, or the values themselves.
    """

    values: Array
    labels: Shaped[np.ndarray, "rows ..."]


def save_bundle(path: str | os.PathLike[str], bundle: Bundle) -> None:
    """Write ``bundle`` to the file ``path``, atomically.

    Raises:
        ValueError: if the bundle is inconsistent: an unknown model or problem, a config that JSON
            cannot represent, arrays that are not finite or do not fit the model or the task, or a
            scaler that divides by 0.
        OSError: if the file cannot be written, or exists and is not a bundle.
    """
    check_bundle("save_bundle", bundle)
    path = pathlib.Path(path)
    if path.is_file() and path.stat().st_size and _kind_of(path) is None:
        raise FileExistsError(f"save_bundle: {path} is not a model bundle, so it is not replaced.")
    scaler = {} if bundle.scaler is None else {"scaler": bundle.scaler._asdict()}
    trees = {"params": bundle.params, "model_state": bundle.model_state}
    if bundle.own_task is not None:  # of any structure
        trees = {name: _by_path(part) for name, part in trees.items()}
    arrays = {**trees, **scaler}
    payload = serialization.msgpack_serialize(jax.tree.map(np.asarray, arrays))
    encoder = {} if bundle.encoder is None else {"encoder": bundle.encoder.to_json()}
    header = json.dumps({name: getattr(bundle, name) for name in HEADER} | encoder)
    content = header.encode() + b"\n" + payload
    seal = f"{FORMAT} {VERSION} {sha256(content)}\n"
    with replacing(path) as part:
        part.write_bytes(seal.encode() + content)


def load_bundle(path: str | os.PathLike[str], task: Task | None = None) -> Bundle:
    """Read the bundle in the file ``path``.

    Args:
        path: the file.
        task: the task of ``Bundle.of(task, ...)``. None: the file describes its model.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is not a bundle, has another version, is damaged, or is inconsistent; if
            it needs a task or does not belong to this one.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"load_bundle: there is no file {path}.")
    version = _kind_of(path)
    if version is None:
        raise ValueError(f"load_bundle: {path} is not a model bundle.")
    if version != VERSION:
        raise ValueError(
            f"load_bundle: {path} has version {version}, this library reads version {VERSION}: "
            "save the model again."
        )
    seal, _, content = path.read_bytes().partition(b"\n")
    if seal != f"{FORMAT} {VERSION} {sha256(content)}".encode():
        raise ValueError(f"load_bundle: {path} is truncated or damaged: its checksum differs.")
    bundle = _of_task(path, _unpacked(path, content), task)
    check_bundle(f"load_bundle: {path}", bundle)
    return bundle


def _kind_of(path: pathlib.Path) -> str | None:
    """The version of the bundle in ``path``, from its first line; None if it is not a bundle."""
    with path.open("rb") as file:
        line = file.readline(LONGEST_SEAL)
    if line.startswith(b'{"format": "jaxopt_course bundle"'):
        return "1"
    found = re.fullmatch(rf"{FORMAT} ([0-9]+) [0-9a-f]{{64}}\n".encode(), line)
    return found[1].decode() if found else None


def _unpacked(path: pathlib.Path, content: bytes) -> Bundle:
    """The parts of a bundle, which may be inconsistent."""
    line, _, payload = content.partition(b"\n")
    try:
        if len(line) > LONGEST_HEADER:
            raise ValueError(f"its header has {len(line)} bytes, at most {LONGEST_HEADER} are read")
        header = json.loads(line)
        arrays = serialization.msgpack_restore(payload)
        names, scaler = header["label_names"], arrays.get("scaler")
        return Bundle(
            model=header["model"],
            input_shape=_as_tuple(header["input_shape"]),
            problem=header["problem"],
            params=arrays["params"],
            model_state=arrays["model_state"],
            scaler=None if scaler is None else Scaler(**scaler),
            label_names=_as_tuple(names),
            encoder=TableEncoder.from_json(header["encoder"]) if "encoder" in header else None,
        )
    except Exception as error:  # msgpack and Flax raise errors of many kinds
        raise ValueError(f"load_bundle: {path} is incomplete: {briefly(error)}.") from error


def _as_tuple(values: Any) -> Any:
    return None if values is None else tuple(values)


def _of_task(path: pathlib.Path, bundle: Bundle, task: Task | None) -> Bundle:
    """``bundle`` with the task that it needs, whose arrays the file holds by their paths."""
    if (bundle.model is None) != (task is not None):
        rule = "describes its model: omit `task`" if task else "is of a task: give this `task`"
        raise ValueError(f"load_bundle: {path} {rule}.")
    if task is None:
        return bundle
    owner = f"load_bundle: {path}"
    shapes, found = init_shapes(owner, task), (bundle.params, bundle.model_state)
    trees = []
    for what, like, arrays in zip(("parameter", "model state"), shapes, found, strict=True):
        names = _by_path(like)
        checks.like(owner, what, arrays, names, than="task's")
        trees.append(jax.tree.unflatten(jax.tree.structure(like), [arrays[name] for name in names]))
    return bundle._replace(params=trees[0], model_state=trees[1], own_task=task)


def _by_path(tree: PyTree) -> dict[str, Any]:
    """The leaves of ``tree`` by their paths, in their order."""
    name = lambda path: jax.tree_util.keystr(path, simple=True, separator="/")
    return {name(path): leaf for path, leaf in jax.tree.leaves_with_path(tree)}


def apply_bundle(bundle: Bundle, inputs: Any, batch_size: int = 512) -> Predictions:
    """The predictions of a model for new examples.

    Args:
        bundle: the model.
        inputs: unscaled examples, one per row; the scaler of the bundle is applied.
        batch_size: number of examples that are computed at once, in [1, inf).

    Raises:
        ValueError: if the examples have another shape than the ``input_shape`` of the bundle, or a
            number is then not finite in float32, scaled or not.
    """
    values = inputs if bundle.input_shape is None else _scaled_inputs(bundle, inputs)
    if bundle.own_task is not None:
        return _predictions_of_own(bundle, values, batch_size)
    task = task_of("apply_bundle", bundle)
    outputs = predict(task, bundle.params, bundle.model_state, values, batch_size)
    row = problem(str(bundle.problem))
    return Predictions(row.activation(outputs), _named(bundle, row.predict_label(outputs)))


def _scaled_inputs(bundle: Bundle, inputs: Any) -> Any:
    shape = jnp.shape(inputs)
    if not shape or shape[1:] != bundle.input_shape:
        wanted = ", ".join(map(str, ("rows", *(bundle.input_shape or ()))))
        raise ValueError(f"apply_bundle: `inputs` must have the shape ({wanted}), got {shape}.")
    values = inputs if isinstance(inputs, jax.Array) else np.asarray(inputs)
    if bundle.scaler is not None:
        values = scale_features(bundle.scaler, values)
    with np.errstate(over="ignore"):  # in float32, where 1e300 is infinite
        check_features("apply_bundle", np.asarray(values).astype(np.float32))
    return values


def _predictions_of_own(bundle: Bundle, inputs: Any, batch_size: int) -> Predictions:
    """The predictions of a task, which are activated: a bit is set above 0.5."""
    values = predict(bundle.task(), bundle.params, bundle.model_state, inputs, batch_size)
    row = None if bundle.problem is None else problem(bundle.problem)
    threshold = {"bits": 0.5, "classes": 0.0}.get("" if row is None else row.targets)
    if row is None or threshold is None:
        return Predictions(values, jax.tree.map(np.asarray, values))
    return Predictions(values, _named(bundle, row.predict_label(values - threshold)))


def _named(bundle: Bundle, labels: Any) -> np.ndarray:
    labels = np.asarray(labels)
    if bundle.label_names is None or labels.ndim != 1:
        return labels
    return np.asarray(bundle.label_names)[labels]
