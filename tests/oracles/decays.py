"""Weight decay as an option and as transformations, and averages of the parameters."""

import jax
import jax.numpy as jnp

import jaxopt_course as jc
from tests.oracles.rows import STEPS, Row, of_torch


PACKAGE = "pytorch-optimizer"
ROUNDING = 1e-14  # 1e-15 to 5e-15 are measured, which depends on the order of operations
RATE = {"lr": 0.03, "weight_decay": 0.1}


def elsewhere(name, **options):
    """An optimizer of pytorch-optimizer with a decoupled decay."""

    def build(leaves):
        import pytorch_optimizer

        return getattr(pytorch_optimizer, name)(leaves, **(RATE | options))

    return of_torch(build)


def torch_radam(leaves):
    import torch

    return torch.optim.RAdam(
        leaves, betas=(0.9, 0.95), eps=0.0, decoupled_weight_decay=True, **RATE
    )


def rates(t):
    """A linear cooldown, of numbers and traced counts."""
    return 0.03 * (1 - t / STEPS)


def adamc(leaves):
    import pytorch_optimizer

    groups = [{"params": leaves, "normalized": True}]
    optimizer = pytorch_optimizer.AdamC(groups, betas=(0.9, 0.95), eps=0.0, **RATE)
    step, count = optimizer.step, iter(range(STEPS))

    def at_its_rate():
        optimizer.param_groups[0]["lr"] = rates(next(count))
        step()

    optimizer.step = at_its_rate
    return optimizer


def heavyball_adamw(leaves):
    import heavyball

    heavyball.utils.compile_mode = None
    return heavyball.AdamW(leaves, betas=(0.9, 0.95), cautious_weight_decay=True, **RATE)


def torch_swa(start, gradients):
    """The means of torch's ``AveragedModel``, updated after every third step from step 10 on."""
    import torch
    from torch.optim.swa_utils import AveragedModel

    torch.set_default_dtype(torch.float64)
    names = list(start)
    model = torch.nn.ParameterList([torch.tensor(start[name]) for name in names])
    optimizer, swa, found = torch.optim.SGD(model.parameters(), 0.03, 0.8), AveragedModel(model), []
    for step in range(STEPS):
        for name, leaf in zip(names, model, strict=True):
            leaf.grad = torch.tensor(gradients[name][step])
        optimizer.step()
        if step + 1 >= 10 and (step + 1 - 10) % 3 == 0:
            swa.update_parameters(model)
        shown = swa.module if step + 1 >= 10 else model
        leaves = [leaf.detach().numpy().copy() for leaf in shown]
        found.append(dict(zip(names, leaves, strict=True)))
    return found


def evaluated(tx):
    """``tx`` with updates that lead to the parameters to evaluate; its own are in the state."""

    def update(updates, state, params=None, **extra_args):
        own, inner = state
        updates, inner = tx.update(updates, inner, own)
        own = jc.apply_updates(own, updates)
        mean = jc.transforms.evaluation_params(inner, own)
        return jax.tree.map(jnp.subtract, mean, params), (own, inner)

    return jc.GradientTransformationExtraArgs(lambda params: (params, tx.init(params)), update)


def torch_lookahead(leaves):
    import pytorch_optimizer
    import torch

    return pytorch_optimizer.Lookahead(torch.optim.SGD(leaves, 0.03, 0.8), k=4, alpha=0.3)


def fast_of(lookahead):
    """``lookahead`` for the fast parameters; the slow ones are in the state."""

    def update(updates, state, params=None, **extra_args):
        slow, inner = state
        both = jc.LookaheadParams(params, slow)
        moves, inner = lookahead.update(updates, inner, both)
        return moves.fast, (jc.apply_updates(slow, moves.slow), inner)

    start = lambda params: (params, lookahead.init(params))
    return jc.GradientTransformationExtraArgs(start, update)


def adam_then(decay, rate=0.03, **options):
    adam = jc.scale_by_adam(0.9, 0.95, **options)
    return jc.chain(adam, decay, jc.scale_by_learning_rate(rate))


DECAY = {"weight_decay": 0.1}

ROWS = {
    "adabelief": Row(
        PACKAGE,
        lambda: jc.adabelief(0.03, 0.9, 0.95, **DECAY),
        elsewhere("AdaBelief", betas=(0.9, 0.95)),
        bound=ROUNDING,
    ),
    "adopt": Row(
        PACKAGE,
        lambda: jc.adopt(0.03, 0.9, 0.95, **DECAY),
        elsewhere(
            "ADOPT",
            betas=(0.9, 0.95),
            weight_decouple=True,
            clip_lambda=lambda step: (step - 1) ** 0.25,
        ),
        bound=2e-14,
        note="steps are counted from 0, as in the paper, when the bound of clipping is computed",
    ),
    "cautious_weight_decay": Row(
        "heavyball",
        lambda: adam_then(jc.cautious_weight_decay(0.1), eps=0.0),
        of_torch(heavyball_adamw),
        bound=2e-7,
        note="the other package keeps its learning rate and decay in float32, and clamps at eps",
    ),
    "corrected_weight_decay": Row(
        PACKAGE,
        lambda: adam_then(jc.corrected_weight_decay(0.1, rates, 0.03), rates, eps=0.0),
        of_torch(adamc),
        bound=3e-8,
        note="the other package adds 1e-15 to the second moment",
    ),
    "independent_weight_decay": Row(
        PACKAGE,
        lambda: jc.chain(jc.adabelief(0.03, 0.9, 0.95), jc.independent_weight_decay(0.1)),
        elsewhere("AdaBelief", betas=(0.9, 0.95), fixed_decay=True),
        bound=ROUNDING,
    ),
    "lookahead": Row(
        PACKAGE,
        lambda: fast_of(jc.lookahead(jc.sgd(0.03, 0.8), sync_period=4, slow_step_size=0.3)),
        of_torch(torch_lookahead),
        bound=ROUNDING,
    ),
    "radam": Row(
        "torch",
        lambda: jc.radam(0.03, 0.9, 0.95, 0.0, **DECAY),
        of_torch(torch_radam),
        bound=ROUNDING,
    ),
    "sgd": Row(
        PACKAGE,
        lambda: jc.sgd(0.03, 0.8, nesterov=True, **DECAY),
        elsewhere("SGDW", momentum=0.8, nesterov=True),
        bound=ROUNDING,
    ),
    "tail_average": Row(
        "torch",
        lambda: evaluated(jc.tail_average(jc.sgd(0.03, 0.8), start=7, every=3)),
        torch_swa,
        bound=ROUNDING,
    ),
    "yogi": Row(
        PACKAGE,
        lambda: jc.yogi(0.03, 0.9, 0.95, **DECAY),
        elsewhere("Yogi", betas=(0.9, 0.95)),
        bound=ROUNDING,
    ),
}
