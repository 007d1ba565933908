"""Floor 8: figures of what the other packages return. No pyplot, no state."""

from ._learning_curves import learning_curves


__all__ = ["learning_curves"]
