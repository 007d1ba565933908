"""On 1, 2 and 4 forced devices a search gives the same, to the bit where it is "map".

Run by ``tests/studies/test_devices.py`` as a program, for the device count is fixed at the start.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType

from jaxopt_course.data import k_fold
from jaxopt_course.optimizers import sgd
from jaxopt_course.studies import Float, search
from jaxopt_course.training import make_train
from tests.training.problems import line, line_task


def main():
    jax.config.update("jax_num_cpu_devices", 4)
    build = lambda hyperparameters: (line_task(), sgd(hyperparameters["rate"]))
    train = make_train(build, line(), epochs=2, batch_size=4)
    folds, space = k_fold(jax.random.key(1), np.arange(12), 3), {"rate": Float(0.01, 0.3)}
    for strategy in ("map", "chunk", "vmap", "auto"):
        results = []
        for devices in (1, 2, 4):
            mesh = jax.make_mesh(
                (devices,), ("pop",), axis_types=(AxisType.Auto,), devices=jax.devices()[:devices]
            )
            results.append(
                search(
                    train,
                    space,
                    key=jax.random.key(0),
                    trials=5,  # 15 trainings, which neither 2 nor 4 divides
                    folds=folds,
                    strategy=strategy,
                    chunk_size=2,
                    mesh=mesh,
                    progress=False,
                )
            )
        alone = search(
            train,
            space,
            key=jax.random.key(0),
            trials=5,
            folds=folds,
            strategy="map",
            progress=False,
        )
        for result in results:
            if strategy == "map":
                np.testing.assert_array_equal(result.scores, alone.scores)
                for name, values in alone.history.items():
                    np.testing.assert_array_equal(result.history[name], values)
            else:  # vectorized sums round differently
                np.testing.assert_allclose(result.scores, alone.scores, rtol=1e-5)
    assert jnp.isfinite(alone.scores).all()
    print("a search on 2 and 4 devices is that on 1")  # noqa: T201


if __name__ == "__main__":
    main()
