"""Archives as their publishers distribute them: found or downloaded, and never used before the checksum is right."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from clop_nb.progress import progress

__all__ = ["Archive", "DataError", "fetch", "locked"]

TIMEOUT = 30.0  # seconds without a byte before a connection is given up
CHUNK = 2**18  # bytes


class DataError(RuntimeError):
    """A data file that is corrupt, incomplete or cannot be fetched. The message says which, where, and what to do."""


@dataclass(frozen=True)
class Archive:
    """A file that somebody publishes.

    Attributes:
        name: Its file name.
        url: Where it can be downloaded.
        md5: The checksums that are accepted, the publisher's first.
    """

    name: str
    url: str
    md5: tuple[str, ...]


def fetch(archive: Archive, folders: Sequence[Path], download: bool = False) -> Path:
    """The path of an archive whose checksum is right.

    A download goes to ``NAME.part`` in the first folder and gets its name once its checksum is right. If it is
    interrupted, the next one goes on where that one stopped, or from the start where the server cannot do so.

    Args:
        archive: What to look for.
        folders: Where to look, in this order; what is downloaded goes into the first.
        download: Whether to download it if it is missing or corrupt.

    Returns:
        The path of the whole file.

    Raises:
        FileNotFoundError: If it is in none of the folders and ``download`` is false.
        DataError: If the file found is corrupt and ``download`` is false, or if the download fails.
    """
    for path in (folder / archive.name for folder in folders):
        if not path.is_file():
            continue
        found = _md5(path)
        if found in archive.md5:
            return path
        if not download:
            raise DataError(
                f"{path} is truncated or corrupt: its md5 is {found}, expected {archive.md5[0]}. "
                f"Pass download=True to fetch it again from {archive.url}"
            )
        break
    if not download:
        raise FileNotFoundError(
            f"{archive.name} is not in {' or '.join(str(folder) for folder in folders)}. "
            f"Pass download=True to fetch it from {archive.url}, or put the file there"
        )
    return _download(archive, folders[0] / archive.name)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Keep other processes out while a file is being made; the lock ends with the process, however that ends.

    Args:
        path: The file to be made. The lock is an empty file beside it, which stays.
    """
    try:
        import fcntl
    except ImportError:  # Windows: two processes that fetch the same file at once are not kept apart
        yield
        return
    with open(path.with_name(f".{path.name}.lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _download(archive: Archive, path: Path) -> Path:
    part = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with locked(path):
            if path.is_file() and _md5(path) in archive.md5:  # another process was faster
                return path
            resumed = part.exists()
            _receive(archive, part)
            found = _md5(part)
            if found not in archive.md5 and resumed:  # the beginning may be another file's: once more, from the start
                part.unlink()
                _receive(archive, part)
                found = _md5(part)
            if found in archive.md5:
                os.replace(part, path)
                return path
            part.unlink()
    except (OSError, HTTPException) as error:
        kept = f"What has arrived is kept in {part}; call again to go on from there" if part.exists() else "Try again"
        raise DataError(
            f"downloading {archive.url} failed ({error or type(error).__name__}). {kept}, "
            f"or download it by other means to {path}"
        ) from error
    raise DataError(
        f"{archive.url} sent something else than {archive.name}: md5 {found}, expected {archive.md5[0]}. "
        f"It was deleted. Try again later, or put the right file at {path}"
    )


def _receive(archive: Archive, part: Path) -> None:
    """Download into ``part``, after what is there already where the server can do that."""
    have = part.stat().st_size if part.exists() else 0
    request = Request(archive.url, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        response = urlopen(request, timeout=TIMEOUT)
    except HTTPError as error:
        if error.code == 416:  # nothing comes after what is there: the checksum will tell whether it is whole
            return
        raise
    with response:
        done = have if response.status == 206 else 0
        length = response.headers["Content-Length"]
        total = None if length is None else done + int(length)
        show = progress(f"downloading {archive.name}", total, "MB", 1e6)
        with open(part, "ab" if done else "wb") as file:
            while chunk := response.read(CHUNK):
                file.write(chunk)
                done += len(chunk)
                show(done)
    if total is not None and done < total:
        raise ConnectionError(f"the connection closed after {done} of {total} bytes")


def _md5(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
