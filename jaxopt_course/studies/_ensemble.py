"""Many trainings as one predictor: the average of their predictions, such as probabilities.

    p(x) = 1/M sum_m p_m(x)

The members of a deep ensemble differ in their seed, those of a bag in their bootstrap sample too.
For a convex loss, such as the squared error or the cross-entropy of a class, the loss of their
average is at most their average loss.

References: Lakshminarayanan, Pritzel & Blundell, "Simple and Scalable Predictive Uncertainty
Estimation using Deep Ensembles", NeurIPS 2017; Breiman, "Bagging Predictors", Machine Learning
1996.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int, Key, PyTree

from jaxopt_course.core import checks, under_automatic_mesh
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
