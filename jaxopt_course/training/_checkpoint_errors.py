"""What can be wrong with checkpoints. Every message is one sentence that names the place."""


class CheckpointError(RuntimeError):
    """A checkpoint cannot be written or read."""


class CheckpointCorruptError(CheckpointError):
    """What lies on disk is not what was saved: damaged, truncated, or missing in part."""


class CheckpointMismatchError(CheckpointError, ValueError):
    """The checkpoint is sound, but of another state, program or data than is wanted."""


class CheckpointLockedError(CheckpointError):
    """Another store has the directory."""


class CheckpointWarning(UserWarning):
    """A checkpoint is not quite what was asked for: an older one, or of other numbers."""


def briefly(error: BaseException) -> str:
    """What ``error`` is and says, on one line; of much, the beginning and the end."""
    text = " ".join(str(error).split()).rstrip(".")
    text = text if len(text) <= 300 else f"{text[:100]} ... {text[-195:]}"
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
