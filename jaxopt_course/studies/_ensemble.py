"""Many trainings as one predictor: the average of their predictions, or of their parameters.

    ensemble        p(x) = 1/M sum_m p_m(x)
    uniform soup    w = 1/M sum_m w_m
    greedy soup     members in the order of their losses, the best first; each is kept if the mean
                    with it has a loss that is at most that of the mean without it

The members of a deep ensemble differ in their seed, those of a bag in their bootstrap sample too.
For a convex loss, such as the squared error or the cross-entropy of a class, the loss of their
average is at most their average loss.

The members of a soup must lie in one basin, as after fine-tuning from the same parameters, or as
the epochs of one training do. The means of trainings from different seeds are usually poor.

References: Lakshminarayanan, Pritzel & Blundell, "Simple and Scalable Predictive Uncertainty
Estimation using Deep Ensembles", NeurIPS 2017; Breiman, "Bagging Predictors", Machine Learning
1996; Wortsman et al., "Model soups: averaging weights of multiple fine-tuned models improves
accuracy without increasing inference time", 2022, recipe 1, https://arxiv.org/abs/2203.05482.
"""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Float, Int, Key, PyTree

from jaxopt_course.core import checks, tree, under_automatic_mesh
from jaxopt_course.data import bootstrap_weights
from jaxopt_course.training import Rows, make_population


Strategy = Literal["map", "chunk", "vmap"]


class Ensemble(NamedTuple):
    """The predictions of each member.

    predictions: f[members, points, ...].
    weights: how often each training row was drawn for each member, f[members, rows]. None: all
        members have the same rows.
    """

    predictions: Float[Array, "members points ..."]
    weights: Float[Array, "members rows"] | None = None

    @property
    def mean(self) -> Float[Array, "points ..."]:
        """The prediction of the ensemble."""
        return self.predictions.mean(0)

    @property
    def spread(self) -> Float[Array, "points ..."]:
        """The standard deviation over the members."""
        return self.predictions.std(0)


@under_automatic_mesh
def ensemble(
    predict: Callable[..., Array],
    *,
    key: Key[Array, ""],
    members: int = 5,
    hyperparameters: PyTree = None,
    rows: Rows | None = None,
    strategy: Strategy = "map",
    mesh: Mesh | None = None,
) -> Ensemble:
    """A deep ensemble: the same training from several seeds, in one program.

    Args:
        predict: ``predict(key, hyperparameters, rows)`` trains and returns predictions of the
            points of interest; for classes, their probabilities.
        key: member m trains with ``fold_in(key, m)``, as the seeds of a search do.
        members: number of members, in [1, inf).
        hyperparameters: those of ``predict``; numbers are traced.
        rows: those of ``predict``.
        strategy: as for :func:`~jaxopt_course.training.make_population`.
        mesh: as for :func:`~jaxopt_course.training.make_population`.

    Examples:
        >>> predict = lambda key, hyperparameters, rows: jax.random.uniform(key, (3,))
        >>> ensemble(predict, key=jax.random.key(0), members=8).mean.shape
        (3,)
    """
    checks.integer("ensemble", "members", members, "[1, inf)")
    run = jax.jit(make_population(predict, ["key"], strategy=strategy, mesh=mesh))
    return Ensemble(run(_keys(key, members), hyperparameters, rows))


@under_automatic_mesh
def bagging(
    predict: Callable[..., Array],
    rows: Int[Array, "n"],
    *,
    key: Key[Array, ""],
    members: int = 10,
    hyperparameters: PyTree = None,
    strategy: Strategy = "map",
    mesh: Mesh | None = None,
) -> Ensemble:
    """Trainings on bootstrap samples of the rows, each from its own seed, in one program.

    Args:
        predict: as for :func:`ensemble`; rows are weighted by how often they were drawn.
        rows: numbers of the rows to draw from, with replacement.
        key: PRNG key of the samples and the trainings.
        members: as for :func:`ensemble`.
        hyperparameters: as for :func:`ensemble`.
        strategy: as for :func:`ensemble`.
        mesh: as for :func:`ensemble`.

    Examples:
        >>> y = jnp.array([1.0, 2.0, 6.0])
        >>> mean = lambda key, hyperparameters, rows: jnp.average(y, None, rows.weights)[None]
        >>> bags = bagging(mean, jnp.arange(3), key=jax.random.key(0), members=200)
        >>> bool(abs(bags.mean[0] - 3) < 0.3)
        True
    """
    checks.integer("bagging", "members", members, "[1, inf)")
    rows = jnp.asarray(rows, jnp.int32)
    sample_key, train_key = jax.random.split(key)
    keys = _keys(train_key, members)
    draw = lambda key: bootstrap_weights(key, rows.shape[0])
    weights = jax.vmap(draw)(_keys(sample_key, members))
    of_bag = lambda key, hyperparameters, weights: predict(
        key, hyperparameters, Rows(rows, weights)
    )
    run = jax.jit(make_population(of_bag, [("key", "rows")], strategy=strategy, mesh=mesh))
    return Ensemble(run(keys, hyperparameters, weights), weights)


def out_of_bag(bags: Ensemble) -> Float[Array, "rows ..."]:
    """The mean prediction of each row by the members that did not train on it.

    Args:
        bags: the result of :func:`bagging`, whose ``predict`` predicts the training rows in order.

    Returns:
        f[rows, ...]; NaN for a row that every member has drawn.
    """
    shape = bags.predictions.shape
    if bags.weights is None or shape[:2] != bags.weights.shape:
        drawn = None if bags.weights is None else bags.weights.shape
        raise ValueError(
            f"out_of_bag: `bags` must predict the rows it trains on, got predictions of shape "
            f"{shape} and weights of shape {drawn}."
        )
    out = (bags.weights == 0).reshape(shape[:2] + (1,) * (len(shape) - 2))
    out = out.astype(bags.predictions.dtype)
    return (out * bags.predictions).sum(0) / out.sum(0)


def _keys(key: Key[Array, ""], members: int) -> Key[Array, "members"]:
    return jax.vmap(lambda m: jax.random.fold_in(key, m))(jnp.arange(members, dtype=jnp.uint32))


class Soup(NamedTuple):
    """The mean of some members.

    params: the mean, in the dtypes of the members.
    kept: which members are in it, bool[members].
    """

    params: PyTree
    kept: Bool[Array, " members"]


@under_automatic_mesh
def soup(members: PyTree, loss: Callable[[Any], Any] | None = None) -> Soup:
    """The mean of the members of a population, or of those that lower a loss.

    Args:
        members: a tree whose arrays have the members as their first axis, such as ``best_params``
            of the run of a population, or the pair of these and ``best_model_state``.
        loss: one member -> number to minimize, such as its validation loss, for a greedy soup. It
            is compiled, and called twice for each member. None: a uniform soup of all members.

    Raises:
        ValueError: if the arrays do not have one first axis.

    Examples:
        >>> members, loss = jnp.array([[1.0], [3.0], [9.0]]), lambda w: jnp.sum((w - 2.0) ** 2)
        >>> soup(members).params.round(2).tolist()
        [4.33]
        >>> found = soup(members, loss)
        >>> found.params.tolist(), found.kept.tolist()
        ([2.0], [True, True, False])
    """
    checks.floats("soup", "member", members)
    shapes = [jnp.shape(x) for x in jax.tree.leaves(members)]
    if not shapes or any(shape[:1] != shapes[0][:1] or not shape for shape in shapes):
        raise ValueError(
            f"soup: `members` must have one first axis, that of the members, got {shapes}."
        )
    size = shapes[0][0]
    checks.integer("soup", "number of members", size, "[1, inf)")
    if loss is None:
        kept = jnp.ones(size, bool)
        return Soup(_mean_of(members, kept), kept)
    checks.function("soup", "loss", loss)
    return jax.jit(lambda members: _greedy(members, loss, size))(members)


def _greedy(members: PyTree, loss: Callable[[Any], Any], size: int) -> Soup:
    order = jnp.argsort(jax.lax.map(loss, members))

    def step(carry: Any, member: Array) -> tuple[Any, None]:
        kept, least = carry
        more = kept.at[member].set(True)
        found = jnp.asarray(loss(_mean_of(members, more)), least.dtype)
        better = found <= least
        return (jnp.where(better, more, kept), jnp.where(better, found, least)), None

    first = jnp.arange(size) == order[0]
    least = loss(_mean_of(members, first))
    (kept, _), _ = jax.lax.scan(step, (first, jnp.asarray(least)), order[1:])
    return Soup(_mean_of(members, kept), kept)


def _mean_of(members: PyTree, kept: Bool[Array, " members"]) -> PyTree:
    """The mean of the members that are ``kept``."""

    def mean(x: Array) -> Array:
        wide = tree.widened(x)
        chosen = kept.reshape(kept.shape + (1,) * (x.ndim - 1))
        total = jnp.sum(jnp.where(chosen, wide, 0), axis=0)
        return (total / jnp.sum(kept).astype(total.dtype)).astype(x.dtype)

    return jax.tree.map(mean, members)
