import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxopt_course.optimizers import sgd
from jaxopt_course.training import EarlyStopping, OutcomeCode, Rows, make_train

from .problems import line, planted_task


ROWS = Rows(jnp.arange(4), None, jnp.arange(4))
#                         evaluation: 1    2    3    4    5     6    7    8    9
CURVE = jnp.array([np.nan, 5.0, 4.0, 4.5, 3.9, 3.85, 4.0, 4.0, 3.0, 2.0])


def stopped(patience, min_delta=0.0):
    """The run on the planted curve: after k steps, the parameter is k, the loss CURVE[k]."""
    train = make_train(
        lambda _: (planted_task(CURVE), sgd(1.0)),
        line(4),
        steps=9,
        batch_size=4,
        evaluate_every=1,
        early_stopping=EarlyStopping(patience, min_delta),
    )
    return train(jax.random.key(0), None, ROWS)


def oracle(patience, min_delta):
    """The same rule in plain Python: where it stops, and where the least loss was until then."""
    best, count, losses = np.inf, 0, []
    for loss in np.asarray(CURVE[1:]):
        losses.append(loss)
        best, count = (loss, 0) if loss < best - min_delta else (best, count + 1)
        if count >= patience:
            break
    return len(losses), int(np.nanargmin(losses)) + 1, count >= patience


CASES = [(1, 0.0), (2, 0.0), (3, 0.0), (2, 0.2), (3, 0.2), (4, 0.2), (9, 0.0), (1, 2.0)]


def test_it_stops_at_the_right_evaluation_and_restores_the_best():
    """Course 2, early stopping, with checkpoints: the best of the validation score is kept."""
    # Patience and min_delta are traced and mapped: all cases are one program.
    patience, min_delta = (jnp.array(column, float) for column in zip(*CASES, strict=True))
    runs = jax.jit(jax.vmap(stopped))(patience, min_delta)
    for i, case in enumerate(CASES):
        stop, best, early = oracle(*case)
        assert int(runs.state.step[i]) == stop, case
        assert float(runs.state.params["steps"][i]) == stop
        assert float(runs.best_params["steps"][i]) == best
        code = OutcomeCode.STOPPED_EARLY if early else OutcomeCode.COMPLETED
        assert (int(runs.outcome.code[i]), int(runs.outcome.step[i])) == (code, stop)
        losses = np.asarray(runs.history["validation_loss"][i])
        np.testing.assert_array_equal(losses[:stop], CURVE[1 : stop + 1])
        assert np.isnan(losses[stop:]).all()
    assert {case for case in CASES if oracle(*case)[2]} not in (set(), set(CASES))


@pytest.mark.parametrize(
    ("losses", "min_delta"), [([1.0, 1.0, 1.0], 0.0), ([1.0, 0.75, 0.75], 0.25), ([0.0] * 3, 0.0)]
)
def test_a_loss_that_only_ties_is_no_improvement(losses, min_delta):
    """A loss improves if it is below the best by more than ``min_delta``, and not by just that."""
    rule = EarlyStopping(patience=2, min_delta=min_delta)
    state = rule.init()
    for count, loss in enumerate(losses):
        assert not state.should_stop
        state = rule.update(state, jnp.array(loss))
        assert int(state.patience_count) == count
        assert float(state.best_metric) == losses[0]
    assert state.should_stop


def test_nan_is_the_worst_and_a_run_without_numbers_keeps_its_start():
    rule = EarlyStopping(patience=2)
    state = rule.init()
    for _ in range(2):
        assert not state.should_stop
        state = rule.update(state, jnp.array(jnp.nan))
    assert state.should_stop
    assert rule.update(state, jnp.array(1.0)).best_metric == 1.0


def test_once_it_is_to_stop_an_improvement_does_not_change_that():
    rule = EarlyStopping(patience=1)
    state = rule.update(rule.update(rule.init(), jnp.array(1.0)), jnp.array(2.0))
    assert state.should_stop
    assert rule.update(state, jnp.array(0.5)).should_stop


@pytest.mark.parametrize(
    ("rule", "sentence"),
    [
        (EarlyStopping(0), r"make_train: `early_stopping.patience` must lie in \[1, inf\), got 0"),
        (EarlyStopping(1, -1.0), r"`early_stopping.min_delta` must lie in \[0, inf\), got -1.0"),
    ],
)
def test_bad_numbers_are_refused(rule, sentence):
    with pytest.raises(ValueError, match=sentence):
        stopped(*rule)
