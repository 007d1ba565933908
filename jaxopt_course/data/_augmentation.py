"""Data augmentation: random changes of the inputs that keep their targets, and mixup.

An augmentation is a pure function ``(key, inputs[batch, ...]) -> inputs``. It draws separately for
each example and may run inside a compiled training. All of its numbers may be traced.

Affine maps resample an image once, bilinearly. With the centre c of the image, the value at the
pixel p = (row, column) moves to

    q = c + t + R S Z (p - c),        Z = zoom I,  S = [[1, 0], [shear, 1]],  R a rotation,

so the output at q is the input at ``p = matrix q + offset``, interpolated linearly, and a constant
outside of the image. This is ``scipy.ndimage.affine_transform(order=1, mode="constant")``.

Mixup interpolates between pairs of examples and between their targets:

    x = l x_i + (1 - l) x_j,        y = l y_i + (1 - l) y_j,        l ~ Beta(alpha, alpha)

References: Simard, Steinkraus & Platt, "Best Practices for Convolutional Neural Networks Applied
to Visual Document Analysis", ICDAR 2003, section 2 (affine maps); Bishop, "Training with Noise is
Equivalent to Tikhonov Regularization", 1995 (noise); DeVries & Taylor, "Improved Regularization
of Convolutional Neural Networks with Cutout", 2017, https://arxiv.org/abs/1708.04552;
Zhang et al., "mixup: Beyond Empirical Risk Minimization", 2018, equation 2,
https://arxiv.org/abs/1710.09412.
"""

import math
from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.ndimage import map_coordinates
from jaxtyping import Array, ArrayLike, Float, Key, PyTree, ScalarLike, Shaped

from jaxopt_course.core import checks, numerics


Augmentation = Callable[[Key[Array, ""], Array], Array]


def compose(*augmentations: Augmentation) -> Augmentation:
    """Apply ``augmentations`` from left to right, each with its own key.

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
    """Rotate, shift, zoom and shear each image at random, and resample it once.

    Each amount is uniform between plus and minus the given one. By default nothing changes.

    Args:
        rotation: largest angle in degrees, in [0, 180].
        shift: largest shift along each axis in pixels, in [0, inf).
        zoom: largest zoom factor, in [1, inf). The smallest is its inverse, and the logarithm of
            the factor is uniform.
        shear: largest shear in columns per row, in [0, inf).
        fill: value outside of the image.

    Returns:
        An augmentation of images [batch, height, width] or [batch, height, width, channels].

    Examples:
        >>> augment = jax.jit(random_affine(rotation=30.0))
        >>> augment(jax.random.key(0), jnp.ones((2, 5, 5)))[:, 2, 2].tolist()
        [1.0, 1.0]
    """
    owner = "random_affine"
    checks.number(owner, "rotation", rotation, "[0, 180]")
    checks.number(owner, "zoom", zoom, "[1, inf)")
    checks.numbers(owner, "[0, inf)", shift=shift, shear=shear)
    checks.number(owner, "fill", fill)

    def augment(key: Key[Array, ""], images: Array) -> Array:
        batch, *_ = image_shape(owner, images)
        dtype = numerics.wide_dtype(images.dtype)
        turn, down, right, growth, slant = jax.random.uniform(key, (5, batch), dtype, -1.0, 1.0)
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
    """Mirror each image with a probability in [0, 1], horizontally or vertically."""
    checks.number("random_flip", "probability", probability, "[0, 1]")
    checks.choice("random_flip", "direction", direction, ("horizontal", "vertical"))

    def augment(key: Key[Array, ""], images: Array) -> Array:
        batch, *_ = image_shape("random_flip", images)
        flips = jax.random.uniform(key, (batch,)) < numerics.as_float(probability)
        mirrored = jnp.flip(images, 2 if direction == "horizontal" else 1)
        return jnp.where(per_example(flips, images), mirrored, images)

    return augment


def gaussian_noise(deviation: ScalarLike) -> Augmentation:
    """Add independent normal noise of this standard deviation, in [0, inf), to every entry."""
    checks.number("gaussian_noise", "deviation", deviation, "[0, inf)")

    def augment(key: Key[Array, ""], inputs: Array) -> Array:
        check_floats("gaussian_noise", "inputs", inputs)
        noise = jax.random.normal(key, inputs.shape, numerics.wide_dtype(inputs.dtype))
        return inputs + (jnp.asarray(deviation, noise.dtype) * noise).astype(inputs.dtype)

    return augment


def cutout(size: ScalarLike, fill: ScalarLike = 0.0) -> Augmentation:
    """Blank out one square of each image, centred at a random pixel and cut off at the edges.

    Args:
        size: side of the square in pixels, in [0, inf).
        fill: value of the blanked pixels.
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
        return jnp.where(per_example(hole, images), jnp.asarray(fill, images.dtype), images)

    return augment


def per_example(values: Array, images: Float[Array, "..."]) -> Array:
    """``values``, which belong to the first axes of ``images``, in the shape of ``images``."""
    behind = [1] * (images.ndim - values.ndim)
    return jnp.broadcast_to(values.reshape(*values.shape, *behind), images.shape)


def affine(
    images: Float[Array, "batch height width *channels"],
    *,
    rotation: ArrayLike = 0.0,
    shift: ArrayLike = 0.0,
    zoom: ArrayLike = 1.0,
    shear: ArrayLike = 0.0,
    fill: ScalarLike = 0.0,
) -> Float[Array, "batch height width *channels"]:
    """Zoom, shear and rotate images about their centres, shift them, and resample them once.

    Each amount is one number for all images, or an array with one number per image.

    Args:
        images: floating-point, [batch, height, width] or [batch, height, width, channels].
        rotation: angle in degrees, counterclockwise where row 0 is at the top.
        shift: shift down and to the right in pixels, of shape [], [2] or [batch, 2].
        zoom: zoom factor, above 0; objects grow if it is above 1.
        shear: columns to the right per row downwards.
        fill: value outside of the image.

    Returns:
        Images of the same shape and dtype.

    Examples:
        >>> image = jnp.array([[[1.0, 2.0], [3.0, 4.0]]])
        >>> jax.jit(affine)(image, shift=jnp.array([1.0, 0.0]))[0].tolist()
        [[0.0, 0.0], [1.0, 2.0]]
    """
    batch, *size = image_shape("affine", images)
    dtype = numerics.wide_dtype(images.dtype)

    def each(value: ArrayLike, *shape: int) -> Array:
        return jnp.broadcast_to(jnp.asarray(value, dtype), (batch, *shape))

    angle, k, z = each(rotation) * (math.pi / 180), each(shear), each(zoom)
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    matrix = jnp.stack([cos, sin, -k * cos - sin, cos - k * sin], -1) / z[:, None]  # Z^-1 S^-1 R^-1
    matrix = matrix.reshape(batch, 2, 2)
    centre = each((np.array(size) - 1) / 2, 2)
    row, column = jnp.moveaxis(centre + each(shift, 2), -1, 0)
    return resample(images, matrix, centre - _product(matrix, row, column), fill)


def resample(
    images: Float[Array, "batch height width *channels"],
    matrix: Float[Array, "*batch 2 2"],
    offset: Float[Array, "*batch 2"],
    fill: ScalarLike = 0.0,
) -> Float[Array, "batch height width *channels"]:
    """Images whose value at the pixel q is the input's value at ``matrix q + offset``.

    Args:
        images: floating-point, [batch, height, width] or [batch, height, width, channels].
        matrix: linear map from output to input positions (row, column), for all or for each image.
        offset: offset of the map in pixels, for all or for each image.
        fill: value at positions outside of [0, height - 1] x [0, width - 1]. Positions that are
            outside by rounding only count as inside: a rotation by 90 degrees keeps all edges.
    """
    batch, height, width = image_shape("resample", images)
    checks.number("resample", "fill", fill)
    dtype = numerics.wide_dtype(images.dtype)
    matrix = jnp.broadcast_to(matrix.astype(dtype), (batch, 2, 2))
    offset = jnp.broadcast_to(offset.astype(dtype), (batch, 2))
    # A position is a sum of three terms of the image's size, with a rounding error each.
    slack = 8 * (height + width) * float(jnp.finfo(dtype).eps)
    last = jnp.array([height - 1 + slack, width - 1 + slack], dtype)
    row, column = jnp.meshgrid(jnp.arange(height), jnp.arange(width), indexing="ij")

    def one(image: Array, matrix: Array, offset: Array) -> Array:
        point = _product(matrix, row.astype(dtype), column.astype(dtype))
        point += jnp.broadcast_to(offset, point.shape)
        inside = jnp.all((point >= -slack) & (point <= jnp.broadcast_to(last, point.shape)), -1)
        values = map_coordinates(image, list(jnp.moveaxis(point, -1, 0)), 1, "nearest")
        return jnp.where(inside, values, jnp.asarray(fill, dtype))

    channels = images.astype(dtype).reshape(batch, height, width, -1)
    values = jax.vmap(jax.vmap(one, (-1, None, None), -1))(channels, matrix, offset)
    return values.reshape(images.shape).astype(images.dtype)


def _product(
    matrix: Float[Array, "*batch 2 2"], row: Float[Array, "*n"], column: Float[Array, "*n"]
) -> Float[Array, "*n 2"]:
    """``matrix (row, column)``, entry by entry, because accelerators round the factors of ``@``."""
    parts = [jnp.broadcast_to(matrix[..., i, j], row.shape) for i in (0, 1) for j in (0, 1)]
    return jnp.stack([parts[0] * row + parts[1] * column, parts[2] * row + parts[3] * column], -1)


def image_shape(owner: str, images: Float[Array, "..."]) -> tuple[int, int, int]:
    """Batch, height and width of ``images``; raise if they have other axes than an image."""
    check_floats(owner, "images", images)
    if images.ndim not in (3, 4):
        raise ValueError(
            f"{owner}: `images` must have the shape [batch, height, width] or "
            f"[batch, height, width, channels], got {images.shape}."
        )
    batch, height, width = images.shape[:3]
    return batch, height, width


def check_floats(owner: str, name: str, values: Array) -> None:
    """Raise unless ``values`` are floating-point."""
    if not jnp.issubdtype(values.dtype, jnp.floating):
        raise TypeError(f"{owner}: `{name}` must be floating-point, got {values.dtype}.")


def mixup(
    key: Key[Array, ""],
    inputs: PyTree[Float[Array, "batch ..."]],
    targets: Shaped[Array, "batch *outputs"],
    alpha: ScalarLike,
    *,
    n_classes: int | None = None,
    weights: Float[Array, " batch"] | None = None,
) -> tuple[PyTree[Float[Array, "batch ..."]], Float[Array, "batch *row"]]:
    """Mix each example with another example of its batch.

    The partner is drawn with probability proportional to its weight. Rows of weight 0, such as
    padding, are never drawn.

    Args:
        key: PRNG key of the partners and the mixing coefficients.
        inputs: floating-point array or pytree of arrays.
        targets: class numbers if ``n_classes`` is given, otherwise numbers that can be averaged,
            such as regression values or one-hot rows. A class number outside [0, n_classes) gives a
            row of NaN, unless its weight is 0.
        alpha: parameter of the Beta distribution of the coefficient l, in [0, inf). With 0 nothing
            is mixed; with 1 the coefficient is uniform.
        n_classes: number of classes; the mixed targets are rows of probabilities.
        weights: weights of the examples. By default all are equal.

    Returns:
        Inputs in their dtypes, and targets in the default float dtype if they were integers.

    Examples:
        >>> x, y = jnp.array([[0.0], [4.0]]), jnp.array([0, 1])
        >>> mix = jax.jit(mixup, static_argnames="n_classes")
        >>> x, y = mix(jax.random.key(1), x, y, 1.0, n_classes=2)
        >>> bool(jnp.allclose(x[:, 0], 4 * y[:, 1]))
        True
    """
    checks.number("mixup", "alpha", alpha, "[0, inf)")
    for values in jax.tree.leaves(inputs):
        check_floats("mixup", "inputs", values)
    rows = _with_means(targets, n_classes, weights)
    batch = len(rows)
    partner_key, share_key = jax.random.split(key)
    likely = jnp.ones(batch, jnp.result_type(float)) if weights is None else weights
    partners = jax.random.choice(partner_key, batch, (batch,), p=likely)
    shares = _shares(share_key, alpha, batch)

    def mixed(values: Array) -> Array:
        wide = values.astype(numerics.wide_dtype(values.dtype))
        own = per_example(shares.astype(wide.dtype), wide)
        return (own * wide + (1 - own) * wide[partners]).astype(values.dtype)

    return jax.tree.map(mixed, inputs), mixed(rows)


def _with_means(
    targets: Array, n_classes: int | None, weights: Array | None
) -> Float[Array, "batch ..."]:
    if n_classes is not None:
        checks.integer("mixup", "n_classes", n_classes, "[2, inf)")
        if targets.ndim != 1 or not jnp.issubdtype(targets.dtype, jnp.integer):
            raise TypeError(
                "mixup: with `n_classes` the targets must be a vector of integers, "
                f"got {targets.dtype} of shape {targets.shape}."
            )
        fine = (targets >= 0) & (targets < n_classes)
        fine = fine if weights is None else fine | (weights == 0)
        rows = jax.nn.one_hot(targets, n_classes, dtype=jnp.result_type(float))
        return jnp.where(fine[:, None], rows, jnp.nan)
    floating = jnp.issubdtype(targets.dtype, jnp.floating)
    return targets if floating else targets.astype(jnp.result_type(float))


def _shares(key: Key[Array, ""], alpha: ScalarLike, batch: int) -> Float[Array, " batch"]:
    """The mixing coefficients; 1 if ``alpha`` is 0."""
    alpha = numerics.as_float(alpha)
    positive = jnp.where(alpha > 0, alpha, 1.0)
    # g / (g + g') is Beta distributed if g and g' are Gamma distributed. Small g underflow, their
    # logarithms do not.
    logs = jax.random.loggamma(key, positive, (2, batch))
    return jnp.where(alpha > 0, jax.nn.sigmoid(logs[0] - logs[1]), 1.0)
