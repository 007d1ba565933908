"""On eight forced devices: every part of a state shaped like the params lies where they lie.

Run by ``tests/test_own_process.py`` as a program, for the device count is fixed at the start.
"""

import jax
import jax.numpy as jnp
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from jaxopt_course.optimizers import adamw
from jaxopt_course.transforms import quantized_state
from tests.catalogue import TRANSFORMATIONS


DEVICES = 8


def shardings(tree):
    return {
        jax.tree_util.keystr(path): leaf.sharding
        for path, leaf in jax.tree.leaves_with_path(tree)
        if leaf.size > 1  # a single number takes the place of factors that a leaf does not have
    }


def main():
    jax.config.update("jax_num_cpu_devices", DEVICES)
    mesh = jax.make_mesh((DEVICES,), ("data",), axis_types=(AxisType.Auto,))
    split = NamedSharding(mesh, PartitionSpec("data"))
    params = {"w": jax.device_put(jnp.ones((16, 4)), split)}
    wide = {"w": jax.device_put(jnp.ones((16, 1024), jnp.float32), split)}
    cases = [
        (name, member.build(), params)
        for name, member in TRANSFORMATIONS.items()
        if "sharding" not in member.exempt
    ]
    cases.append(("quantized_state", quantized_state(adamw(0.1), chunk=None), wide))
    for name, tx, params in cases:
        state = tx.init(params)
        _, state_after = jax.jit(tx.update)(params, state, params)
        for part in (state, state_after):
            for path, sharding in shardings(part).items():
                assert sharding.is_equivalent_to(split, 2), f"{name}{path}: {sharding}"
    kinds = {leaf.dtype.name for leaf in jax.tree.leaves(state)}
    assert kinds >= {"int8", "uint8", "float32"}  # the last case did keep bits
    replicated = NamedSharding(mesh, PartitionSpec())
    assert not replicated.is_equivalent_to(split, 2)  # the check can fail
    print(f"{len(TRANSFORMATIONS)} transformations keep the sharding of their params")  # noqa: T201


if __name__ == "__main__":
    main()
