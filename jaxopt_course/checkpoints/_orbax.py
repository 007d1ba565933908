"""How the store uses Orbax, which writes arrays and manifest as one atomic checkpoint."""

import contextlib
import logging
import pathlib
import sys
import time
from collections.abc import Iterator, Mapping
from typing import Any

from ._directory import MANIFEST
from ._leaves import restore_args
from ._manifest import LeafRecord


ARRAYS = "arrays"
LATE = 0.1  # seconds to wait for reads that are still running; small states take milliseconds


class OrbaxFiles:
    """An Orbax manager: synchronous, deleting nothing, and replaced after a failure."""

    def __init__(self, directory: pathlib.Path) -> None:
        self.directory = directory
        self._manager: Any = None

    def write(self, step: int, arrays: dict[str, Any], manifest: dict[str, Any]) -> None:
        """Save a step that does not exist yet; exceptions of Orbax are passed on."""
        from orbax.checkpoint import args

        items: dict[str, Any] = {MANIFEST: args.JsonSave(manifest)}
        if arrays:  # Orbax refuses an empty tree
            items[ARRAYS] = args.PyTreeSave(arrays)
        try:
            with _quietly():
                manager = self._open()
                manager.reload()
                if not manager.save(step, args=args.Composite(**items), force=True):
                    raise RuntimeError("Orbax declined")
        except BaseException:
            self.close()  # the manager would take the failed save for one that is still running
            raise

    def read(
        self, step: int, records: Mapping[str, LeafRecord], wanted: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        """The arrays of a step, unverified; exceptions of Orbax are passed on.

        ``records`` are the manifest's records of the arrays, under their names. ``wanted`` are the
        leaves that determine their placement, under their paths.
        """
        from orbax.checkpoint import args

        how = {name: restore_args(wanted.get(record.path)) for name, record in records.items()}
        items = {ARRAYS: args.PyTreeRestore(dict.fromkeys(how, 0), restore_args=how)}
        with _quietly():
            return self._open().restore(step, args=args.Composite(**items))[ARRAYS]

    def close(self) -> None:
        """Close the manager; the next call makes another one."""
        manager, self._manager = self._manager, None
        if manager is not None:
            with contextlib.suppress(Exception):  # a failed save was reported when it failed
                manager.close()

    def _open(self) -> Any:
        if self._manager is None:
            from orbax.checkpoint import CheckpointManager, CheckpointManagerOptions

            options = CheckpointManagerOptions(
                create=False, enable_async_checkpointing=False, lightweight_initialize=True
            )
            self._manager = CheckpointManager(self.directory, options=options)
        return self._manager


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Keep exceptions from being printed in addition to being raised.

    Orbax logs what it raises, with the traceback. If reading one array fails, the reads that are
    still running print errors from their own threads.
    """
    logger, is_other = logging.getLogger("absl"), lambda record: record.exc_info is None
    _hooks.append(sys.unraisablehook)
    logger.addFilter(is_other)
    sys.unraisablehook = _not_late
    try:
        yield
    except BaseException:
        time.sleep(LATE)
        raise
    finally:
        sys.unraisablehook = _hooks.pop()
        logger.removeFilter(is_other)


_hooks: list[Any] = []  # the hooks that `_not_late` replaces


def _not_late(args: Any) -> None:
    """A hook for such late errors.

    It is a module-level function because the process dies if a thread calls a hook that no longer
    exists, and threads may outlive :func:`_quietly`.
    """
    error = args.exc_value
    if not isinstance(error, RuntimeError) or str(error) != "Event loop is closed":
        (_hooks or [sys.__unraisablehook__])[-1](args)
