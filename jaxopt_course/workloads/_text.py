"""Text from a Markov source of order two, whose entropy is known, so no model does better.

With p(c | a, b) the probability of a token behind two others, the pairs are a Markov chain, and

    q(a, b)       its stationary distribution:  q(b, c) = sum_a q(a, b) p(c | a, b)
    H(C | A, B)   sum over a, b of q(a, b) H(p(. | a, b))        the entropy rate
    H(C | B)      the same of p(c | b) = sum_a q(a, b) p(c | a, b) / q(b), with q(b) = sum_a q(a, b)

A model that reads tokens 1, ..., T of a stationary sequence and predicts each next one cannot have
an expected loss below (H(C | B) + (T - 1) H(C | A, B)) / T: in front of its first token there is
none that it could see.
"""

import functools
from typing import NamedTuple

import flax.linen as nn
import numpy as np
from jaxtyping import Float64, Int32

from jaxopt_course.nn import GRU, Transformer
from jaxopt_course.problems import problem
from jaxopt_course.tasks import linen_task

from ._workload import Parts, Workload, frozen_targets, parts


VOCABULARY, LENGTH, SEQUENCES, TRAIN = 4, 8, 640, 512


class MarkovSource(NamedTuple):
    """A source of tokens.

    transitions: p(c | a, b), f64[v, v, v].
    stationary: q(a, b), f64[v, v].
    entropy_rate: H(C | A, B) in nats: what the next token says, all others known.
    pair_entropy: H(C | B), where only one token is known.
    """

    transitions: Float64[np.ndarray, "v v v"]
    stationary: Float64[np.ndarray, "v v"]
    entropy_rate: float
    pair_entropy: float

    def floor(self, length: int) -> float:
        """The lowest expected loss of a model that reads sequences of that length."""
        return (self.pair_entropy + (length - 1) * self.entropy_rate) / length


@functools.cache
def markov_source(seed: int, vocabulary: int, concentration: float) -> MarkovSource:
    """A source whose conditional distributions are drawn from a symmetric Dirichlet.

    Args:
        seed: of the draw.
        vocabulary: number of tokens.
        concentration: of the Dirichlet, in (0, inf): near 0 the next token is almost certain.

    Examples:
        >>> source = markov_source(0, 4, 0.3)
        >>> 0 < source.entropy_rate < source.pair_entropy < 1.3863  # log(4)
        True
    """
    v = vocabulary
    p = np.random.default_rng(seed).dirichlet(np.full(v, concentration), (v, v))
    chain = np.zeros((v, v, v, v))  # from (a, b) to (b, c)
    a, b, c = np.indices((v, v, v))
    chain[a, b, b, c] = p
    equations = np.vstack([chain.reshape(v * v, v * v).T - np.eye(v * v), np.ones(v * v)])
    q = np.linalg.lstsq(equations, np.append(np.zeros(v * v), 1.0))[0].reshape(v, v)
    q = np.maximum(q, 0.0)  # of what rounding left
    single = (q[:, :, None] * p).sum(0) / np.maximum(q.sum(0), np.finfo(float).tiny)[:, None]
    return MarkovSource(
        transitions=p,
        stationary=q,
        entropy_rate=float((q * _entropy(p)).sum()),
        pair_entropy=float((q.sum(0) * _entropy(single)).sum()),
    )


def draw_text(
    source: MarkovSource, seed: int, sequences: int, length: int
) -> Int32[np.ndarray, "sequences length"]:
    """Stationary sequences, independent of each other."""
    rng, v = np.random.default_rng(seed), len(source.stationary)
    pairs = rng.choice(v * v, sequences, p=source.stationary.ravel() / source.stationary.sum())
    text = [pairs // v, pairs % v]
    ladders = source.transitions.cumsum(-1)
    for _ in range(length - 2):
        above = rng.random(sequences)[:, None] > ladders[text[-2], text[-1], :-1]
        text.append(above.sum(-1))
    return np.stack(text[:length], 1).astype(np.int32)


def text_parts(seed: int, concentration: float, model: nn.Module) -> Parts:
    """The next token at each place of sequences of 8."""
    text = draw_text(_source(seed, concentration), seed + 100, SEQUENCES, LENGTH + 1)
    inputs, targets = text[:, :-1], text[:, 1:]
    return parts(linen_task(model, inputs[:1], problem("multiclass")), (inputs, targets), TRAIN)


def _source(seed: int, concentration: float) -> MarkovSource:
    return markov_source(seed, VOCABULARY, concentration)


def _entropy(p: np.ndarray) -> np.ndarray:
    """Of the distributions on the last axis, in nats."""
    return -(p * np.log(np.maximum(p, np.finfo(float).tiny))).sum(-1)


def _on_text(name: str, summary: str, steps: int, base: nn.Module, held_out: nn.Module) -> Workload:
    sources = {"base": (0, 0.3), "held_out": (1, 0.5)}
    models = {"base": base, "held_out": held_out}
    return Workload(
        name=name,
        summary=summary,
        variants={
            variant: functools.partial(text_parts, *source, models[variant])
            for variant, source in sources.items()
        },
        steps=steps,
        batch_size=32,
        evaluate_every=10,
        targets=frozen_targets(name),
        floors={variant: _source(*source).floor(LENGTH) for variant, source in sources.items()},
    )


GRU_TEXT = _on_text(
    "gru",
    "A gated recurrent unit on text of a Markov source of order two.",
    160,
    GRU(VOCABULARY, 16),
    GRU(VOCABULARY, 24),
)
TRANSFORMER_TEXT = _on_text(
    "transformer",
    "One block of attention on text of a Markov source of order two.",
    200,
    Transformer(VOCABULARY, LENGTH, width=16, heads=2, blocks=1),
    Transformer(VOCABULARY, LENGTH, width=16, heads=4, blocks=1),
)
