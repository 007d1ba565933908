"""Newton's method and its approximations."""

MEMBERS = {}

PAIRS = {}
