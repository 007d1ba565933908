"""Test accuracy of the default training on digits, with several seeds in one program.

    python -m benchmarks digits [--quick] [--seeds 10]

Seed s splits, initializes and shuffles as ``jaxopt-course train --seed s`` does. The score is the
test accuracy of the parameters with the lowest validation loss. As seeds differ in their key and
rows only, one compiled training serves all of them.
"""

import time

import jax
import jax.numpy as jnp

from benchmarks._default import BATCH_SIZE, EPOCHS, data, optimizer_of, split_of, task_of
from benchmarks._machine import save
from benchmarks._measure import options_of
from jaxopt_course.data import Split
from jaxopt_course.training import Rows, make_population, make_train


TARGET_MEAN, TARGET_MIN = 0.97, 0.955


def main() -> None:
    """Print each seed's test accuracy, then mean, minimum and seconds, against the targets."""
    parser = options_of(__doc__, "three seeds")
    parser.add_argument("--seeds", type=int, help="number of seeds (default: 10; with --quick 3)")
    options = parser.parse_args()
    begin = time.perf_counter()
    accuracies = accuracies_of(options.seeds or (3 if options.quick else 10))
    for seed, accuracy in enumerate(accuracies):
        print(f"seed {seed}: {accuracy:.4f}")  # noqa: T201
    mean, least = sum(accuracies) / len(accuracies), min(accuracies)
    met = mean >= TARGET_MEAN and least >= TARGET_MIN
    took = time.perf_counter() - begin
    print(  # noqa: T201
        f"mean {mean:.4f} (target {TARGET_MEAN}), min {least:.4f} (target {TARGET_MIN}): "
        f"{'met' if met else 'missed'}; {took:.1f} s"
    )
    print(save("digits", {**vars(options), "accuracies": accuracies, "seconds": took}))  # noqa: T201
    raise SystemExit(0 if met else 1)


def accuracies_of(seeds: int) -> list[float]:
    """The test accuracy of each seed."""
    inputs, targets = data()
    members = [split_of(seed) for seed in range(seeds)]
    task, optimizer = task_of(), optimizer_of(EPOCHS, len(members[0][0].train))
    train = make_train(
        lambda _: (task, optimizer), (inputs, targets), epochs=EPOCHS, batch_size=BATCH_SIZE
    )

    def accuracy(key: jax.Array, _: None, parts: Split) -> jax.Array:
        run = train(key, None, Rows(parts.train, None, parts.validation))
        outputs = task.predict(run.best_params, run.best_model_state, inputs[parts.test])
        return jnp.mean(jnp.argmax(outputs, -1) == targets[parts.test])

    parts, keys = jax.tree.map(lambda *x: jnp.stack(x), *members)
    run = make_population(accuracy, [("key", "rows")])
    return jax.jit(run)(keys, None, parts).tolist()


if __name__ == "__main__":
    main()
