"""Optimizers that look at the norms of parameters and updates, or at the loss."""

MEMBERS = {}

PAIRS = {}
