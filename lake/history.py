"""What lies in the lake beside the newest version of a Delta table, and letting go of it.

Invariant: the newest version of a table that is kept can be read before, during and after; its transaction ids stay.
"""

from __future__ import annotations

from functools import partial

from deltalake import DeltaTable
from pyarrow import fs

from lake.settings import Settings
from lake.tables import filesystem

_LOG = "_delta_log"
_REMOVED_FOR = "delta.deletedFileRetentionDuration"
_COMMITS_PER_CHECKPOINT = 20


def objects_below(settings: Settings, uri: str) -> list[fs.FileInfo]:
    """Every object below an address."""
    selector = fs.FileSelector(uri.removeprefix("s3://"), recursive=True, allow_not_found=True)
    return [info for info in filesystem(settings).get_file_info(selector) if info.type == fs.FileType.File]


def in_log(info: fs.FileInfo) -> bool:
    """Whether an object is of a table's log."""
    return f"/{_LOG}/" in info.path


def tables_below(settings: Settings, *parts: str) -> set[str]:
    """The address of every Delta table below a folder."""
    infos = objects_below(settings, settings.table_uri(*parts))
    return {f"s3://{info.path.partition(f'/{_LOG}/')[0]}" for info in infos if in_log(info)}


def remove_table(settings: Settings, uri: str) -> None:
    """Remove a table. Killed in the middle, it is a table still, of which files lack: run again, it goes."""
    files = filesystem(settings)
    for info in sorted(objects_below(settings, uri), key=lambda info: (in_log(info), info.path)):
        files.delete_file(info.path)


def forget_history(settings: Settings, uri: str) -> None:
    """Leave of a mart only its newest version: neither data files nor log entries of those before.

    The newest version becomes a checkpoint, and what came before is removed. Whoever still reads an older version gets
    an error and looks again; a build that is to be committed on one fails, and is run again.
    """
    table = DeltaTable(uri, storage_options=settings.storage_options())
    # Not `full`: a file that the log does not know may be one that a build is about to commit.
    table.vacuum(0, dry_run=False, enforce_retention_duration=False)
    table.update_incremental()
    # A checkpoint names the files that were removed, and their statistics, for as long as this says.
    table.alter.set_table_properties({_REMOVED_FOR: "interval 0 seconds"})
    try:
        table.create_checkpoint()
        _remove_entries(settings, uri, table.version())
    finally:
        table.alter.set_table_properties({_REMOVED_FOR: "interval 1 week"})  # as Delta has it


def _remove_entries(settings: Settings, uri: str, version: int) -> None:
    """Remove what the log has from before a version, which is a checkpoint."""
    files = filesystem(settings)
    for info in files.get_file_info(fs.FileSelector(f"{uri}/{_LOG}".removeprefix("s3://"))):
        number = info.base_name[:20]
        if number.isdigit() and int(number) < version:
            files.delete_file(info.path)


def vacuum(settings: Settings, uri: str) -> int:
    """Remove files that no version younger than TIDEMARK_VACUUM_HOURS needs; how many that were.

    A file that the log does not know goes, too, once it is as old: its writer was killed, or paused for too long.
    """
    table = DeltaTable(uri, storage_options=settings.storage_options())
    run = partial(table.vacuum, settings.vacuum_hours, enforce_retention_duration=False, full=True)
    # Every vacuum is two commits, so one that has nothing to do is not begun.
    return len(run(dry_run=False)) if run(dry_run=True) else 0


def checkpoint(settings: Settings, uri: str) -> bool:
    """Make the newest version a checkpoint if many commits came since the last one, for a long log opens slowly.

    Log entries that a checkpoint covers go after the table's own retention of its log.
    """
    table = DeltaTable(uri, storage_options=settings.storage_options())
    log = fs.FileSelector(f"{uri}/{_LOG}".removeprefix("s3://"))
    names = [info.base_name for info in filesystem(settings).get_file_info(log)]
    last = max((int(name[:20]) for name in names if ".checkpoint." in name), default=-1)
    if table.version() - last < _COMMITS_PER_CHECKPOINT:
        return False
    table.create_checkpoint()
    table.cleanup_metadata()
    return True
