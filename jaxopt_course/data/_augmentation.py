"""Data augmentation: examples changed at random in ways that leave their targets true.

An augmentation is a pure function ``(key, inputs[batch, ...]) -> inputs``. It draws anew for each
example, runs on the device, in a compiled training too, and each of its numbers may be traced.

References: Simard, Steinkraus & Platt, "Best Practices for Convolutional Neural Networks Applied
to Visual Document Analysis", ICDAR 2003, section 2 (affine maps); Bishop, "Training with Noise is
Equivalent to Tikhonov Regularization", 1995 (noise); DeVries & Taylor, "Improved Regularization
of Convolutional Neural Networks with Cutout", 2017, https://arxiv.org/abs/1708.04552.
"""

from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, ScalarLike

from jaxopt_course.core import checks, numerics

from ._affine import affine, check_floats, image_shape


Augmentation = Callable[[Key[Array, ""], Array], Array]


def compose(*augmentations: Augmentation) -> Augmentation:
    """Apply ``augmentations`` from left to right, each with a key of its own.

    Examples:
        >>> augment = compose(random_affine(rotation=15.0, shift=2.0), gaussian_noise(0.1))
        >>> jax.jit(augment)(jax.random.key(0), jnp.zeros((4, 8, 8, 1))).shape
        (4, 8, 8, 1)
    """

    def augment(key: Key[Array, ""], inputs: Array) -> Array:
        for number, augmentation in enumerate(augmentations):
            inputs = augmentation(jax.random.fold_in(key, number), inputs)
        return inputs

    return augment


def random_affine(
    *,
    rotation: ScalarLike = 0.0,
    shift: ScalarLike = 0.0,
    zoom: ScalarLike = 1.0,
    shear: ScalarLike = 0.0,
    fill: ScalarLike = 0.0,
) -> Augmentation:
    """Turn, move, resize and shear each image by amounts of its own, and resample it once.

    Amounts are uniform up to the given ones on both sides, so the defaults change nothing.

    Args:
        rotation: in degrees, in [0, 180].
        shift: in pixels, down and to the side independently, in [0, inf).
        zoom: the largest factor of length, in [1, inf); the smallest is its inverse, and the
            logarithm is uniform in between.
        shear: columns for each row, in [0, inf).
        fill: the value of what comes from outside.

    Returns:
        An augmentation of images [batch, height, width] or [batch, height, width, channels].

    Raises:
        ValueError: if a number is out of range.

    Examples:
        >>> augment = jax.jit(random_affine(rotation=30.0))
        >>> augment(jax.random.key(0), jnp.ones((2, 5, 5)))[:, 2, 2].tolist()
        [1.0, 1.0]
    """
    owner = "random_affine"
    checks.number(owner, "rotation", rotation, "[0, 180]")
    checks.number(owner, "shift", shift, "[0, inf)")
    checks.number(owner, "zoom", zoom, "[1, inf)")
    checks.number(owner, "shear", shear, "[0, inf)")
    checks.number(owner, "fill", fill)

    def augment(key: Key[Array, ""], images: Array) -> Array:
        batch, *_ = image_shape(owner, images)
        dtype = numerics.wide_dtype(images.dtype)
        draws = jax.random.uniform(key, (5, batch), dtype, -1.0, 1.0)
        turn, down, right, growth, slant = draws
        return affine(
            images,
            rotation=turn * jnp.asarray(rotation, dtype),
            shift=jnp.stack([down, right], -1) * jnp.asarray(shift, dtype),
            zoom=jnp.asarray(zoom, dtype) ** growth,
            shear=slant * jnp.asarray(shear, dtype),
            fill=fill,
        )

    return augment


def random_flip(
    probability: ScalarLike = 0.5, direction: Literal["horizontal", "vertical"] = "horizontal"
) -> Augmentation:
    """Mirror some of the images, left to right or top to bottom.

    Args:
        probability: of each image to be mirrored, in [0, 1].
        direction: in which pixels move.
    """
    checks.number("random_flip", "probability", probability, "[0, 1]")
    checks.choice("random_flip", "direction", direction, ("horizontal", "vertical"))

    def augment(key: Key[Array, ""], images: Array) -> Array:
        batch, *_ = image_shape("random_flip", images)
        flips = jax.random.uniform(key, (batch,)) < numerics.as_float(probability)
        mirrored = jnp.flip(images, 2 if direction == "horizontal" else 1)
        return jnp.where(_per_example(flips, images), mirrored, images)

    return augment


def gaussian_noise(deviation: ScalarLike) -> Augmentation:
    """Add independent normal noise to every entry; for tables of scaled features too.

    Args:
        deviation: the standard deviation, in the unit of the inputs, in [0, inf).
    """
    checks.number("gaussian_noise", "deviation", deviation, "[0, inf)")

    def augment(key: Key[Array, ""], inputs: Array) -> Array:
        check_floats("gaussian_noise", "inputs", inputs)
        noise = jax.random.normal(key, inputs.shape, numerics.wide_dtype(inputs.dtype))
        return inputs + (jnp.asarray(deviation, noise.dtype) * noise).astype(inputs.dtype)

    return augment


def cutout(size: ScalarLike, fill: ScalarLike = 0.0) -> Augmentation:
    """Blank out one square of each image, around a pixel drawn from all; edges cut it off.

    Args:
        size: the side of the square, in pixels, in [0, inf).
        fill: the value it is filled with.
    """
    checks.number("cutout", "size", size, "[0, inf)")
    checks.number("cutout", "fill", fill)

    def augment(key: Key[Array, ""], images: Array) -> Array:
        batch, height, width = image_shape("cutout", images)

        def covered(key: Key[Array, ""], n: int) -> Array:
            centre = jax.random.randint(key, (batch, 1), 0, n)
            distance = jnp.broadcast_to(jnp.arange(n), (batch, n)) - centre
            twice = (2 * distance).astype(jnp.result_type(float))
            return (-numerics.as_float(size) <= twice) & (twice < numerics.as_float(size))

        row_key, column_key = jax.random.split(key)
        rows, columns = covered(row_key, height), covered(column_key, width)
        hole = rows[:, :, None] & columns[:, None, :]
        return jnp.where(_per_example(hole, images), jnp.asarray(fill, images.dtype), images)

    return augment


def _per_example(choices: Array, images: Float[Array, "..."]) -> Array:
    """``choices``, made on the first axes of ``images``, for all of their entries."""
    return jnp.broadcast_to(
        choices.reshape(*choices.shape, *[1] * (images.ndim - choices.ndim)), images.shape
    )
