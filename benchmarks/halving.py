"""Successive halving, hyperband and populations against training every configuration to the end.

    python -m benchmarks halving [--quick]

81 configurations of an MLP 64-40-10 on digits, trained by AdamW in batches of 64 for at most 810
steps (35 epochs). "all" trains every configuration to the end, in a loop that is compiled once.
"population" takes as many steps as halving, with nine members. Ranks are those among all
configurations at the end; 0 is the best. Compilation is included, and is also measured in CPU
seconds, on which other programs have less effect.
"""

import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from benchmarks._machine import save
from benchmarks._measure import options_of
from benchmarks._mlp import BATCH_SIZE, SPACE, WIDTH, build_of, split, task_of
from jaxopt_course.data import digits
from jaxopt_course.studies import (
    Rungs,
    configuration_at,
    halving_rungs,
    hyperband,
    population_based_training,
    sobol_design,
    successive_halving,
    top_k_rungs,
)
from jaxopt_course.training import make_train, make_training


TRIALS, EPOCH = 81, 23
ROWS = split()
KEY = jax.random.key(0)
TRAINING = ("jit(start)", "jit(advance)", "jit(take)")


def main() -> None:
    """Measure all methods, print a line for each, and write ``results/halving.json``."""
    options = options_of(__doc__, "a third of the steps").parse_args()
    figures = measured(270 if options.quick else 810)
    for name, row in figures.items():
        print(f"{name}: {row}")  # noqa: T201
    print(save("halving", {**vars(options), **figures}))  # noqa: T201


def measured(steps: int) -> dict[str, Any]:
    """Seconds, ratios, correlations and ranks, by way of training."""
    build = build_of(task_of(WIDTH))
    training = make_training(build, digits(), batch_size=BATCH_SIZE)
    points = sobol_design(KEY, SPACE, TRIALS)
    found = {"all": all_to_the_end(build, points, steps)}
    scores = np.array(found["all"].pop("scores"))

    def halve(rungs: Rungs) -> Any:
        return successive_halving(
            training, SPACE, key=KEY, rungs=rungs, rows=ROWS, points=points, progress=False
        )

    rungs = halving_rungs(TRIALS, min_steps=max(steps // TRIALS, 1), max_steps=steps)
    tables = {
        "halving": rungs,
        "halving with other budgets": Rungs((TRIALS, 20, 5, 2), (7, 40, 90, steps)),
        "one epoch, then the best nine": top_k_rungs(TRIALS, 9, min_steps=EPOCH, max_steps=steps),
    }
    found["compiling"] = compiling(lambda: halve(rungs), found["all"])
    for name, table in tables.items():
        result, counted = counting(lambda table=table: halve(table))
        found[name] = {
            **counted,
            "seconds": result.seconds,
            "times_as_fast_as_all": found["all"]["seconds"] / result.seconds,
            "rank_correlations": result.correlations.tolist(),
            "rank_of_best_among_all": int((scores < scores[result.best]).sum()),
            "score": float(result.scores[-1, result.best]),
        }
    settings = {"key": KEY, "rows": ROWS, "progress": False}
    bands = lambda: hyperband(training, SPACE, min_steps=steps // 27, max_steps=steps, **settings)
    bands()
    brackets, counted = counting(bands)
    found["hyperband"] = {
        **counted,
        "seconds": sum(bracket.seconds for bracket in brackets),
        "trainings": sum(bracket.rungs.sizes[0] for bracket in brackets),
        "score": min(float(b.scores[-1, b.best]) for b in brackets),
        "rank_correlations": [b.correlations.tolist() for b in brackets],
    }
    # As many steps in all as halving takes.
    spent = int(np.dot(rungs.sizes, np.diff([0, *rungs.steps])))
    train = lambda: population_based_training(
        training, SPACE, members=9, rounds=10, interval=max(spent // 90, 1), **settings
    )
    train()
    population, counted = counting(train)
    found["population"] = {
        **counted,
        "seconds": population.seconds,
        "steps": int(population.steps[-1]),
        "rank_correlations": population.correlations.tolist(),
        "score": float(population.scores[-1, population.best]),
    }
    return found


def all_to_the_end(build: Callable[[Any], Any], points: np.ndarray, steps: int) -> dict[str, Any]:
    """Seconds of all trainings one after the other; their last scores; seconds of compiling one.

    It returns its score alone; what halving compiles hands on the whole state, as a whole run does.
    """
    train = make_train(build, digits(), steps=steps, batch_size=BATCH_SIZE, evaluate_every=steps)
    last = jax.jit(lambda hp: train(KEY, hp, ROWS).history["validation_loss"][-1])
    hp = [jax.tree.map(np.float32, configuration_at(SPACE, point)) for point in points]
    begin, cpu = time.perf_counter(), time.process_time()
    compiled = last.lower(hp[0]).compile()
    took = {"compile_s": time.perf_counter() - begin, "compile_cpu_s": time.process_time() - cpu}
    cpu = time.process_time()
    jax.jit(train).lower(KEY, hp[0], ROWS).compile()
    took["compile_whole_run_cpu_s"] = time.process_time() - cpu
    begin = time.perf_counter()
    scores = [float(compiled(configuration)) for configuration in hp]
    return {**took, "seconds": time.perf_counter() - begin, "scores": scores}


def compiling(run: Callable[[], Any], one: dict[str, Any]) -> dict[str, float]:
    """What the first run takes more than the second, beside compiling one training."""
    seconds, programs = [], []
    for _ in range(2):
        cpu = time.process_time()
        result, counted = counting(run)
        seconds.append((result.seconds, time.process_time() - cpu))
        programs.append(counted["recompiled"])
    (first, first_cpu), (second, second_cpu) = seconds
    return {
        "programs": programs[0],
        "compile_s": first - second,
        "times_one_training": (first - second) / one["compile_s"],
        "cpu_times_one_training": (first_cpu - second_cpu) / one["compile_cpu_s"],
        "cpu_times_one_whole_run": (first_cpu - second_cpu) / one["compile_whole_run_cpu_s"],
    }


def counting(run: Callable[[], Any]) -> tuple[Any, dict[str, int]]:
    """What ``run`` gives, and how many programs of trainings it compiled."""
    compiled: list[str] = []

    def note(event: str, seconds: float, **more: Any) -> None:
        if event.endswith("backend_compile_duration"):
            compiled.append(str(more.get("fun_name")))

    jax.monitoring.register_event_duration_secs_listener(note)
    result = run()
    return result, {"recompiled": sum(name in TRAINING for name in compiled)}


if __name__ == "__main__":
    main()
