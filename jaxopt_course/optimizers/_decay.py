"""The decoupled weight decay that an optimizer takes as an option.

With the update u_t that the optimizer makes without it, learning rate a_t and decay d_t,

    w <- w - a_t (u_t + d_t w)

The moments and the momentum do not see the decay. A decay that they see is coupled:
``chain(add_decayed_weights(d), sgd(a, 0.9))``, the ``weight_decay`` of torch's SGD and RMSprop.

Reference: Loshchilov & Hutter, "Decoupled Weight Decay Regularization", 2019,
https://arxiv.org/abs/1711.05101.
"""

from jaxopt_course.core import GradientTransformationExtraArgs, Mask, ScalarOrSchedule, checks
from jaxopt_course.transforms import add_decayed_weights


def decayed(
    owner: str, weight_decay: ScalarOrSchedule | None, mask: Mask | None
) -> tuple[GradientTransformationExtraArgs, ...]:
    """The decay as a part of a chain, in front of the learning rate; no part if it is None.

    Without it the state is what it was before the option existed, so that checkpoints resume.
    """
    checks.beside(owner, "a `weight_decay`", present=weight_decay is not None, mask=mask)
    if weight_decay is None:
        return ()
    checks.learning_rate(owner, weight_decay, "weight_decay")
    return (add_decayed_weights(weight_decay, mask),)
