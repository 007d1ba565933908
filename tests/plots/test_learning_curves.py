"""The figure of a training says what it shows, in grey too, and marks the best evaluation."""

import numpy as np
import pytest

from jaxopt_course.plots import learning_curves


HISTORY = {
    "step": np.array([10, 20, 30, 40]),
    "loss": np.array([2.0, 0.5, 0.2, 0.1]),
    "validation_loss": np.array([2.1, 0.6, 0.4, 0.5]),
    "accuracy": np.array([0.3, 0.7, 0.9, 0.95]),
    "validation_accuracy": np.array([0.3, 0.7, 0.85, 0.9]),
}


def test_it_shows_loss_and_accuracy_in_epochs_and_marks_the_best():
    figure = learning_curves(HISTORY, steps_per_epoch=10, title="digits")
    loss, accuracy = figure.axes
    assert figure.get_suptitle() == "digits"
    assert [axes.get_xlabel() for axes in figure.axes] == ["epochs", "epochs"]
    assert (loss.get_ylabel(), accuracy.get_ylabel()) == ("loss", "accuracy")
    training, validation, best = loss.lines
    np.testing.assert_array_equal(training.get_xdata(), [1, 2, 3, 4])
    np.testing.assert_array_equal(validation.get_ydata(), HISTORY["validation_loss"])
    assert (best.get_xdata()[0], best.get_ydata()[0]) == (3, 0.4)
    assert (accuracy.lines[2].get_xdata()[0], accuracy.lines[2].get_ydata()[0]) == (3, 0.85)
    assert training.get_linestyle() != validation.get_linestyle()
    texts = [text.get_text() for text in loss.get_legend().get_texts()]
    assert texts == ["training", "validation", "lowest: 0.4 at 3 epochs"]
    assert loss.get_yscale() == "log"


def test_without_epochs_validation_or_metric_it_shows_the_loss_by_steps():
    (axes,) = learning_curves({"step": np.array([10, 20]), "loss": np.array([3.0, 2.0])}).axes
    assert axes.get_xlabel() == "steps"
    assert axes.get_yscale() == "linear"
    assert axes.lines[-1].get_xdata()[0] == 20


@pytest.mark.parametrize("losses", [[2.0, np.nan], [np.nan, np.nan], [0.0, 0.0]])
def test_it_draws_what_there_is_of_a_training_that_ended_early(losses, tmp_path):
    figure = learning_curves({"step": np.array([5, 5]), "loss": np.array(losses)})
    figure.savefig(tmp_path / "curves.png")
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_of_several_runs_it_draws_the_mean_and_the_band_of_those_still_running():
    history = {
        "step": np.array([[5, 10, 10], [5, 10, 15]]),  # the first has ended after 10 steps
        "loss": np.array([[4.0, 2.0, np.nan], [2.0, 1.0, 0.5]]),
        "validation_loss": np.array([[4.0, 1.0, np.nan], [2.0, 2.0, 2.0]]),
    }
    (axes,) = learning_curves(history).axes
    training, validation, best = axes.lines
    np.testing.assert_array_equal(training.get_xdata(), [5, 10, 15])
    np.testing.assert_array_equal(training.get_ydata(), [3.0, 1.5, 0.5])
    np.testing.assert_array_equal(validation.get_ydata(), [3.0, 1.5, 2.0])
    assert (best.get_xdata()[0], best.get_ydata()[0]) == (10, 1.5)
    band = axes.collections[0].get_paths()[0].vertices
    edges = {x: sorted(set(band[band[:, 0] == x, 1])) for x in (5, 10, 15)}
    assert edges == {5: [2.0, 4.0], 10: [1.0, 2.0], 15: [0.5]}
    assert axes.get_legend().get_title().get_text() == "mean and range of 2 runs, 1 at the end"


def test_unfit_histories_are_refused(as_users_run_it):
    with pytest.raises(ValueError, match=r"must have \['loss'\]"):
        learning_curves({"step": np.array([1])})
    with pytest.raises(ValueError, match=r"of one run.*\(1, 2, 3\)"):
        learning_curves({"step": np.ones((1, 2, 3)), "loss": np.ones((1, 2, 3))})
    with pytest.raises(ValueError, match=r"of one run.*\(2, 3\), \(3,\)"):
        learning_curves({"step": np.ones(3), "loss": np.ones((2, 3))})
    with pytest.raises(ValueError, match=r"`steps_per_epoch` must lie in \[1, inf\), got 0"):
        learning_curves(HISTORY, steps_per_epoch=0)
