"""Every argument of every public function, given what does not belong there.

Each valid call is repeated with one of its arguments replaced by a bad value. What comes back is
counted: a sentence of this library (a TypeError or ValueError that names the function or the
argument), a raw error of somebody else's, or silent acceptance, which is right for some values.

``python -m pytest -s -m exhaustive tests/test_fuzz_arguments.py`` prints the table. A function
that needs arguments which nothing here knows is counted as not called.
"""

import collections
import inspect
import re
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxopt_course import (
    activations,
    initializers,
    losses,
    metrics,
    optimizers,
    regularizers,
    schedules,
    surfaces,
    transforms,
)
from tests.catalogue import TRANSFORMATIONS
from tests.catalogue.member import bowl
from tests.names import public_names


PARAMS = {"w": jnp.linspace(0.5, 1.5, 6).reshape(2, 3), "b": jnp.ones(3)}
PACKAGES = (
    *(activations, initializers, losses, metrics, optimizers),
    *(regularizers, schedules, surfaces, transforms),
)
BAD = {
    "None": None,
    "True": True,
    "text": "text",
    "empty text": "",
    "-1": -1,
    "nan": float("nan"),
    "inf": float("inf"),
    "huge int": 10**400,
    "complex": 1j,
    "list": [],
    "dict": {},
    "object": object(),
    "function": lambda *args: None,
    "class": int,
    "matrix": np.ones((2, 2)),
    "texts": np.array(["a"]),
    "ints": np.arange(3),
    "state": optax.EmptyState(),
    "transformation": optax.identity(),
    "bytes": b"x",
}
STEP = 3
KNOWN = {  # an argument by its name: what is valid wherever it occurs without a default
    "learning_rate": 0.1,
    "params": PARAMS,
    "tree": PARAMS,
    "updates": PARAMS,
    "init_value": 0.1,
    "end_value": 0.01,
    "peak_value": 0.1,
    "value": 0.1,
    "transition_steps": 10,
    "transition_begin": 0,
    "decay_rate": 0.5,
    "decay_steps": 10,
    "warmup_steps": 2,
    "total_steps": 20,
    "stable_steps": 5,
    "power": 1.0,
    "cycle_steps": 10,
    "schedules": [optax.constant_schedule(0.1)] * 2,
    "boundaries": [5],
    "factor": 0.5,
    "strength": 0.1,
    "logits": jnp.linspace(-1.0, 1.0, 12).reshape(4, 3),
    "predictions": jnp.linspace(0.1, 0.9, 4),
    "targets": jnp.linspace(0.0, 1.0, 4),
    "predictor_outputs": jnp.linspace(-1.0, 1.0, 4),
    "x": jnp.linspace(0.1, 0.9, 4),
}
LOGITS = jnp.linspace(-1.0, 1.0, 12).reshape(4, 3)
SHARES = jnp.full((4, 3), 1 / 3)
HALVES, BITS, CLASSES = jnp.full(4, 0.5), jnp.array([0, 1, 1, 0]), jnp.array([0, 1, 2, 0])
CLASSIFIED = {"outputs": LOGITS, "targets": CLASSES}
SPECIFIC = {  # arguments without a default, by function
    "ackley": {"point": HALVES[:2]},
    "accelerated": {"inner": optax.sgd(0.1)},
    "accuracy": CLASSIFIED,
    "activation": {"name": "relu"},
    "beale": {"point": HALVES[:2]},
    "binary_accuracy": {"outputs": HALVES, "targets": BITS},
    "binary_cross_entropy": {"probabilities": HALVES, "labels": BITS},
    "categorical_cross_entropy": {"probabilities": SHARES, "labels": SHARES},
    "confusion_matrix": {"predicted": CLASSES, "targets": CLASSES, "n_classes": 3},
    "convex_kl_divergence": {"log_predictions": LOGITS, "targets": SHARES},
    "generalized_kl_divergence": {"log_predictions": LOGITS, "targets": SHARES},
    "kl_divergence": {"log_predictions": LOGITS, "targets": SHARES},
    "kl_divergence_with_log_targets": {"log_predictions": LOGITS, "log_targets": LOGITS},
    "multiclass_hinge_loss": {"scores": LOGITS, "labels": CLASSES},
    "multiclass_perceptron_loss": {"scores": LOGITS, "labels": CLASSES},
    "poly_loss_cross_entropy": {"logits": LOGITS, "labels": SHARES},
    "safe_softmax_cross_entropy": {"logits": LOGITS, "labels": SHARES},
    "sigmoid_focal_loss": {"logits": HALVES, "labels": BITS},
    "sparsemax_loss": {"logits": HALVES, "labels": BITS},
    "triplet_margin_loss": {"anchors": SHARES, "positives": SHARES, "negatives": SHARES},
    "cyclic_schedule": {"init_value": 0.1, "peak_value": 1.0, "up_steps": 2, "down_steps": 3},
    "elastic_net_penalty": {"w": HALVES},
    "exact_match": {"outputs": SHARES, "targets": jnp.ones((4, 3))},
    "f1_score": {"matrix": jnp.ones((3, 3))},
    "group_lasso_penalty": {"w": SHARES},
    "himmelblau": {"point": HALVES[:2]},
    "inject_hyperparams": {"inner_factory": optimizers.adam},
    "l1_penalty": {"w": HALVES},
    "l2_penalty": {"w": HALVES},
    "mean_absolute_error": {"outputs": HALVES, "targets": HALVES},
    "measure_noise_scale": {"batch_size": 8},
    "measure_with_ema": {"measure": jnp.max, "decay": 0.9},
    "multilabel_cross_entropy": {"logits": LOGITS, "labels": jnp.ones((4, 3))},
    "nuclear_norm_penalty": {"w": SHARES},
    "precision": {"matrix": jnp.ones((3, 3))},
    "prox_nuclear": {"x": SHARES},
    "r2": {"outputs": HALVES, "targets": KNOWN["targets"]},
    "rastrigin": {"point": HALVES[:2]},
    "ravine": {"point": HALVES[:2]},
    "recall": {"matrix": jnp.ones((3, 3))},
    "rosenbrock": {"point": HALVES[:2]},
    "saddle": {"point": HALVES[:2]},
    "sam": {"optimizer": optax.sgd(0.1), "adv_optimizer": optax.sgd(0.1)},
    "scale_by_dog": {"init_step": ("heuristic", 1e-6)},
    "sigmoid_binary_cross_entropy": {"logits": HALVES, "labels": BITS},
    "smooth_labels": {"labels": SHARES, "alpha": 0.1},
    "softmax_cross_entropy": {"logits": LOGITS, "labels": SHARES},
    "softmax_cross_entropy_with_integer_labels": {"logits": LOGITS, "labels": CLASSES},
    "top_k_accuracy": CLASSIFIED | {"k": 2},
    "weighted_mean": {"values": HALVES, "weights": HALVES},
}


def public_functions():
    for package in PACKAGES:
        for name in public_names(package):
            thing = getattr(package, name)
            if inspect.isfunction(thing) and thing.__module__.startswith("jaxopt_course"):
                yield name, thing


def valid_arguments(name, function):
    """Keyword arguments of a call that works, or None where nothing here knows them."""
    members = [m for key, m in TRANSFORMATIONS.items() if key.split(":")[0] == name]
    if members and members[0].factory is function:
        return members[0].fixed | members[0].numbers
    given, known = {}, KNOWN | SPECIFIC.get(name, {})
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        if parameter.default is not parameter.empty:
            given[parameter.name] = parameter.default
        elif parameter.name in known:
            given[parameter.name] = known[parameter.name]
        else:
            return None
    return given


def use(function, arguments):
    """Call it, and trace what it builds: a transformation, or a schedule."""
    built = function(**arguments)
    if isinstance(built, optax.GradientTransformation):
        offered = {"value": bowl(PARAMS), "grad": PARAMS, "value_fn": bowl}
        state = jax.eval_shape(built.init, PARAMS)
        step = lambda grads, state: built.update(grads, state, PARAMS, **offered)
        jax.eval_shape(step, PARAMS, state)
    elif function.__module__.startswith("jaxopt_course.schedules"):
        built(STEP)


def outcome(name, function, arguments, argument):
    """``"sentence"``, ``"raw"`` or ``"accepted"``, and the text of an error."""
    try:
        use(function, arguments)
    except (TypeError, ValueError) as error:
        text = str(error)
        is_ours = re.match(r"[\w.`' ]+: ", text) or f"`{argument}`" in text or name in text
        return ("sentence" if is_ours and text.rstrip().endswith((".", "?")) else "raw"), text
    except Exception as error:  # whatever it is, it is what the user sees
        return "raw", f"{type(error).__name__}: {error}"
    return "accepted", ""


def fuzzed(functions):
    """Counts by (function, outcome), and the raw errors."""
    counts, raw, not_called = collections.Counter(), [], []
    for name, function in functions:
        valid = valid_arguments(name, function)
        if valid is None or outcome(name, function, valid, "")[0] != "accepted":
            not_called.append(name)
            continue
        for argument in inspect.signature(function).parameters.keys() & valid.keys():
            for kind, bad in BAD.items():
                verdict, text = outcome(name, function, valid | {argument: bad}, argument)
                counts[name, verdict] += 1
                if verdict == "raw":
                    raw.append((name, argument, kind, text.split("\n")[0][:90]))
    return counts, raw, not_called


@pytest.mark.exhaustive
def test_bad_arguments_meet_a_sentence(as_users_run_it):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        counts, raw, not_called = fuzzed(list(public_functions()))
    for name in sorted({name for name, _ in counts}):
        row = {v: counts[name, v] for v in ("sentence", "accepted", "raw")}
        print(f"{name:40} {row}")  # noqa: T201
    print(f"not called: {', '.join(not_called)}")  # noqa: T201
    print(*sorted(raw), sep="\n")  # noqa: T201
    print(f"{sum(counts.values())} calls, {len(raw)} raw errors")  # noqa: T201
    assert len(raw) < 20
