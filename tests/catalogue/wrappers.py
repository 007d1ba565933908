"""Wrappers, and links beyond the everyday ones."""

MEMBERS = {}

PAIRS = {}
