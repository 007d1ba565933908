"""Records what the PyPI package ``mup`` computes, for ``mup.json`` beside this.

It needs ``pip install torch mup``, which the tests do not:
``python tests/transfer/record_mup.py > tests/transfer/mup.json``.
"""

import importlib.metadata
import json
import sys

import numpy as np


WIDTHS, BASE = (12, 8), (4, 4)  # of the hidden layers of the target and of the base model
INPUTS, OUTPUTS, ROWS, STEPS = 5, 3, 16, 20
RATE, DECAY = 0.05, 0.1


def data():
    rng = np.random.default_rng(3)
    return rng.normal(size=(ROWS, INPUTS)), rng.normal(size=(ROWS, OUTPUTS))


def main():
    import mup
    import torch
    from torch import nn

    torch.set_default_dtype(torch.float64)

    def network(first, second):
        readout = mup.MuReadout(second, OUTPUTS)
        layers = nn.Linear(INPUTS, first), nn.Tanh(), nn.Linear(first, second), nn.Tanh(), readout
        return nn.Sequential(*layers)

    def target():
        torch.manual_seed(0)
        model = network(*WIDTHS)
        return mup.set_base_shapes(model, network(*BASE), delta=network(9, 9))

    def weights(model):
        """In the layout of JAX, with the multiplier of the output layer in its kernel."""
        found = {}
        for i, layer in zip((0, 2, 4), (model[0], model[2], model[4]), strict=True):
            m = WIDTHS[1] / BASE[1] if i == 4 else 1
            kernel, bias = layer.weight.detach().numpy().T / m, layer.bias.detach().numpy()
            found[f"layer_{i // 2}"] = {"kernel": kernel.tolist(), "bias": bias.tolist()}
        return found

    def losses(optimizer, model):
        inputs, targets = map(torch.tensor, data())
        found = []
        for _ in range(STEPS):
            optimizer.zero_grad()
            loss = ((model(inputs) - targets) ** 2).mean()
            loss.backward()
            optimizer.step()
            found.append(loss.item())
        return found

    def drawn(module, name, leaf, **options):
        torch.manual_seed(1)
        getattr(module, name)(leaf, **options)
        return leaf.detach().numpy().copy()

    model = target()
    content = {"version": importlib.metadata.version("mup"), "start": weights(model)}
    content["adamw"] = losses(
        mup.MuAdamW(model.parameters(), lr=RATE, weight_decay=DECAY, eps=0.0), model
    )
    model = target()
    content["sgd"] = losses(
        mup.MuSGD(model.parameters(), lr=RATE, momentum=0.9, weight_decay=DECAY), model
    )
    initializers = {
        "constant": ("normal_", {"std": 0.3}),
        "fan_in": ("kaiming_normal_", {"mode": "fan_in"}),
        "fan_out": ("kaiming_normal_", {"mode": "fan_out"}),
        "fan_avg": ("xavier_normal_", {}),
    }
    content["initial_scale"] = {}
    for mode, (name, options) in initializers.items():
        ratios = []
        for layer in (model[0], model[2], model[4]):
            own = drawn(mup.init, name, layer.weight, **options)
            ratio = own / drawn(nn.init, name, layer.weight, **options)
            assert np.ptp(ratio) < 1e-12
            multiplier = WIDTHS[1] / BASE[1] if layer is model[4] else 1
            ratios.append(float(ratio.mean()) / multiplier)
        content["initial_scale"][mode] = ratios
    json.dump(content, sys.stdout)


if __name__ == "__main__":
    main()
