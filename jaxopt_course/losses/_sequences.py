"""Connectionist temporal classification: the loss of label sequences without an alignment.

    loss = -log sum over alignments of prod_t p_t(label or blank)

It is optax's recursion over time, on log-probabilities of at least ``log_epsilon``, in float32 or
wider. A sum of probabilities that rounding lifts above 1 gives a loss of 0.

Reference: Graves et al., "Connectionist temporal classification", 2006.
"""

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Integer, Real, ScalarLike

from ._inputs import infinite_alone, wide


def ctc_loss_with_forward_probs(
    logits: Float[Array, "batch time classes"],
    logit_paddings: Real[Array, "batch time"],
    labels: Integer[Array, "batch labels"],
    label_paddings: Real[Array, "batch labels"],
    *,
    blank_id: int = 0,
    log_epsilon: ScalarLike = -1e5,
) -> tuple[Float[Array, "batch"], Array, Array]:
    """The loss of each sequence, and the logarithms of its forward probabilities.

    Args:
        logits: log-probabilities of the classes at each time, up to a constant.
        logit_paddings: 1 where a time is padding, else 0.
        labels: the classes of each sequence, padded on the right.
        label_paddings: 1 where a label is padding, else 0.
        blank_id: the class that stands for no label.
        log_epsilon: what stands for the logarithm of 0, and the least log-probability.

    Returns:
        The losses, in the logits' dtype, and the logarithms of the probabilities to have arrived
        at each blank, f[time, batch, labels + 1], and each label, f[time, batch, labels].

    Raises:
        ValueError: if the shapes do not fit.
    """
    x, dtype = wide("ctc_loss", "logits", logits)
    log_p = jax.nn.log_softmax(infinite_alone(x, -1), -1)
    log_p = jnp.maximum(log_p, jnp.asarray(log_epsilon, x.dtype))
    with jax.numpy_dtype_promotion("standard"):
        losses, blanks, emitted = optax.losses.ctc_loss_with_forward_probs(
            log_p,
            jnp.asarray(logit_paddings, x.dtype),
            labels,
            jnp.asarray(label_paddings, x.dtype),
            blank_id=blank_id,
            log_epsilon=log_epsilon,
        )
    return jnp.maximum(losses, 0).astype(dtype), blanks, emitted


def ctc_loss(
    logits: Float[Array, "batch time classes"],
    logit_paddings: Real[Array, "batch time"],
    labels: Integer[Array, "batch labels"],
    label_paddings: Real[Array, "batch labels"],
    *,
    blank_id: int = 0,
    log_epsilon: ScalarLike = -1e5,
) -> Float[Array, "batch"]:
    """The loss of :func:`ctc_loss_with_forward_probs` alone, with the same arguments.

    Examples:
        >>> import jax.numpy as jnp
        >>> logits = jnp.zeros((1, 1, 2))  # one time, a blank and one label, equally likely
        >>> loss = ctc_loss(logits, jnp.zeros((1, 1)), jnp.array([[1]]), jnp.zeros((1, 1)))
        >>> [round(float(x), 4) for x in loss]  # log(2)
        [0.6931]
    """
    return ctc_loss_with_forward_probs(
        logits,
        logit_paddings,
        labels,
        label_paddings,
        blank_id=blank_id,
        log_epsilon=log_epsilon,
    )[0]
