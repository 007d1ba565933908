"""Text from a Markov source of order two, whose entropy bounds the loss of every model.

With p(c | a, b) the probability of a token after two others, the pairs are a Markov chain, and

    q(a, b)       its stationary distribution:  q(b, c) = sum_a q(a, b) p(c | a, b)
    H(C | A, B)   sum over a, b of q(a, b) H(p(. | a, b))        the entropy rate
    H(C | B)      the same of p(c | b) = sum_a q(a, b) p(c | a, b) / q(b), with q(b) = sum_a q(a, b)

A model that reads tokens 1, ..., T of a stationary sequence and predicts each next one has an
expected loss of at least (H(C | B) + (T - 1) H(C | A, B)) / T, as it does not see what precedes its
first token.
"""

import functools
from typing import NamedTuple

import flax.linen as nn
import numpy as np
from jaxtyping import Float64, Int32

from jaxopt_course.nn import GRU, Transformer
from jaxopt_course.problems import problem
from jaxopt_course.tasks import linen_task

from ._workload import Parts, make_workload, parts


VOCABULARY, LENGTH, SEQUENCES, TRAIN = 4, 8, 640, 512


class MarkovSource(NamedTuple):
    """A random source of tokens.

    transitions: p(c | a, b).
    stationary: q(a, b).
    entropy_rate: H(C | A, B) in nats, the entropy of the next token given all earlier ones.
    pair_entropy: H(C | B) in nats, its entropy given one earlier token.
    """

    transitions: Float64[np.ndarray, "v v v"]
    stationary: Float64[np.ndarray, "v v"]
    entropy_rate: float
    pair_entropy: float

    def floor(self, length: int) -> float:
        """The lowest expected loss of any model on sequences of ``length`` tokens."""
        return (self.pair_entropy + (length - 1) * self.entropy_rate) / length


@functools.cache
def markov_source(seed: int, vocabulary: int, concentration: float) -> MarkovSource:
    """A source whose conditional distributions are drawn from a symmetric Dirichlet distribution.

    Args:
        seed: seed of the draw.
        vocabulary: number of different tokens.
        concentration: parameter of the Dirichlet distribution, in (0, inf). Near 0 the next token
            is almost certain.

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
    q = np.maximum(q, 0.0)  # rounding may leave small negative numbers
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
    """Draw independent stationary sequences."""
    rng, v = np.random.default_rng(seed), len(source.stationary)
    pairs = rng.choice(v * v, sequences, p=source.stationary.ravel() / source.stationary.sum())
    text = [pairs // v, pairs % v]
    ladders = source.transitions.cumsum(-1)
    for _ in range(length - 2):
        above = rng.random(sequences)[:, None] > ladders[text[-2], text[-1], :-1]
        text.append(above.sum(-1))
    return np.stack(text[:length], 1).astype(np.int32)


def text_parts(variant: int, model: nn.Module) -> Parts:
    """Predict the next token at each position of sequences of 8 tokens."""
    text = draw_text(_source(variant), variant + 100, SEQUENCES, LENGTH + 1)
    inputs, targets = text[:, :-1], text[:, 1:]
    return parts(linen_task(model, inputs[:1], problem("multiclass")), (inputs, targets), TRAIN)


def _source(variant: int) -> MarkovSource:
    return markov_source(variant, VOCABULARY, (0.3, 0.5)[variant])


def _entropy(p: np.ndarray) -> np.ndarray:
    """The entropies of the distributions on the last axis, in nats."""
    return -(p * np.log(np.maximum(p, np.finfo(float).tiny))).sum(-1)


FLOORS = (_source(0).floor(LENGTH), _source(1).floor(LENGTH))
TEXTS = (
    make_workload(
        "gru",
        "A gated recurrent unit on text of a Markov source of order two.",
        lambda: text_parts(0, GRU(VOCABULARY, 16)),
        lambda: text_parts(1, GRU(VOCABULARY, 24)),
        steps=160,
        floors=FLOORS,
    ),
    make_workload(
        "transformer",
        "A transformer of one block on text of a Markov source of order two.",
        lambda: text_parts(0, Transformer(VOCABULARY, LENGTH, width=16, heads=2, blocks=1)),
        lambda: text_parts(1, Transformer(VOCABULARY, LENGTH, width=16, heads=4, blocks=1)),
        steps=200,
        floors=FLOORS,
    ),
)
