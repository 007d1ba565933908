"""States of fewer bits."""

import jaxopt_course as jc
from tests.oracles.rows import Row, of_torch


BLOCK = 16
BETAS = (0.875, 0.984375)  # of which torchao computes 1 - beta in float32, here without rounding


def torchao_adamw(leaves):
    from torchao.optim import AdamW4bit

    class OfSmallLeaves(AdamW4bit):
        """Leaves of fewer than 4,096 entries are quantized, too."""

        def _new_buffer(self, p, signed):
            return self._subclass_zeros(p, signed, self.block_size)

    return OfSmallLeaves(leaves, lr=0.5, betas=BETAS, weight_decay=0.1, block_size=BLOCK)


def ours():
    inner = jc.adamw(0.5, *BETAS, weight_decay=0.1)
    return jc.quantized_state(inner, bits=4, block=BLOCK, min_size=2, chunk=None)


ROWS = {
    "quantized_state": Row(
        "torchao",
        ours,
        of_torch(torchao_adamw, "float32"),
        bound=3e-7,
        note="4 bits, with AdamW; torchao as well scales both moments by blocks",
        shapes={"square": (8, 8), "tall": (16, 4), "wide": (4, 24)},
        dtype="float32",
    ),
}
