"""The run store: a folder with one JSON file per image run, written whole or not at all, and a lock for each run.

A file is named by its configuration's identity. Beside the records the folder has ``.work``, with the locks and
checkpoints of the runs under way; it can be deleted when nothing is running. Locks are those of ``fcntl.flock``: they
end with the process that holds them, however it ends. On a cluster the store has to be on a file system that all
nodes see and that carries these locks between them (NFS 4 does).
"""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from clop_nb.config import RunConfig
from clop_nb.records import RunRecord

__all__ = [
    "checkpoint_path",
    "discard_checkpoint",
    "interrupted",
    "lock",
    "locked",
    "path",
    "read",
    "read_all",
    "whole_file",
    "write",
]


def path(store: str | os.PathLike[str], config: RunConfig) -> Path:
    """Where a configuration's record lies or would lie."""
    return Path(store) / f"{config.id}.json"


def checkpoint_path(store: str | os.PathLike[str], config: RunConfig) -> Path:
    """Where a run keeps its checkpoint while it is under way."""
    return _work(store) / f"{config.id}.checkpoint"


def write(store: str | os.PathLike[str], record: RunRecord) -> Path:
    """Write a record whole or not at all, over an older one of the same configuration.

    Raises:
        OSError: if it cannot be written (a full disk, a folder without write permission); an older record stays.
    """
    target = path(store, record.config)
    with whole_file(target, _work(store)) as file:
        file.write((record.to_json() + "\n").encode())
    return target


@contextmanager
def whole_file(target: Path, scratch: Path | None = None) -> Iterator[IO[bytes]]:
    """A file to write to that comes into being as a whole when the block ends, or not at all.

    It is written under a temporary name in ``scratch`` (by default the target's folder; the same file system), flushed
    to the disk, and moved into place. Without an error an older file stays until then, with one for good.

    Raises:
        OSError: if that is not possible; the message names the target, and nothing partial is left.
    """
    folder = target.parent if scratch is None else scratch
    temporary = None
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=f"{target.name}.", suffix=".part", delete=False) as file:
            temporary = file.name
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)  # temporary files are private
        os.replace(temporary, target)
    except OSError as error:
        raise OSError(error.errno, f"could not write {target}: {error.strerror}; nothing of it was kept") from error
    finally:
        if temporary is not None and os.path.exists(temporary):
            os.unlink(temporary)


def discard_checkpoint(store: str | os.PathLike[str], config: RunConfig) -> None:
    """Remove a run's checkpoint, and what a killed process left of one half written."""
    for file in _work(store).glob(f"{config.id}.checkpoint*"):
        file.unlink(missing_ok=True)


def read(store: str | os.PathLike[str], config: RunConfig) -> RunRecord | None:
    """The record of a configuration, or ``None``.

    Raises:
        ValueError: if the file is not a valid record; the message names it.
    """
    file = path(store, config)
    return _read(file) if file.exists() else None


def read_all(store: str | os.PathLike[str]) -> list[RunRecord]:
    """Every record of the store, by file name.

    Raises:
        ValueError: if a file is not a valid record; the message names it.
    """
    return [_read(file) for file in sorted(Path(store).glob("[0-9a-f]" * 16 + ".json"))]


def _read(file: Path) -> RunRecord:
    try:
        record = RunRecord.from_json(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{file} is not a valid run record (restore or delete it): {error}") from None
    if file.stem != record.config.id:
        raise ValueError(f"{file} holds the record {record.config.id}: expected the file to bear that name")
    return record


@contextmanager
def lock(store: str | os.PathLike[str], config: RunConfig) -> Iterator[bool]:
    """Try to take the lock of a configuration; yields at once whether that worked.

    The lock file of a run that ended in order is removed; one that is left and not locked tells of a process that was
    killed in mid-run.
    """
    file = _work(store) / f"{config.id}.lock"
    descriptor = _acquire(file)
    try:
        yield descriptor is not None
    finally:
        if descriptor is not None:
            file.unlink(missing_ok=True)
            os.close(descriptor)


def _acquire(file: Path) -> int | None:
    while True:
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Its last holder may have removed the file between our opening and locking it: then it guards nothing.
            if os.path.samestat(os.fstat(descriptor), os.stat(file)):
                return descriptor
            os.close(descriptor)
        except BlockingIOError:
            os.close(descriptor)
            return None
        except FileNotFoundError:
            os.close(descriptor)


def interrupted(store: str | os.PathLike[str], config: RunConfig) -> bool:
    """Whether a lock file is there, of a run under way or of one whose process was killed."""
    return (Path(store) / ".work" / f"{config.id}.lock").exists()


def locked(store: str | os.PathLike[str], config: RunConfig) -> bool:
    """Whether some process is at work on a configuration now."""
    try:
        descriptor = os.open(Path(store) / ".work" / f"{config.id}.lock", os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _work(store: str | os.PathLike[str]) -> Path:
    folder = Path(store) / ".work"
    folder.mkdir(parents=True, exist_ok=True)
    ignore = folder / ".gitignore"
    if not ignore.exists():
        ignore.write_text("*\n", encoding="utf-8")
    return folder
