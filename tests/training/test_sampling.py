"""Sampled tokens follow the predictions after the tokens before them, in one program."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxopt_course.nn import Transformer
from jaxopt_course.problems import problem
from jaxopt_course.tasks import function_task, linen_task
from jaxopt_course.training import sample_tokens


LENGTH, VOCABULARY = 5, 7


def transformer():
    model = Transformer(VOCABULARY, LENGTH, width=8, heads=2, blocks=1)
    task = linen_task(model, jnp.zeros((1, LENGTH), int), problem("multiclass"))
    params, state = task.init(jax.random.key(1))
    return task, jax.tree.map(lambda x: 20 * x, params), state  # far from uniform


@pytest.mark.exhaustive
def test_greedy_tokens_are_those_of_a_loop_over_the_visible_window():
    task, params, state = transformer()
    prompts = np.array([[3, 1, 0], [6, 6, 2]])
    options = {"key": jax.random.key(0), "length": LENGTH, "temperature": 0.0}
    got = sample_tokens(task, params, state, prompts, 6, **options)
    for prompt, row in zip(prompts, got, strict=True):
        seen = prompt.tolist()
        for token in row.tolist():
            visible = jnp.array([seen[-LENGTH:]])
            assert token == int(task.predict(params, state, visible)[0, -1].argmax())
            seen.append(token)
    alone = sample_tokens(task, params, state, prompts[1], 6, **options)
    np.testing.assert_array_equal(alone, got[1])
    long = np.concatenate([[0, 0, 0], prompts[1], [4, 5]])  # the window holds its end
    both = [sample_tokens(task, params, state, p, 6, **options) for p in (long, long[-LENGTH:])]
    np.testing.assert_array_equal(*both)


def fixed(probabilities=(0.1, 0.2, 0.7), dtype="float32"):
    """A task whose prediction is always the same, and a list of the traces of the model."""
    logits, calls = jnp.log(jnp.array(probabilities)).astype(dtype), []

    def apply(params, tokens):
        calls.append(tokens.shape)
        return jnp.broadcast_to(logits, (*tokens.shape, len(logits)))

    return function_task(lambda key: {}, apply, problem("multiclass")), calls


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_frequencies_are_the_tempered_probabilities(temperature):
    task, _ = fixed()
    prompts = jnp.zeros((300, 1), int)
    options = {"key": jax.random.key(3), "length": 2, "temperature": temperature}
    drawn = np.asarray(sample_tokens(task, {}, {}, prompts, 40, **options))
    p = np.array([0.1, 0.2, 0.7]) ** (1 / temperature)
    p /= p.sum()
    share = np.bincount(drawn.ravel(), minlength=3) / drawn.size
    np.testing.assert_allclose(share, p, atol=5 * np.sqrt(0.25 / drawn.size))


def drawn_from(task, temperature=1.0, prompts=1):
    prompt = jnp.zeros((prompts, 1), int)
    options = {"key": jax.random.key(3), "length": 2, "temperature": temperature}
    return np.asarray(sample_tokens(task, {}, {}, prompt, 40, **options)).ravel()


def test_predictions_in_bfloat16_do_not_bias_the_draws():
    """Gumbel numbers in bfloat16 tie so often that the first tokens come too often."""
    task, _ = fixed([1 / 64] * 64, "bfloat16")
    drawn = drawn_from(task, prompts=300)
    assert abs((drawn < 32).mean() - 0.5) < 5 * np.sqrt(0.25 / drawn.size)


def test_a_tiny_temperature_takes_one_of_the_most_probable_tokens():
    task, _ = fixed([0.2, 0.4, 0.4])
    assert {*drawn_from(task, 1e-38)} <= {1, 2}


def test_a_prediction_that_is_nan_gives_no_token():
    task, _ = fixed([jnp.nan, 0.5, 0.5])
    for temperature in (0.0, 1.0):
        assert {*drawn_from(task, temperature)} == {-1}


def test_predictions_of_another_shape_get_a_sentence():
    task = function_task(lambda key: {}, lambda _, x: jnp.ones((len(x), 3)), problem("multiclass"))
    with pytest.raises(ValueError, match=r"^sample_tokens: .*vocabulary\], got \(1, 3\)"):
        drawn_from(task)


def test_one_program_serves_prompts_of_all_lengths_and_all_temperatures():
    task, calls = fixed()
    key = jax.random.key(0)
    for known, temperature in [(1, 0.0), (2, 1.0), (4, 0.3), (9, jnp.array(2.0))]:
        prompt = jnp.zeros(known, int)
        options = {"key": key, "length": 4, "temperature": temperature}
        assert sample_tokens(task, {}, {}, prompt, 3, **options).shape == (3,)
    assert calls == calls[:1] == [(1, 4)]


@pytest.mark.usefixtures("as_users_run_it")
@pytest.mark.parametrize(
    ("changes", "error", "sentence"),
    [
        ({"prompt": jnp.zeros(2)}, TypeError, "`prompt` must hold integers, got float"),
        ({"prompt": jnp.zeros((2, 0), int)}, ValueError, r"at least one token, got \(2, 0\)"),
        ({"count": 0}, ValueError, r"`count` must lie in \[1, inf\)"),
        ({"length": 0}, ValueError, r"`length` must lie in \[1, inf\)"),
        ({"temperature": -1.0}, ValueError, r"`temperature` must lie in \[0, inf\)"),
    ],
)
def test_bad_arguments_get_a_sentence(changes, error, sentence):
    task, _ = fixed()
    given = {"prompt": jnp.zeros(2, int), "count": 2, "length": 3, "key": jax.random.key(0)}
    with pytest.raises(error, match=f"^sample_tokens: .*{sentence}"):
        sample_tokens(task, {}, {}, **given | changes)
