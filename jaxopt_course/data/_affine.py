"""Images turned, moved, resized and sheared: one bilinear resampling under every such map.

With the centre c of an image, what is at the pixel p = (row, column) comes to

    q = c + t + R S Z (p - c),        Z = zoom I,  S = [[1, 0], [shear, 1]],  R a rotation.

Read backwards, the output at q is the input at ``p = matrix q + offset``, between pixels the
linear mean of the four around p, outside of the image a constant. That is
``scipy.ndimage.affine_transform(order=1, mode="constant")``.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.ndimage import map_coordinates
from jaxtyping import Array, ArrayLike, Float, ScalarLike

from jaxopt_course.core import checks, numerics


def affine(
    images: Float[Array, "batch height width *channels"],
    *,
    rotation: ArrayLike = 0.0,
    shift: ArrayLike = 0.0,
    zoom: ArrayLike = 1.0,
    shear: ArrayLike = 0.0,
    fill: ScalarLike = 0.0,
) -> Float[Array, "batch height width *channels"]:
    """Resize, shear and turn images about their centres, then move them; resample them once.

    Every argument is one number for all images, or an array of one for each.

    Args:
        images: [batch, height, width] or [batch, height, width, channels].
        rotation: in degrees, counterclockwise where row 0 is on top.
        shift: in pixels, downwards and to the right; [2] or [batch, 2] where the two differ.
        zoom: the factor of length, above 0; above 1 things grow.
        shear: columns to the right for each row downwards.
        fill: the value of what comes from outside.

    Returns:
        Images of the same shape and dtype.

    Raises:
        TypeError: if the images are not floating-point.
        ValueError: if they have another number of axes.

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
    """The images whose value at the pixel q is the input's at ``matrix q + offset``.

    Args:
        images: [batch, height, width] or [batch, height, width, channels].
        matrix: from output to input positions, (row, column); one for all, or one for each.
        offset: likewise, in pixels.
        fill: the value where that position is outside of [0, height - 1] x [0, width - 1]. A
            position off by rounding alone is inside: a quarter turn loses no edge.

    Raises:
        TypeError: if the images are not floating-point.
        ValueError: if they have another number of axes.
    """
    batch, height, width = image_shape("resample", images)
    checks.number("resample", "fill", fill)
    dtype = numerics.wide_dtype(images.dtype)
    matrix = jnp.broadcast_to(matrix.astype(dtype), (batch, 2, 2))
    offset = jnp.broadcast_to(offset.astype(dtype), (batch, 2))
    # A position is a sum of three terms as large as the image: a few roundings of its size.
    slack = 8 * (height + width) * float(jnp.finfo(dtype).eps)
    last = jnp.array([height - 1 + slack, width - 1 + slack], dtype)
    row, column = jnp.meshgrid(jnp.arange(height), jnp.arange(width), indexing="ij")

    def one(image: Array, matrix: Array, offset: Array) -> Array:
        point = _product(matrix, row.astype(dtype), column.astype(dtype))
        point += jnp.broadcast_to(offset, point.shape)
        inside = jnp.all(
            (point >= -slack) & (point <= jnp.broadcast_to(last, point.shape)), axis=-1
        )
        values = map_coordinates(image, list(jnp.moveaxis(point, -1, 0)), 1, "nearest")
        return jnp.where(inside, values, jnp.asarray(fill, dtype))

    channels = images.astype(dtype).reshape(batch, height, width, -1)
    values = jax.vmap(jax.vmap(one, (-1, None, None), -1))(channels, matrix, offset)
    return values.reshape(images.shape).astype(images.dtype)


def _product(
    matrix: Float[Array, "*batch 2 2"], row: Float[Array, "*n"], column: Float[Array, "*n"]
) -> Float[Array, "*n 2"]:
    """``matrix (row, column)``, entry by entry: accelerators round the factors of ``@``."""
    parts = [jnp.broadcast_to(matrix[..., i, j], row.shape) for i in (0, 1) for j in (0, 1)]
    return jnp.stack([parts[0] * row + parts[1] * column, parts[2] * row + parts[3] * column], -1)


def image_shape(owner: str, images: Float[Array, "..."]) -> tuple[int, int, int]:
    """Batch, height and width of ``images``, which have these axes and perhaps channels."""
    check_floats(owner, "images", images)
    if images.ndim not in (3, 4):
        raise ValueError(
            f"{owner}: `images` must have the shape [batch, height, width] or "
            f"[batch, height, width, channels], got {images.shape}."
        )
    batch, height, width = images.shape[:3]
    return batch, height, width


def check_floats(owner: str, name: str, values: Array) -> None:
    """Raise unless ``values`` are floating-point: integers have no values in between."""
    if not jnp.issubdtype(values.dtype, jnp.floating):
        raise TypeError(f"{owner}: `{name}` must be floating-point, got {values.dtype}.")
