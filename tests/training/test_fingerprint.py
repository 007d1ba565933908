"""A fingerprint tells programs apart, tells their numbers apart, and nothing else."""

import json
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxopt_course.checkpoints import CheckpointMismatchError, data_fingerprint, fingerprint
from jaxopt_course.nn import MLP
from jaxopt_course.optimizers import adam, adamw, lbfgs, nadam, sgd
from jaxopt_course.problems import problem
from jaxopt_course.schedules import cosine_decay_schedule
from jaxopt_course.tasks import Batch, linen_task
from jaxopt_course.training import compare_fingerprints, optimizer_fingerprint, task_fingerprint
from jaxopt_course.transforms import chain, clip_by_global_norm


PARAMS = {"w": jax.ShapeDtypeStruct((3, 2), jnp.float32), "b": np.zeros(2, np.float32)}


def of(optimizer):
    return optimizer_fingerprint(optimizer, PARAMS)


ADAM = of(adam(1e-3))


def test_other_numbers_are_the_same_program():
    assert of(adam(1e-3)) == ADAM
    fast = of(adam(1e-2))
    assert fast["program"] == ADAM["program"]
    assert fast["digest"] != ADAM["digest"]
    (sentence,) = compare_fingerprints({"optimizer": ADAM}, {"optimizer": fast})
    assert sentence == (
        "the optimizer's constants differ from the checkpoint's: -0.001 became -0.01. The training "
        "continues with the optimizer that was passed, in whose program a learning rate of 0.01 "
        "may be the constant -0.01."
    )
    (sentence,) = compare_fingerprints({"optimizer": ADAM}, {"optimizer": of(adam(0.9))})
    assert ": -0.001 became -0.9. The" in sentence
    assert compare_fingerprints({"optimizer": ADAM}, {"optimizer": of(adam(1e-3))}) == []


def test_other_optimizers_are_other_programs():
    schedule = cosine_decay_schedule(1e-3, 100)
    others = (nadam(1e-3), adamw(1e-3), adam(schedule), sgd(1e-3), lbfgs())
    clipped = chain(clip_by_global_norm(1.0), adam(1e-3))
    programs = {ADAM["program"], *(of(other)["program"] for other in (*others, clipped))}
    assert len(programs) == 7
    longer = of(adam(cosine_decay_schedule(1e-3, 200)))
    assert longer["program"] == of(adam(schedule))["program"]
    wider = optimizer_fingerprint(adam(1e-3), {**PARAMS, "b": np.zeros(3, np.float32)})
    assert wider["program"] != ADAM["program"]


def test_where_the_params_lie_and_what_functions_are_called_is_no_part_of_it():
    committed = jax.device_put({"w": jnp.ones((3, 2), jnp.float32), "b": PARAMS["b"]})
    assert optimizer_fingerprint(adam(1e-3), committed) == ADAM

    def one(x):
        return jax.jit(lambda y: y * 2.0)(x)

    def another(z):
        return jax.jit(lambda beta: beta * 2.0, donate_argnums=0)(z)

    assert fingerprint(one, 1.0) == fingerprint(another, 1.0)
    assert fingerprint(one, 1.0)["program"] != fingerprint(one, 1)["program"]


def test_numbers_are_found_wherever_a_program_holds_them():
    """In a loop, a branch, a captured array, the derivative rule's function, a key."""
    programs = {
        "loop": lambda n: lambda x: jax.lax.fori_loop(0, 3, lambda _, y: y * n, x),
        "branch": lambda n: lambda x: jax.lax.cond(x > 0, lambda: x * n, lambda: x),
        "captured": lambda n: lambda x: x * jnp.full(9, n).at[0].set(np.float64(1)),
        "array": lambda n: lambda x: x * np.array([1.0, n]),
        "custom rule": lambda n: lambda x: jax.nn.relu(x * n),
        "key": lambda n: lambda x: jax.random.normal(jax.random.key(int(100 * n)), (2,)) + x,
    }
    for name, make in programs.items():
        a, same, b = (fingerprint(make(n), 1.0) for n in (0.5, 0.5, 0.25))
        assert a == same, name
        assert a["program"] == b["program"], name
        assert a["digest"] != b["digest"], name
        assert compare_fingerprints({"model": a}, {"model": b})[0].startswith(
            "the model's constants differ from the checkpoint's: "
        ), name
    transposed = [fingerprint(lambda x, a=a: jnp.sum(x, axis=a), np.ones((2, 2))) for a in (0, 1)]
    assert transposed[0]["program"] != transposed[1]["program"]
    order = [fingerprint(lambda a, b, s=s: s * (a - b), 1.0, 1.0) for s in (1.0, -1.0)]
    swapped = fingerprint(lambda a, b: 1.0 * (b - a), 1.0, 1.0)
    assert swapped["program"] != order[0]["program"] == order[1]["program"]
    assert swapped["digest"] == order[0]["digest"]


@pytest.mark.exhaustive
def test_another_process_finds_the_same():
    code = """
import json, sys, jax, numpy as np
from jaxopt_course.optimizers import adam
from jaxopt_course.checkpoints import fingerprint
from jaxopt_course.training import optimizer_fingerprint
jax.config.update("jax_enable_x64", sys.argv[1] == "True")
like = {"w": jax.ShapeDtypeStruct((3, 2), np.float32), "b": np.zeros(2, np.float32)}
draw = lambda x: jax.nn.silu(x) + jax.random.normal(jax.random.key(0), (3,))
print(json.dumps([optimizer_fingerprint(adam(1e-3), like), fingerprint(draw, np.ones(3))]))
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(jax.config.jax_enable_x64)],
        env=os.environ | {"PYTHONHASHSEED": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    draw = lambda x: jax.nn.silu(x) + jax.random.normal(jax.random.key(0), (3,))
    assert json.loads(done.stdout) == [ADAM, fingerprint(draw, np.ones(3))]


def task(**options):
    model = MLP(3, (8,), **{"normalization": "batch", "dropout": 0.1} | options)
    return linen_task(model, jnp.zeros((1, 4), jnp.float32), problem("multiclass"))


def test_a_task_is_told_by_its_loss_in_training_and_in_evaluation():
    batch = Batch(np.zeros((7, 4), np.float32), np.zeros(7, np.int32), np.ones(7))
    base = task_fingerprint(task(), batch)
    fewer = jax.tree.map(lambda x: x[:1], batch._replace(weights=None))
    assert task_fingerprint(task(), fewer) == base
    other_rate = task_fingerprint(task(dropout=0.2), batch)
    assert ": 0.9 became 0.8. " in compare_fingerprints({"model": base}, {"model": other_rate})[0]
    # Momentum is of training, the running statistics' use of evaluation.
    assert compare_fingerprints(
        {"model": base}, {"model": task_fingerprint(task(batch_momentum=0.5), batch)}
    )
    with pytest.raises(CheckpointMismatchError, match=r"to another model: give `accept=\('model',"):
        compare_fingerprints(
            {"model": base}, {"model": task_fingerprint(task(normalization=None), batch)}
        )


def test_data_are_told_by_every_bit():
    arrays = (np.arange(6.0).reshape(2, 3), None, jnp.arange(3))
    base = data_fingerprint(arrays)
    assert base == data_fingerprint((jnp.arange(6.0).reshape(2, 3), None, np.arange(3)))
    others = [
        (np.arange(6.0).reshape(3, 2), None, np.arange(3)),
        (np.arange(6.0).reshape(2, 3).view(np.int64), None, np.arange(3)),
        (np.nextafter(np.arange(6.0), 9).reshape(2, 3), None, np.arange(3)),
        (np.arange(6.0).reshape(2, 3), None, np.arange(3)[::-1]),
    ]
    assert len({base, *map(data_fingerprint, others)}) == 5


def test_what_may_change_is_accepted_by_name():
    saved = {"optimizer": ADAM, "data": "a", "model": ADAM}
    now = {"optimizer": of(sgd(0.1)), "data": "b", "extra": "x"}
    with pytest.raises(CheckpointMismatchError, match=r"give `accept=\('optimizer',\)`"):
        compare_fingerprints(saved, now, ())
    with pytest.raises(
        CheckpointMismatchError, match=r"to another data set: give `accept=\('data',\)`"
    ):
        compare_fingerprints(saved, now, ("optimizer",))
    assert compare_fingerprints(saved, now, ("optimizer", "data")) == []


def test_what_another_jax_has_traced_cannot_be_told():
    elsewhere = ADAM | {"program": "another", "jax": "0.1"}
    (sentence,) = compare_fingerprints({"optimizer": elsewhere}, {"optimizer": ADAM})
    assert sentence.startswith("it is unknown whether the optimizer is that of the checkpoint")
    assert f"by jax 0.1 then and is traced by jax {jax.__version__} now" in sentence
    assert compare_fingerprints({"optimizer": ADAM | {"jax": "0.1"}}, {"optimizer": ADAM}) == []


def test_a_fingerprint_goes_through_json():
    assert json.loads(json.dumps(ADAM)) == ADAM
    many = fingerprint(lambda x: sum(float(i) * x for i in range(200)), 1.0)
    assert len(many["numbers"]) == 64
