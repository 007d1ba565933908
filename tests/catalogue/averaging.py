"""Optimizers that average iterates, or find their own learning rate."""

MEMBERS = {}

PAIRS = {}
