"""Optimizers that treat a weight as a matrix, and estimates of curvature."""

MEMBERS = {}

PAIRS = {}
