"""Small networks as Flax, torch and Keras have them, and images for them."""

from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxopt_course.nn import CNN


BATCH, BATCHES, CLASSES = 32, 8, 10
HIDDEN, CHANNELS, DENSE = (64, 64), (8, 16), (32,)  # of the MLP and the CNN of digits


class MaxPooling(nn.Module):
    """Convolutions with max pooling in between."""

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        for features in (16, 32):
            x = nn.max_pool(nn.relu(nn.Conv(features, (3, 3))(x)), (2, 2), (2, 2))
        return nn.Dense(CLASSES)(x.reshape(len(x), -1))


class Residual(nn.Module):
    """Residual blocks with group normalization, about 1e5 parameters by default."""

    features: Sequence[int] = (36, 72)

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        x = nn.Conv(self.features[0], (3, 3))(x)
        for number, features in enumerate(self.features):
            strides = (1, 1) if number == 0 else (2, 2)
            y = nn.Conv(features, (3, 3), strides)(nn.relu(nn.GroupNorm(4)(x)))
            y = nn.Conv(features, (3, 3))(nn.relu(nn.GroupNorm(4)(y)))
            x = y + nn.Conv(features, (1, 1), strides)(x)
        return nn.Dense(CLASSES)(nn.relu(x).mean((1, 2)))


class Depthwise(nn.Module):
    """Depthwise convolutions, each followed by one over the channels."""

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        x = nn.Conv(32, (3, 3), (2, 2))(x)
        for features, stride in ((32, 1), (64, 2), (64, 1)):
            strides = (stride, stride)
            x = nn.Conv(x.shape[-1], (3, 3), strides, feature_group_count=x.shape[-1])(x)
            x = nn.relu(nn.Conv(features, (1, 1))(nn.relu(x)))
        return nn.Dense(CLASSES)(x.mean((1, 2)))


def images(size: int, channels: int, number: int = BATCH * BATCHES) -> tuple[jax.Array, jax.Array]:
    """Random images and classes."""
    keys = jax.random.split(jax.random.key(1))
    shape = (number, size, size, channels)
    return (
        jax.random.normal(keys[0], shape, jnp.float32),
        jax.random.randint(keys[1], shape[:1], 0, CLASSES),
    )


NETWORKS: dict[str, Callable[[], tuple[nn.Module, Any]]] = {
    "CNN of the library": lambda: (CNN(CLASSES, (16, 32), (32,)), images(16, 1)),
    "max pooling network": lambda: (MaxPooling(), images(16, 3)),
    "residual network": lambda: (Residual(), images(16, 3)),
    "depthwise network": lambda: (Depthwise(), images(32, 3)),
}


def torch_network(kind: str) -> Any:
    """The MLP, the CNN or the residual network as a module of torch, of channels first."""
    import torch
    from torch import nn

    class Block(nn.Module):
        def __init__(self, before: int, after: int, stride: int) -> None:
            super().__init__()
            self.body = nn.Sequential(
                *(nn.GroupNorm(4, before), nn.ReLU()),
                nn.Conv2d(before, after, 3, stride, padding=1),
                *(nn.GroupNorm(4, after), nn.ReLU()),
                nn.Conv2d(after, after, 3, padding=1),
            )
            self.short = nn.Conv2d(before, after, 1, stride)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.body(x) + self.short(x)

    if kind == "MLP":
        a, b = HIDDEN
        layers = [nn.Linear(64, a), nn.ReLU(), nn.Linear(a, b), nn.ReLU(), nn.Linear(b, CLASSES)]
    elif kind == "CNN":
        (a, b), (c,) = CHANNELS, DENSE
        layers = [nn.Conv2d(1, a, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
        layers += [nn.Conv2d(a, b, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
        layers += [nn.Flatten(), nn.Linear(4 * b, c), nn.ReLU(), nn.Linear(c, CLASSES)]
    else:
        a, b = Residual.features
        layers = [nn.Conv2d(3, a, 3, padding=1), Block(a, a, 1), Block(a, b, 2), nn.ReLU()]
        layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(b, CLASSES)]
    return nn.Sequential(*layers)


def keras_network(kind: str) -> Any:
    """The same as a model of Keras, of channels last."""
    import keras
    from keras import layers

    def conv(width: int, size: int = 3, stride: int = 1) -> Any:
        return layers.Conv2D(width, size, stride, padding="same")

    def normalized(x: Any) -> Any:
        return layers.ReLU()(layers.GroupNormalization(4)(x))

    if kind == "MLP":
        x = inputs = layers.Input((64,))
        for width in HIDDEN:
            x = layers.Dense(width, activation="relu")(x)
    elif kind == "CNN":
        x = inputs = layers.Input((8, 8, 1))
        for width in CHANNELS:
            x = layers.MaxPooling2D(2)(layers.ReLU()(conv(width)(x)))
        x = layers.Dense(DENSE[0], activation="relu")(layers.Flatten()(x))
    else:
        inputs = layers.Input((16, 16, 3))
        x = conv(Residual.features[0])(inputs)
        for number, width in enumerate(Residual.features):
            y = conv(width, stride=number + 1)(normalized(x))
            x = conv(width)(normalized(y)) + conv(width, 1, number + 1)(x)
        x = layers.GlobalAveragePooling2D()(layers.ReLU()(x))
    return keras.Model(inputs, layers.Dense(CLASSES)(x))
