"""Soups of members, beside a loop in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxopt_course import studies


def members(seed, dtype="float64"):
    rng = np.random.default_rng(seed)
    return {
        "w": jnp.asarray(rng.normal(size=(6, 3, 2)), dtype),
        "b": jnp.asarray(rng.normal(size=6), dtype),
    }


def loss(params):
    return jnp.sum((params["w"] - 0.2) ** 2) + params["b"] ** 2


def by_hand(tree):
    """Recipe 1 of the paper: the numbers of the members in the soup."""
    of = lambda chosen: {name: np.mean([x[i] for i in chosen], axis=0) for name, x in tree.items()}
    number = lambda p: float(np.sum((p["w"] - 0.2) ** 2) + p["b"] ** 2)
    order = sorted(range(6), key=lambda i: number(of([i])))
    soup = [order[0]]
    for i in order[1:]:
        if number(of([*soup, i])) <= number(of(soup)):
            soup.append(i)
    return soup, of(soup)


@pytest.mark.parametrize("seed", range(4))
def test_the_greedy_soup_is_that_of_the_recipe(seed):
    tree = members(seed)
    found = studies.soup(tree, loss)
    chosen, mean = by_hand(jax.tree.map(np.asarray, tree))
    assert np.flatnonzero(found.kept).tolist() == sorted(chosen)
    assert 1 < len(chosen) < 6
    for name, x in mean.items():
        np.testing.assert_allclose(found.params[name], x, rtol=1e-12)
    alone = jax.vmap(loss)(tree)
    assert float(loss(found.params)) <= float(alone.min())


def test_the_uniform_soup_is_the_mean_and_sums_wide():
    tree = members(0)
    found = studies.soup(tree)
    np.testing.assert_allclose(found.params["w"], np.mean(tree["w"], axis=0), rtol=1e-12)
    assert found.kept.all()
    half = studies.soup(jnp.full((4096, 2), 1.0, jnp.float16)).params  # a sum of ones in float16
    assert half.dtype == jnp.float16  # would stop at 2048
    assert half.tolist() == [1, 1]


def test_a_member_that_is_not_finite_is_left_out():
    tree = members(1)
    bad = jax.tree.map(lambda x: x.at[2].set(jnp.nan), tree)
    found = studies.soup(bad, loss)
    assert not found.kept[2]
    assert np.isfinite(found.params["w"]).all()


def test_bad_members_are_named():
    with pytest.raises(ValueError, match="`members` must have one first axis"):
        studies.soup({"w": jnp.ones((3, 2)), "b": jnp.ones(4)})
    with pytest.raises(TypeError, match=r"member at \['w'\] must have a float"):
        studies.soup({"w": jnp.ones((3, 2), int)})
