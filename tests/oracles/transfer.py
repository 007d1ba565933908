"""muP, where the base model is two and three times as narrow."""

import jaxopt_course as jc
from tests.oracles.rows import STEPS, Row


SHAPES = {"input": (5, 12), "hidden": (8, 12), "output": (8, 3), "bias": (12,), "fixed": (3, 2)}
BASE = {"input": (5, 4), "hidden": (4, 4), "output": (4, 3), "bias": (4,), "fixed": (3, 2)}
RATE, DECAY = 0.02, 0.1
NOTE = "the output layer's multiplier is part of its weights"


def of_mup(build):
    """``theirs``, with matrices transposed, as torch has them, and mup's output layer.

    Its weights are W = m V, where V are ours: it divides its inputs by m. Their gradient is that of
    V divided by m.
    """

    def points(start, gradients):
        import torch
        from mup.infshape import zip_infshape

        multiplier = {"output": SHAPES["output"][0] / BASE["output"][0]}
        tensor = lambda x: torch.tensor(x.T.copy(), dtype=torch.float64)
        leaves = {}
        for name, x in start.items():
            leaves[name] = torch.nn.Parameter(tensor(x) * multiplier.get(name, 1))
            leaves[name].infshape = zip_infshape(BASE[name][::-1], SHAPES[name][::-1])
        optimizer, found = build(list(leaves.values())), []
        for step in range(STEPS):
            for name, leaf in leaves.items():
                leaf.grad = tensor(gradients[name][step]) / multiplier.get(name, 1)
            optimizer.step()
            found.append(
                {name: x.detach().numpy().T / multiplier.get(name, 1) for name, x in leaves.items()}
            )
        return found

    return points


def mu_adamw(leaves):
    import mup

    return mup.MuAdamW(leaves, lr=RATE, weight_decay=DECAY, eps=0.0)


def mu_sgd(leaves):
    import mup

    return mup.MuSGD(leaves, lr=RATE, momentum=0.9, weight_decay=DECAY)


def ours(kind, build):
    def built():
        import jax
        import jax.numpy as jnp

        shapes = lambda sizes: {
            name: jax.ShapeDtypeStruct(shape, jnp.float64) for name, shape in sizes.items()
        }
        multipliers = jc.transfer.mup(shapes(BASE), shapes(SHAPES), kind)
        return jc.with_multipliers(build, multipliers)

    return built


def adamw(m):
    return jc.adamw(RATE * m.learning_rate, eps=0.0, weight_decay=DECAY * m.weight_decay)


def sgd(m):
    decayed = jc.add_decayed_weights(DECAY * m.weight_decay)
    return jc.chain(decayed, jc.sgd(RATE * m.learning_rate, momentum=0.9))


ROWS = {
    "mup_adamw": Row(
        "mup",
        ours("adam", adamw),
        of_mup(mu_adamw),
        bound=1e-13,
        note=f"{NOTE}; `eps = 0`, which the package does not scale",
        shapes=SHAPES,
    ),
    "mup_sgd": Row("mup", ours("sgd", sgd), of_mup(mu_sgd), bound=1e-14, note=NOTE, shapes=SHAPES),
}
