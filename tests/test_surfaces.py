import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

from jaxopt_course.surfaces import SURFACES, Surface, beale, himmelblau, ravine, rosenbrock, saddle


ALL = list(SURFACES.values())
WITH_MINIMUM = [surface for surface in ALL if surface.minimum is not None]


def name(surface: Surface) -> str:
    return surface.name


def is_stationary_zero(surface: Surface) -> bool:
    """Whether the surface is 0 and level at the minimum it claims.

    The slack is for Rastrigin and Ackley, which subtract numbers of size 10 and e.
    """
    minimum = jnp.asarray(surface.minimum)
    value, slope = jax.jit(jax.value_and_grad(surface.fn))(minimum)
    return abs(float(value)) < 1e-12 and float(jnp.max(jnp.abs(slope))) < 1e-12


@pytest.mark.parametrize("surface", WITH_MINIMUM, ids=name)
def test_value_and_slope_are_zero_at_the_minimum(surface):
    assert is_stationary_zero(surface)


@pytest.mark.parametrize("surface", WITH_MINIMUM, ids=name)
def test_a_misplaced_minimum_would_be_noticed(surface):
    x, y = surface.minimum
    assert not is_stationary_zero(surface._replace(minimum=(x + 0.01, y)))


@pytest.mark.parametrize("surface", WITH_MINIMUM, ids=name)
def test_nothing_in_the_window_lies_below_the_minimum(surface):
    axes = [jnp.linspace(*bound, 201) for bound in surface.bounds]
    grid = jnp.stack(jnp.meshgrid(*axes), axis=-1)
    values = jax.jit(surface.fn)(grid)
    assert values.shape == (201, 201)
    assert float(values.min()) >= -1e-12
    inside = [
        low <= z <= high for z, (low, high) in zip(surface.minimum, surface.bounds, strict=True)
    ]
    assert all(inside)


@pytest.mark.parametrize("surface", ALL, ids=name)
def test_gradients_are_finite_and_match_differences(surface):
    points = np.array([surface.start, (0.7, -0.4), (-2.0, 1.5)])
    slopes = jax.jit(jax.vmap(jax.grad(surface.fn)))(np.array([*points, (0.0, 0.0)]))
    assert jnp.isfinite(slopes).all()
    h, fn = 1e-6, jax.jit(surface.fn)
    for axis in (0, 1):
        step = h * np.eye(2)[axis]
        differences = (fn(points + step) - fn(points - step)) / (2 * h)
        # Rounding of values up to 1e5 over 2h, and h^2 times third derivatives up to 1e3.
        np.testing.assert_allclose(slopes[:3, axis], differences, rtol=1e-6, atol=1e-5)


@pytest.mark.parametrize("surface", ALL, ids=name)
def test_the_dtype_is_kept(surface):
    for dtype in (jnp.float32, jnp.bfloat16):
        values = jax.eval_shape(surface.fn, jax.ShapeDtypeStruct((3, 2), dtype))
        assert (values.shape, values.dtype) == ((3,), dtype)


def test_rosenbrock_is_scipys(key):
    points = jax.random.normal(key, (20, 2))
    chex.assert_trees_all_close(
        rosenbrock(points), jnp.asarray(scipy.optimize.rosen(np.asarray(points).T)), rtol=1e-13
    )
    chex.assert_trees_all_close(
        jax.grad(rosenbrock)(points[0]),
        jnp.asarray(scipy.optimize.rosen_der(np.asarray(points[0]))),
    )


@pytest.mark.parametrize("surface", [s for s in WITH_MINIMUM if s.name != "ackley"], ids=name)
def test_scipy_finds_the_stated_minimum(surface):
    start = np.add(surface.minimum, (0.1, -0.1))
    slope = jax.jit(jax.value_and_grad(surface.fn))
    found = scipy.optimize.minimize(slope, start, jac=True, method="BFGS", tol=1e-9)
    np.testing.assert_allclose(found.x, surface.minimum, atol=1e-6)


def test_the_four_minima_of_himmelblau():
    start = np.array([[3, 2], [-2.8051, 3.1313], [-3.7793, -3.2832], [3.5844, -1.8481]])
    # Coordinates rounded by 5e-5, squared, times half the largest curvature there, below 70.
    assert float(himmelblau(jnp.asarray(start)).max()) < 3e-7


def test_a_known_value_of_beale():
    assert float(beale(jnp.zeros(2))) == 1.5**2 + 2.25**2 + 2.625**2


def test_the_curvatures_of_the_ravine_are_one_and_the_condition_number():
    hessian = jax.jit(jax.hessian(ravine))(jnp.array([0.3, -0.2]), 50.0)
    chex.assert_trees_all_close(hessian, jnp.diag(jnp.array([1.0, 50.0])))


def test_the_condition_number_is_data():
    point = jnp.array([1.0, 2.0])
    numbers = jnp.array([1.0, 10.0, 1000.0])
    chex.assert_trees_all_close(
        jax.vmap(ravine, (None, 0))(point, numbers), (1 + numbers * 4) / 2, rtol=1e-15
    )
    chex.assert_trees_all_close(jax.grad(ravine, 1)(point, 10.0), jnp.asarray(2.0))


def test_a_bad_condition_number_is_refused():
    with pytest.raises(
        ValueError, match=r"ravine: `condition_number` must lie in \(0, inf\), got -1"
    ):
        ravine(jnp.ones(2), -1.0)


def test_the_saddle_curves_both_ways():
    assert not jax.grad(saddle)(jnp.zeros(2)).any()
    curvatures = jnp.linalg.eigvalsh(jax.hessian(saddle)(jnp.zeros(2)))
    chex.assert_trees_all_close(curvatures, jnp.array([-2.0, 2.0]))
