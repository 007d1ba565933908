"""Text from a model: each token is drawn from the prediction after the tokens before it.

    p_T(x) = p(x)^(1 / T) / sum_y p(y)^(1 / T)

With the temperature T = 0 it is the most probable token (greedy), with T = 1 a draw from the model.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Integer, Key, PyTree, ScalarLike

from jaxopt_course.core import Params, checks, compiled_for, numerics, on_auto_axes
from jaxopt_course.tasks import Task


def sample_tokens(
    task: Task,
    params: Params,
    model_state: PyTree,
    prompt: Integer[Array | np.ndarray, "*batch known"],
    count: int,
    *,
    key: Key[Array, ""],
    length: int,
    temperature: ScalarLike = 1.0,
) -> Int[Array, "*batch count"]:
    """Continue prompts by tokens that a causal model predicts.

    Every step computes the predictions for the last ``length`` tokens again. One program is
    compiled for each task, number of prompts, ``count`` and ``length``. It serves prompts of any
    length and all temperatures.

    Args:
        task: a task whose predictions for tokens [batch, time] are probabilities [batch, time,
            vocabulary] of the next token, such as that of a
            :class:`~jaxopt_course.nn.Transformer`.
        params: the parameters.
        model_state: the model state.
        prompt: tokens of one prompt, or of several prompts of one length, in [1, inf).
        count: number of tokens to draw, in [1, inf); static.
        key: PRNG key of the draws.
        length: number of tokens that the model sees at once, in [1, inf); static. A longer prompt
            is cut at its beginning.
        temperature: in [0, inf); 0 takes the most probable token.

    Returns:
        The new tokens, without the prompt. A token is -1 if the prediction is NaN, as it is after
        a token that the model does not know.

    Raises:
        TypeError: if the prompt does not hold integers.
        ValueError: if the prompt is empty, or if the predictions have another shape.

    Examples:
        >>> from jaxopt_course.problems import problem
        >>> from jaxopt_course.tasks import function_task
        >>> follow = lambda params, tokens: 9.0 * jax.nn.one_hot((tokens + 1) % 5, 5)
        >>> task = function_task(lambda key: {}, follow, problem("multiclass"))
        >>> prompt, key = jnp.array([0, 1]), jax.random.key(0)
        >>> options = {"key": key, "length": 8, "temperature": 0.0}
        >>> sample_tokens(task, {}, {}, prompt, 4, **options).tolist()
        [2, 3, 4, 0]
    """
    owner = "sample_tokens"
    checks.integer(owner, "count", count, "[1, inf)")
    checks.integer(owner, "length", length, "[1, inf)")
    checks.number(owner, "temperature", temperature, "[0, inf)")
    prompt = jnp.asarray(prompt)
    if not jnp.issubdtype(prompt.dtype, jnp.integer):
        raise TypeError(f"{owner}: `prompt` must hold integers, got {prompt.dtype}.")
    if prompt.ndim not in (1, 2) or 0 in prompt.shape:
        raise ValueError(
            f"{owner}: `prompt` must have the shape [known] or [batch, known] with at least one "
            f"token, got {prompt.shape}."
        )
    shown = jnp.atleast_2d(prompt)[:, -length:].astype(jnp.int32)
    known = shown.shape[1]
    window = jnp.pad(shown, ((0, 0), (0, length - known)))
    drawn = on_auto_axes(
        functools.partial(_sampled, task=task, count=count),
        *(params, model_state, window, jnp.int32(known), key, numerics.as_float(temperature)),
    )
    return drawn.reshape(*prompt.shape[:-1], count)


@compiled_for("task", static_argnames="count")
def _sampled(
    params: Params,
    model_state: PyTree,
    window: Int[Array, "batch length"],
    known: Int[Array, ""],
    key: Key[Array, ""],
    temperature: Any,
    *,
    task: Task,
    count: int,
) -> Int[Array, "batch count"]:
    length = window.shape[1]

    def step(carry: tuple[Array, Array], key: Any) -> Any:
        window, known = carry
        probabilities = task.predict(params, model_state, window)
        if jnp.ndim(probabilities) != 3 or probabilities.shape[:2] != window.shape:
            raise ValueError(
                "sample_tokens: the predictions of `task` must have the shape [batch, time, "
                f"vocabulary], got {jnp.shape(probabilities)} for tokens {window.shape}."
            )
        after = jax.lax.dynamic_index_in_dim(probabilities, known - 1, axis=1, keepdims=False)
        token = _drawn(key, after, temperature).astype(window.dtype)
        # A full window moves on by one token.
        moved = jnp.where(known == length, jnp.roll(window, -1, axis=1), window)
        place = jnp.minimum(known, length - 1)
        window = jax.lax.dynamic_update_index_in_dim(moved, token, place, axis=1)
        return (window, place + 1), token

    _, tokens = jax.lax.scan(step, (window, known), jax.random.split(key, count))
    return tokens.T


def _drawn(key: Key[Array, ""], probabilities: Array, temperature: Array) -> Int[Array, "batch"]:
    """A token for each row of ``probabilities``."""
    # Random numbers in bfloat16 are too coarse to draw from a large vocabulary.
    logits = jnp.log(probabilities.astype(numerics.wide_dtype(probabilities.dtype)))
    warm = jnp.maximum(temperature.astype(logits.dtype), jnp.finfo(logits.dtype).tiny)
    # The largest logit becomes 0, so a tiny temperature does not turn all of them into -inf.
    tempered = (logits - jnp.max(logits, -1, keepdims=True)) / warm
    random = jax.random.categorical(key, tempered)
    drawn = jnp.where(temperature == 0, jnp.argmax(logits, -1), random)
    return jnp.where(jnp.isnan(logits).any(-1), -1, drawn)
