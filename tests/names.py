"""The public names of a package: those that its ``__init__`` lists, or its ``__all__``."""

import inspect


def public_names(package):
    """In alphabetical order."""
    if hasattr(package, "__all__"):
        return sorted(package.__all__)
    hidden = lambda name, thing: name.startswith("_") or inspect.ismodule(thing)
    return sorted(name for name, thing in vars(package).items() if not hidden(name, thing))
