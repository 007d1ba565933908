"""The result of a search for other tools: tables, CSV and Parquet files, an Optuna study."""

import os
import pathlib
from typing import Any, Literal

import numpy as np

from jaxopt_course.core import checks

from ._result import SearchResult, columns_of, plain_value
from ._space import Float, Int, space_of
from ._study import metric_name


def to_table(result: SearchResult, by: Literal["configuration", "training"] = "training") -> Any:
    """The result as a ``pyarrow.Table``, with one row a training or one a configuration.

    Args:
        result: the result of a search.
        by: "training" has the columns ``configuration``, ``fold``, ``seed``, the ranges, ``score``
            and ``outcome``. "configuration" has ``configuration``, the ranges, the mean ``score``,
            its ``standard_error``, the number of trainings that ``failed``, and the ``rank``, of
            which 1 is best.

    Examples:
        >>> import jax
        >>> from jaxopt_course.studies import search
        >>> train = lambda key, hyperparameters, rows: hyperparameters["rate"]
        >>> space, metric = {"rate": Float(0.0, 1.0)}, lambda run: run
        >>> result = search(train, space, key=jax.random.key(0), trials=4, metric=metric)
        >>> to_table(result).column_names
        ['configuration', 'fold', 'seed', 'rate', 'score', 'outcome']
    """
    import pyarrow as pa

    checks.choice("to_table", "by", by, ("configuration", "training"))
    columns = columns_of(result)
    if by == "configuration":
        rank = np.empty(len(result.points), int)
        rank[result.ranking] = np.arange(1, len(rank) + 1)
        return pa.table({"configuration": np.arange(len(rank)), **columns, "rank": rank})
    names = space_of(result.space).names
    number, fold, seed = (axis.ravel() for axis in np.indices(result.scores.shape))
    trainings = {"configuration": number, "fold": fold, "seed": np.array(result.seeds)[seed]}
    ranges = {name: [columns[name][i] for i in number] for name in names}
    scores = {"score": result.scores.ravel(), "outcome": result.outcomes.ravel()}
    return pa.table({**trainings, **ranges, **scores})


def write_table(
    result: SearchResult,
    path: str | os.PathLike[str],
    by: Literal["configuration", "training"] = "training",
) -> None:
    """Write :func:`to_table` to a file whose name ends in ``.csv`` or ``.parquet``."""
    suffix = pathlib.Path(path).suffix
    checks.choice("write_table", "path", suffix, (".csv", ".parquet"))
    table = to_table(result, by)
    if suffix == ".csv":
        from pyarrow.csv import write_csv

        write_csv(table, path)
    else:
        from pyarrow.parquet import write_table as write_parquet

        write_parquet(table, path)


def to_optuna(result: SearchResult, storage: Any = None, name: str | None = None) -> Any:
    """The result as an ``optuna.Study``, for its dashboard and its analyses.

    A trial is a configuration. Its value is the mean score; its intermediate values are the means
    of the ranked metric at each evaluation, if that is a name in the history. A configuration with
    a failed training is a failed trial. Options other than numbers and strings become strings.

    Args:
        result: the result of a search.
        storage: an Optuna storage, such as ``"sqlite:///study.db"``. None: memory. Optuna's journal
            files are pickles: read only those that you trust.
        name: name of the study in the storage.
    """
    import optuna

    columns, curves = columns_of(result), _curves(result)
    distributions = _distributions(result)
    state = optuna.trial.TrialState
    trials = [
        optuna.create_trial(
            state=state.FAIL if np.isnan(value) else state.COMPLETE,
            value=None if np.isnan(value) else value,
            params={name: columns[name][i] for name in _own(columns, distributions, i)},
            distributions=_own(columns, distributions, i),
            user_attrs={"standard_error": columns["standard_error"][i]},
            intermediate_values=curves[i],
        )
        for i, value in enumerate(columns["score"])
    ]
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    direction: Any = "minimize" if result.mode == "min" else "maximize"
    study = optuna.create_study(storage=storage, study_name=name, direction=direction)
    study.add_trials(trials)
    return study


def importance(result: SearchResult) -> dict[str, float]:
    """How much each range determines whether a configuration is among the best tenth.

    It compares the distribution of the best tenth with that of all configurations, without those
    that have a failed training.

    Returns:
        {name of the range: share}, the largest first; the shares add up to 1.

    Source: Watanabe, Bansal & Hutter, "PED-ANOVA: Efficiently Quantifying Hyperparameter
    Importance in Arbitrary Subspaces", IJCAI 2023, as in Optuna.
    """
    import optuna

    scored = int(np.isfinite(result.values).sum())
    if scored < 2:
        raise ValueError(f"importance: `result` must have at least 2 scores, got {scored}.")
    evaluator = optuna.importance.PedAnovaImportanceEvaluator()
    return dict(optuna.importance.get_param_importances(to_optuna(result), evaluator=evaluator))


def _distributions(result: SearchResult) -> dict[str, Any]:
    """The Optuna distribution of each range."""
    from optuna import distributions

    found: dict[str, Any] = {}
    space = space_of(result.space)
    for name, kind in zip(space.names, space.ranges, strict=True):
        if isinstance(kind, Float):
            found[name] = distributions.FloatDistribution(kind.low, kind.high, log=kind.log)
        elif isinstance(kind, Int):
            found[name] = distributions.IntDistribution(kind.low, kind.high, log=kind.log)
        else:
            options = dict.fromkeys(map(plain_value, kind.options))
            found[name] = distributions.CategoricalDistribution(list(options))
    return found


def _own(columns: dict[str, list[Any]], distributions: dict[str, Any], i: int) -> dict[str, Any]:
    """The distributions of the ranges that configuration ``i`` has a value of."""
    return {name: kind for name, kind in distributions.items() if columns[name][i] is not None}


def _curves(result: SearchResult) -> list[dict[int, float]]:
    """{step: mean of the ranked metric} of each configuration, if it is in the history."""
    if callable(result.metric) or "step" not in result.history:
        return [{} for _ in result.points]
    name = metric_name("to_optuna", result.metric, result.history)
    means = result.history[name].mean((1, 2))
    steps = result.history["step"].max((1, 2))
    return [
        {int(s): float(m) for s, m in zip(*rows, strict=True) if np.isfinite(m)}
        for rows in zip(steps, means, strict=True)
    ]
