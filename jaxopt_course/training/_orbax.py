"""What Orbax does for the store: a checkpoint appears as a whole, with its arrays and manifest."""

import contextlib
import logging
import pathlib
import sys
import time
from collections.abc import Iterator, Mapping
from typing import Any

from ._checkpoint_files import MANIFEST
from ._leaves import restore_args
from ._manifest import LeafRecord


ARRAYS = "arrays"
LATE = 0.1  # seconds; reading what is left of a small state takes milliseconds


class OrbaxFiles:
    """An Orbax manager that writes synchronously, deletes nothing, and is replaced if it fails."""

    def __init__(self, directory: pathlib.Path) -> None:
        self.directory = directory
        self._manager: Any = None

    def write(self, step: int, arrays: dict[str, Any], manifest: dict[str, Any]) -> None:
        """Save a step which does not exist; any exception of Orbax passes."""
        from orbax.checkpoint import args

        items: dict[str, Any] = {MANIFEST: args.JsonSave(manifest)}
        if arrays:  # an empty tree it refuses
            items[ARRAYS] = args.PyTreeSave(arrays)
        try:
            with _said_once():
                manager = self._open()
                manager.reload()
                if not manager.save(step, args=args.Composite(**items), force=True):
                    raise RuntimeError("Orbax declined")
        except BaseException:
            self.close()  # it would take the save that failed for one that still goes on
            raise

    def read(
        self, step: int, records: Mapping[str, LeafRecord], wanted: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        """The arrays of a step; any exception of Orbax passes, and nothing is checked.

        Args:
            step: which one.
            records: what the manifest says of the arrays, under their names.
            wanted: what leaves are to be like, under their paths.
        """
        from orbax.checkpoint import args

        how = {name: restore_args(wanted.get(record.path)) for name, record in records.items()}
        items = {ARRAYS: args.PyTreeRestore(dict.fromkeys(how, 0), restore_args=how)}
        with _said_once():
            return self._open().restore(step, args=args.Composite(**items))[ARRAYS]

    def close(self) -> None:
        """Let the manager go; the next call makes another one."""
        manager, self._manager = self._manager, None
        if manager is not None:
            with contextlib.suppress(Exception):  # what failed was told when it failed
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
def _said_once() -> Iterator[None]:
    """An exception is raised, and not printed besides.

    Orbax logs what it raises, with its traceback; and arrays that were still being read when the
    first one failed complain, from threads of their own, that nobody waits for them.
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


_hooks: list[Any] = []  # in whose place `_not_late` is


def _not_late(args: Any) -> None:
    """It outlives :func:`_said_once`: if a thread calls a hook that is let go, the process dies."""
    error = args.exc_value
    if not isinstance(error, RuntimeError) or str(error) != "Event loop is closed":
        (_hooks or [sys.__unraisablehook__])[-1](args)
