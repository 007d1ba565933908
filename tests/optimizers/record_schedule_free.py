"""Records what the PyPI package ``schedulefree`` computes, for ``schedule_free.json`` beside this.

It needs ``pip install torch schedulefree``, which the tests do not:
``python tests/optimizers/record_schedule_free.py > tests/optimizers/schedule_free.json``.
"""

import importlib.metadata
import json
import sys


STEPS = 12
MATRIX, TARGETS, START = [[1.0, 0.5], [0.0, 2.0], [1.5, -1.0]], [1.0, -2.0, 0.5], [1.0, -1.0]
RATE, B1, B2, DECAY, WARMUP = 0.1, 0.9, 0.99, 0.1, 4


def main():
    import schedulefree
    import torch

    torch.set_default_dtype(torch.float64)
    matrix, targets = torch.tensor(MATRIX), torch.tensor(TARGETS)

    def points_of(make):
        """The parameters in training mode and in evaluation mode after each step."""
        w = torch.nn.Parameter(torch.tensor(START))
        optimizer = make([w])
        points = {"trained": [], "evaluated": []}
        for _ in range(STEPS):
            optimizer.train()
            optimizer.zero_grad()
            (((matrix @ w - targets) ** 2).sum() / 2).backward()
            optimizer.step()
            points["trained"].append(w.detach().tolist())
            optimizer.eval()
            points["evaluated"].append(w.detach().tolist())
        return points

    sgd, adamw = schedulefree.SGDScheduleFree, schedulefree.AdamWScheduleFree
    betas = (B1, B2)
    recorded = {
        "package": f"schedulefree {importlib.metadata.version('schedulefree')}",
        "torch": torch.__version__,
        "sgd": points_of(lambda p: sgd(p, lr=RATE, momentum=B1)),
        "sgd_warmup": points_of(lambda p: sgd(p, lr=RATE, momentum=B1, warmup_steps=WARMUP)),
        "adamw": points_of(lambda p: adamw(p, lr=RATE, betas=betas)),
        "adamw_decay": points_of(lambda p: adamw(p, lr=RATE, betas=betas, weight_decay=DECAY)),
    }
    json.dump(recorded, sys.stdout)


if __name__ == "__main__":
    main()
