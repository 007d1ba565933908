"""The cases of optax's tests that fail here, each with the reason why this library is right."""

DIFFERENCES: dict[str, str] = {}
