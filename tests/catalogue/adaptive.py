"""Adam's relatives."""

MEMBERS = {}

PAIRS = {}
