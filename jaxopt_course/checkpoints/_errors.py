"""The errors of checkpoints. Every message is one sentence that names the checkpoint."""


class CheckpointError(RuntimeError):
    """A checkpoint cannot be written or read."""


class CheckpointCorruptError(CheckpointError):
    """A checkpoint on disk is not what was saved: damaged, truncated or incomplete."""


class CheckpointMismatchError(CheckpointError, ValueError):
    """The checkpoint is intact, but belongs to another state, program or data set."""


class CheckpointLockedError(CheckpointError):
    """Another store uses the directory."""


class CheckpointWarning(UserWarning):
    """A checkpoint was used that differs from the request: it is older, or has other numbers."""


def briefly(error: BaseException) -> str:
    """Type and message of ``error`` on one line; a long message is shortened in the middle."""
    text = " ".join(str(error).split()).rstrip(".")
    text = text if len(text) <= 300 else f"{text[:100]} ... {text[-195:]}"
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
