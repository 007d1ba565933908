"""The Markov source: its entropy in closed form is that of a long sample, and no model beats it."""

import numpy as np
import pytest

from jaxopt_course.workloads import draw_text, markov_source


def test_the_stationary_distribution_is_one():
    source = markov_source(0, 6, 0.3)
    q, p = source.stationary, source.transitions
    np.testing.assert_allclose(p.sum(-1), 1.0)
    assert q.min() >= 0
    np.testing.assert_allclose(q.sum(), 1.0)
    np.testing.assert_allclose(np.einsum("ab,abc->bc", q, p), q, atol=1e-14)
    np.testing.assert_allclose(q.sum(0), q.sum(1), atol=1e-14)


def test_the_entropy_rate_is_that_of_a_long_sample():
    source = markov_source(3, 5, 0.4)
    text = draw_text(source, 0, 4000, 52)
    seen = source.transitions[text[:, :-2], text[:, 1:-1], text[:, 2:]]
    each = -np.log(seen).mean(1)  # of 4000 independent sequences
    error = each.std() / np.sqrt(len(each))
    assert error < 0.003
    assert each.mean() == pytest.approx(source.entropy_rate, abs=4 * error)
    # and of pairs alone, by how often they occur
    counts = np.zeros((5, 5))
    np.add.at(counts, (text[:, :-1].ravel(), text[:, 1:].ravel()), 1)
    behind = counts / counts.sum(1, keepdims=True)
    pair_entropy = -(counts / counts.sum() * np.log(behind)).sum()
    assert pair_entropy == pytest.approx(source.pair_entropy, abs=0.01)
    np.testing.assert_allclose(counts / counts.sum(), source.stationary, atol=0.003)


def test_the_floor_mixes_the_first_token_and_the_others():
    source = markov_source(0, 6, 0.3)
    assert source.floor(1) == pytest.approx(source.pair_entropy)
    expected = (source.pair_entropy + 3 * source.entropy_rate) / 4
    assert source.floor(4) == pytest.approx(expected)
    nearly_uniform = markov_source(0, 6, 1e6)  # whose tokens say nothing of each other
    assert nearly_uniform.floor(12) == pytest.approx(np.log(6), abs=1e-5)
    nearly_certain = markov_source(0, 6, 1e-3)
    assert nearly_certain.entropy_rate < 0.1 * np.log(6)


def test_the_same_seed_is_the_same_text():
    source = markov_source(0, 6, 0.3)
    text = draw_text(source, 1, 8, 5)
    assert text.shape == (8, 5)
    np.testing.assert_array_equal(text, draw_text(source, 1, 8, 5))
    assert (text != draw_text(source, 2, 8, 5)).any()
    np.testing.assert_array_equal(draw_text(source, 1, 8, 1), text[:, :1])
