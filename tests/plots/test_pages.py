"""Pages of images, matrices, histograms and embeddings show all that they were given."""

import numpy as np
import pytest

from jaxopt_course.plots import confusion_heatmap, embedding, histograms, image_page


def test_images_are_laid_out_in_rows_on_one_scale():
    images = np.arange(5 * 2 * 2, dtype=float).reshape(5, 2, 2, 1)
    figure = image_page(images, [f"no. {i}" for i in range(5)], columns=2, title="page")
    shown = [axes.images[0] for axes in figure.axes if axes.get_title()]
    np.testing.assert_array_equal([image.get_array() for image in shown], images[..., 0])
    assert {image.get_clim() for image in shown} == {(0.0, 19.0)}
    assert [axes.get_title() for axes in figure.axes[:5]] == [f"no. {i}" for i in range(5)]
    # 3 rows of 2 places, one of which is empty, and the scale
    assert len(figure.axes) == 7


def test_rows_of_images_have_titles():
    figure = image_page(np.zeros((5, 2, 2, 3)), columns=3, row_titles=["original", "augmented"])
    said = [[text.get_text() for text in axes.texts] for axes in figure.axes]
    assert said == [["original"], [], [], ["augmented"], [], []]
    figure.draw_without_rendering()
    assert all(axes.texts[0].get_window_extent().x0 >= 0 for axes in figure.axes[::3])


def test_images_of_three_channels_need_no_scale():
    assert len(image_page(np.zeros((3, 2, 2, 3))).axes) == 3


def test_unfit_images_are_refused(as_users_run_it):
    for shape in ((), (0, 2, 2), (2, 2), (1, 2, 2, 2), (1, 1, 2, 2, 3)):
        with pytest.raises(ValueError, match=r"`images` must be f.*got the shape"):
            image_page(np.zeros(shape))
    with pytest.raises(ValueError, match="one for each of the 2 images, got 1"):
        image_page(np.zeros((2, 2, 2)), ["one"])
    with pytest.raises(ValueError, match=r"`columns` must lie in \[1, inf\), got 0"):
        image_page(np.zeros((2, 2, 2)), columns=0)
    with pytest.raises(ValueError, match="`row_titles` must be one for each of the 2 rows, got 1"):
        image_page(np.zeros((2, 2, 2)), columns=1, row_titles=["one"])


def test_a_confusion_matrix_shows_counts_in_their_fields_and_shares_as_shades():
    figure = confusion_heatmap(np.array([[3, 1], [0, 0]]), ["cat", "dog"])
    axes = figure.axes[0]
    # A class that does not occur has no shares, and divides by no 0.
    np.testing.assert_array_equal(axes.images[0].get_array(), [[0.75, 0.25], [0, 0]])
    fields = {text.get_position(): text.get_text() for text in axes.texts}
    assert fields == {(0, 0): "3", (1, 0): "1"}
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted class", "true class")
    assert [label.get_text() for label in axes.get_yticklabels()] == ["cat", "dog"]
    for labels, matrix, sentence in (
        (None, np.ones((2, 3)), r"must be square, got the shape \(2, 3\)"),
        (["a"], np.ones((2, 2)), "one for each of the 2 classes, got 1"),
    ):
        with pytest.raises(ValueError, match=sentence):
            confusion_heatmap(matrix, labels)


def test_histograms_count_every_finite_number_and_say_how_many_are_zero():
    arrays = {"['Dense_0']": np.array([[0.0, 0.0], [1.0, 3.0]]), "b": np.array([1.0, np.nan])}
    figure = histograms(arrays, quantity="gradient", bins=3)
    heights = [[bar.get_height() for bar in axes.patches] for axes in figure.axes]
    assert heights == [[2, 1, 1], [0, 1, 0]]
    assert [axes.get_ylabel() for axes in figure.axes] == ["Dense_0", "b"]
    said = [axes.texts[0].get_text() for axes in figure.axes]
    assert said[0] == "4 numbers\n1 ± 1.2\n50% zeros"
    assert said[1] == "1 numbers\n1 ± 0\n0% zeros\n1 not finite"
    assert figure.axes[1].get_xlabel().startswith("gradient")
    with pytest.raises(ValueError, match="at least one layer, got none"):
        histograms({})


def test_principal_components_keep_the_distances_of_a_plane():
    points = np.array([[0.0, 0.0, 1.0], [3.0, 0.0, 1.0], [0.0, 4.0, 1.0], [6.0, 8.0, 1.0]])
    figure = embedding(points, np.array([0, 0, 2, 2]), names=["a", "b", "c"], title="plane")
    axes = figure.axes[0]
    drawn = np.concatenate([group.get_offsets() for group in axes.collections])
    distances = lambda x: np.linalg.norm(x[:, None] - x, axis=-1)
    np.testing.assert_allclose(distances(drawn), distances(points), atol=1e-6)  # rounding
    assert [text.get_text() for text in axes.texts] == ["a", "c"]
    assert "of the variance" in axes.get_xlabel()


@pytest.mark.exhaustive  # t-SNE takes seconds where its threads share their cores
def test_neighbours_stay_neighbours_in_tsne():
    labels = np.repeat([0, 1], 20)
    features = np.random.default_rng(0).normal(size=(40, 3)) + 20.0 * labels[:, None]
    first, second = (
        group.get_offsets()
        for group in embedding(features, labels, method="tsne").axes[0].collections
    )
    middles = np.mean(first, axis=0), np.mean(second, axis=0)
    gap = np.linalg.norm(middles[0] - middles[1])
    assert max(np.linalg.norm(first - middles[0], axis=1)) < gap / 2
    assert max(np.linalg.norm(second - middles[1], axis=1)) < gap / 2


def test_unfit_features_are_refused(as_users_run_it):
    classes = np.zeros(3, int)
    for features, labels, options, sentence in (
        (np.ones((3, 1)), classes, {}, r"at least 3 examples and 2 dimensions.*\(3, 1\)"),
        (np.ones(()), classes, {}, r"2 dimensions, got the shape \(\)"),
        (np.ones((3, 2)), classes[:2], {}, r"one for each of the 3 examples.*\(2,\)"),
        (np.ones((3, 2)), classes + 1, {"names": ["a"]}, "one for each class, up to 1, got 1"),
        (np.ones((3, 2)), classes, {"method": "tnse"}, "Did you mean 'tsne'"),
    ):
        with pytest.raises(ValueError, match=sentence):
            embedding(features, labels, **options)
