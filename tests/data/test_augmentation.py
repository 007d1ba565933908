"""Course 2, data augmentation: rotation, shift, scale, shear, flips, noise, cutout, mixup."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage

from jaxopt_course.data import (
    affine,
    compose,
    cutout,
    gaussian_noise,
    mixup,
    random_affine,
    random_flip,
    resample,
)


IMAGES = np.random.default_rng(0).normal(size=(6, 7, 9))
NUMBERS = {  # one row an image; the first ones change one thing only
    "rotation": np.array([20.0, -130.0, 0.0, 0.0, 0.0, 37.0]),
    "shift": np.array([[0, 0], [0, 0], [1.3, -2.6], [0, 0], [0, 0], [0.7, 1.1]]),
    "zoom": np.array([1, 1, 1, 1.7, 1, 0.6]),
    "shear": np.array([0, 0, 0, 0, 0.4, -0.3]),
}


def backwards(size, rotation, shift, zoom, shear):
    """Matrix and offset from output to input positions, by inverting the map."""
    angle, centre = np.deg2rad(rotation), (np.array(size) - 1) / 2
    # Counterclockwise, with rows downwards: what is below comes to the right.
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    inverse = np.linalg.inv(turn @ np.array([[1, 0], [shear, 1]]) * zoom)
    return inverse, centre - inverse @ (centre + shift)


def linear(image, matrix, offset, fill):
    return scipy.ndimage.affine_transform(image, matrix, offset, order=1, cval=fill)


def test_course_2_data_augmentation_affine_maps_are_scipys():
    """Course 2, data augmentation: rotate, shift, scale, shear, against scipy in float64."""
    got = jax.jit(affine)(jnp.asarray(IMAGES), fill=0.5, **NUMBERS)
    named = [
        scipy.ndimage.rotate(IMAGES[0], 20, reshape=False, order=1, cval=0.5),
        scipy.ndimage.rotate(IMAGES[1], -130, reshape=False, order=1, cval=0.5),
        scipy.ndimage.shift(IMAGES[2], [1.3, -2.6], order=1, cval=0.5),
    ]
    np.testing.assert_allclose(got[:3], named, atol=1e-10)
    rows = [{name: values[i] for name, values in NUMBERS.items()} for i in range(6)]
    expected = [
        linear(image, *backwards((7, 9), **row), 0.5)
        for image, row in zip(IMAGES, rows, strict=True)
    ]
    np.testing.assert_allclose(got, expected, atol=1e-10)


def test_any_affine_map_is_resampled_as_scipy_does():
    generator = np.random.default_rng(1)
    matrices = np.eye(2) + 0.5 * generator.normal(size=(6, 2, 2))
    offsets = generator.normal(size=(6, 2))
    got = jax.jit(resample)(jnp.asarray(IMAGES), jnp.asarray(matrices), jnp.asarray(offsets), -1.0)
    expected = [linear(*each, -1.0) for each in zip(IMAGES, matrices, offsets, strict=True)]
    np.testing.assert_allclose(got, expected, atol=1e-10)


def test_a_quarter_turn_loses_no_edge_in_single_precision():
    images = jnp.asarray(np.stack([IMAGES[:, :, :6]] * 2, -1), jnp.float32)  # 7 x 6, 2 channels
    square = images[:, :6]
    turned = jax.jit(affine)(
        square, rotation=jnp.array([90.0, -90, 180, 270, 0, 360]), fill=jnp.nan
    )
    for i, quarters in enumerate([1, -1, 2, 3, 0, 0]):
        # Positions are sums of numbers up to 6: off by some 1e-6.
        np.testing.assert_allclose(turned[i], np.rot90(square[i], quarters), atol=2e-5)


@pytest.fixture(scope="module")
def fields():
    """Images whose two channels are their own row and column, so that a map can be read off."""
    grid = np.stack(np.meshgrid(np.arange(9.0), np.arange(9.0), indexing="ij"), -1)
    return jnp.asarray(np.broadcast_to(grid, (500, 9, 9, 2)))


def test_random_amounts_fill_their_ranges_and_not_more(key, fields):
    ranges = {"rotation": 30.0, "shift": 1.5, "zoom": 1.25, "shear": 0.2}

    def augment(strength):
        amounts = {name: strength * x for name, x in ranges.items() if name != "zoom"}
        return random_affine(zoom=1 + 0.25 * strength, **amounts)(key, fields)

    # Traced and vmapped numbers; of strength 0, nothing may change.
    nothing, changed = jax.jit(jax.vmap(augment))(jnp.array([0.0, 1.0]))
    np.testing.assert_allclose(nothing, fields, atol=1e-12)
    changed = np.asarray(changed)
    inverse = np.stack(  # its columns: steps to the next row, to the next column
        [changed[:, 5, 4] - changed[:, 4, 4], changed[:, 4, 5] - changed[:, 4, 4]], -1
    )
    forwards = np.linalg.inv(inverse)
    zoom = np.sqrt(np.linalg.det(forwards))
    # The second column of turn @ shear is that of the turn alone.
    rotation = np.rad2deg(np.arctan2(-forwards[:, 0, 1], forwards[:, 1, 1]))
    turned = forwards[..., 1] / zoom[:, None]
    shear = np.einsum("bi,bi->b", turned, forwards[..., 0]) / zoom
    shift = -np.einsum("bij,bj->bi", forwards, changed[:, 4, 4] - 4.0)
    for values, limit in [
        (rotation, 30),
        (shift[:, 0], 1.5),
        (shift[:, 1], 1.5),
        (np.log(zoom), np.log(1.25)),
        (shear, 0.2),
    ]:
        assert abs(values).max() <= limit * (1 + 1e-9)
        # 500 uniform draws: an end that is 5 % off is missed with a probability of 1e-5 (.975^500).
        assert values.max() > 0.95 * limit
        assert values.min() < -0.95 * limit
        # The deviation of the mean is limit / sqrt(3 * 500): five of them.
        assert abs(values.mean()) < 5 * limit / np.sqrt(1500)
    amounts = np.stack([rotation, *shift.T, zoom, shear])
    off_diagonal = np.corrcoef(amounts)[~np.eye(5, dtype=bool)]
    assert abs(off_diagonal).max() < 5 / np.sqrt(500)  # all are drawn independently


def test_a_flip_mirrors_the_share_it_is_told(key, fields):
    flip = jax.jit(lambda p: random_flip(p)(key, fields))
    share = lambda p: float((flip(p)[:, 0, 0, 1] == 8).mean())
    assert (share(0.0), share(1.0)) == (0, 1)
    assert abs(share(0.3) - 0.3) < 5 * np.sqrt(0.21 / 500)
    chex.assert_trees_all_equal(flip(1.0), fields[:, :, ::-1])
    upside_down = random_flip(1.0, "vertical")(key, fields[:3])
    chex.assert_trees_all_equal(upside_down, fields[:3, ::-1])


def test_noise_has_the_deviation_it_is_told(key):
    table = jnp.full((2000, 3), 2.0)
    none, some = jax.jit(jax.vmap(lambda s: gaussian_noise(s)(key, table)))(jnp.array([0.0, 0.7]))
    chex.assert_trees_all_equal(none, table)
    # 6000 draws: five standard errors of the mean, and of the deviation (s / sqrt(2 n)).
    assert abs(some.mean() - 2) < 5 * 0.7 / np.sqrt(6000)
    assert abs(some.std() - 0.7) < 5 * 0.7 / np.sqrt(12000)
    half = gaussian_noise(0.7)(key, table.astype(jnp.bfloat16))
    assert half.dtype == jnp.bfloat16


def test_cutout_blanks_one_square_that_edges_cut_off(key, fields):
    images = 1 + fields[..., 0]
    sizes = jnp.array([0.0, 3.0, 4.0])
    cut = np.asarray(jax.jit(jax.vmap(lambda s: cutout(s, fill=-1.0)(key, images)))(sizes))
    assert (cut[0] == images).all()
    for size, result in zip((3, 4), cut[1:], strict=True):
        hole = result == -1
        assert (hole | (result == images)).all()
        rows, columns = hole.any(2), hole.any(1)
        assert (hole == rows[:, :, None] & columns[:, None, :]).all()
        for side in (rows, columns):
            lengths = side.sum(1)
            assert (np.abs(np.diff(side, axis=1)).sum(1) <= 2).all()  # in one piece
            middle = ~(side[:, 0] | side[:, -1])
            assert (lengths[middle] == size).all()
            assert lengths.max() == size
            # Each of the nine centres, with its own distance to the edges, comes up.
            assert len(np.unique(side, axis=0)) == 9


def test_the_key_decides(key, fields):
    images = fields[:4]
    augment = jax.jit(
        lambda k: compose(random_affine(rotation=20, shift=1), gaussian_noise(0.1))(k, images)
    )
    chex.assert_trees_all_equal(augment(key), augment(jax.random.key(0)))
    once, other = np.asarray(augment(key)), np.asarray(augment(jax.random.key(1)))
    assert (once != other).any()
    changes = once - np.asarray(images)
    assert len(np.unique(changes[:, 4, 4, 0])) == 4  # each example its own


def test_members_of_a_composition_draw_apart(key):
    zeros = jnp.zeros((2, 5))
    twice = compose(gaussian_noise(1.0), gaussian_noise(1.0))(key, zeros)
    alone = [gaussian_noise(1.0)(jax.random.fold_in(key, i), zeros) for i in (0, 1)]
    chex.assert_trees_all_close(twice, alone[0] + alone[1], rtol=1e-14)
    assert (alone[0] != alone[1]).all()
    chex.assert_trees_all_equal(compose()(key, zeros), zeros)


def test_shapes_and_dtypes_stay(key):
    everything = compose(
        random_affine(rotation=9, shift=1, zoom=1.1, shear=0.1),
        random_flip(),
        gaussian_noise(0.1),
        cutout(2),
    )
    for shape in [(2, 4, 5), (2, 4, 5, 3)]:
        for dtype in (jnp.bfloat16, jnp.float16, jnp.float32, jnp.float64):
            images = jax.ShapeDtypeStruct(shape, dtype)
            out = jax.eval_shape(everything, key, images)
            assert (out.shape, out.dtype) == (shape, dtype)


N = 400
POINTS = jnp.arange(float(N))[:, None]


@pytest.fixture(scope="module")
def mixtures():
    """For some ``alpha``: of labels without those of class 3, of all, and where no row counts."""
    labels = jnp.arange(N) % 4

    def mix(alpha, weights):
        key = jax.random.key(5)
        inputs = {"x": POINTS, "half": POINTS.astype(jnp.bfloat16)}
        mixed, targets = mixup(key, inputs, labels, alpha, n_classes=4, weights=weights)
        return mixed["x"], targets, mixed["half"]

    alphas = jnp.array([0.0, 0.2, 1.0, 8.0])
    compiled = jax.jit(jax.vmap(mix, (0, None)))
    weights = [labels != 3, labels >= 0, labels < 0]
    return alphas, *[compiled(alphas, counts.astype(jnp.float32)) for counts in weights]


def test_course_2_mixup_mixes_targets_as_inputs(mixtures):
    """Course 2, data augmentation: mixup."""
    _, (inputs, targets, _), *_ = mixtures
    np.testing.assert_allclose(targets.sum(-1), 1, rtol=1e-12)
    labels = np.arange(N) % 4
    assert (targets[0] == np.eye(4)[labels]).all()
    assert (inputs[0] == POINTS).all()
    # Solved for the partner's position, a mixture of two classes names a row of the other class.
    own = np.take_along_axis(np.asarray(targets[2]), labels[:, None], 1)
    two = (own[:, 0] > 0) & (own[:, 0] < 0.99)
    partner = ((np.asarray(inputs[2]) - own * POINTS) / (1 - own))[two, 0]
    np.testing.assert_allclose(partner, np.rint(partner), atol=1e-8)
    other = np.where(np.arange(4) == labels[:, None], 0, targets[2])[two].argmax(1)
    np.testing.assert_array_equal(np.rint(partner).astype(int) % 4, other)
    assert len(np.unique(np.rint(partner))) > N / 4


def test_a_row_of_weight_0_is_mixed_into_none(mixtures):
    _, (_, targets, _), (_, all_targets, _), _ = mixtures
    left_out = np.arange(N) % 4 == 3
    assert (np.asarray(targets)[:, ~left_out, 3] == 0).all()
    assert (np.asarray(targets)[1:, left_out, :3].sum((1, 2)) > 0).all()  # they do get mixed
    assert (np.asarray(all_targets)[1:, ~left_out, 3] > 0).any()  # the check can fail


def test_the_shares_of_a_mixture_are_beta_distributed(mixtures):
    alphas, (_, targets, _), *_ = mixtures
    left_out = np.arange(N) % 4 == 3  # their partners are of other classes: the share is read off
    shares = np.asarray(targets)[:, left_out, 3]
    n = shares.shape[1]
    for alpha, share in zip(alphas[1:], shares[1:], strict=True):
        variance = 1 / (4 * (2 * alpha + 1))
        assert abs(share.mean() - 0.5) < 5 * np.sqrt(variance / n)
        # The fourth moment is at most variance / 4.
        assert abs(share.var() - variance) < 5 * np.sqrt(variance / 4 / n)


def test_mixtures_of_half_precision_are_rounded_once_and_finite(mixtures):
    _, *several = mixtures
    for exact, targets, half in several:  # where no row counts, too
        assert half.dtype == jnp.bfloat16
        # Once on the way in and once on the way out: 2^-8 of the largest number each.
        assert abs(half.astype(float) - exact).max() <= 2 * 2**-8 * N
        assert np.isfinite(targets).all()


def test_targets_that_are_bits_get_means(key):
    bits = jnp.array([[0, 1], [1, 1], [0, 0]])
    targets = jax.eval_shape(lambda: mixup(key, jnp.ones((3, 1)), bits, 1.0)[1])
    assert (targets.dtype, targets.shape) == (jnp.float64, (3, 2))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: random_affine(rotation=181), r"random_affine: `rotation` must lie in \[0, 180\]"),
        (lambda: random_affine(zoom=0.9), r"random_affine: `zoom` must lie in \[1, inf\), got 0.9"),
        (lambda: random_affine(shift=-1), r"random_affine: `shift` must lie in \[0, inf\)"),
        (lambda: random_flip(1.5), r"random_flip: `probability` must lie in \[0, 1\], got 1.5"),
        (lambda: random_flip(0.5, "up"), "random_flip: `direction` must be one of horizontal"),
        (lambda: gaussian_noise(-1.0), r"gaussian_noise: `deviation` must lie in \[0, inf\)"),
        (lambda: cutout(float("nan")), r"cutout: `size` must lie in \[0, inf\), got nan"),
        (
            lambda: mixup(jax.random.key(0), jnp.ones(2), jnp.ones(2), -1.0),
            r"mixup: `alpha` must lie in \[0, inf\), got -1.0",
        ),
    ],
)
def test_bad_numbers_are_refused(build, message, as_users_run_it):
    with pytest.raises(ValueError, match=message):
        build()


def test_inputs_of_the_wrong_kind_are_refused(key, as_users_run_it):
    with pytest.raises(TypeError, match="cutout: `images` must be floating-point, got uint8"):
        cutout(2)(key, jnp.ones((1, 2, 2), jnp.uint8))
    with pytest.raises(ValueError, match=r"random_flip: `images` must have the shape \[batch, hei"):
        random_flip()(key, jnp.ones((2, 2)))
    with pytest.raises(TypeError, match="mixup: `inputs` must be floating-point, got int32"):
        mixup(key, jnp.ones(2, jnp.int32), jnp.ones(2), 1.0)
    with pytest.raises(TypeError, match="the targets must be a vector of integers, got float64"):
        mixup(key, jnp.ones(2), jnp.ones(2), 1.0, n_classes=3)
