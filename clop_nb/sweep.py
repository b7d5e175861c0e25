"""Many runs: train what a store lacks, on this machine's cores or on a cluster, and read the whole as one table.

**A run is done by whichever process holds its lock, and that process writes its record.** So it does not matter which
of them die: the sweep, its workers, or both; a new sweep finds the records that are there, waits for runs that some
other process is still at, and does the rest, long ones from their checkpoints.

The engine is any ``concurrent.futures`` executor: by default joblib's own process pool (loky), which keeps its workers
between sweeps; for several GPUs or a cluster, Dask's ``client.get_executor()``. ``joblib.Parallel`` does not stand
between, because over Dask (joblib 1.6) it waits for ever for a task whose workers were killed.
"""

from __future__ import annotations

import argparse
import functools
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future, as_completed
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import joblib
import torch
from joblib.externals.loky import get_reusable_executor

from clop_nb import records, store, train
from clop_nb.config import RunConfig
from clop_nb.data import DataError
from clop_nb.progress import progress as line
from clop_nb.provenance import code_hash, versions

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Progress", "SweepError", "complete"]

RESUBMISSIONS = 2
# Seconds between two looks at runs that another process is at.
POLL = 0.5

Progress = Callable[[int, int, float], None]
"""Called with the runs that this sweep has behind it, how many it has in all, and the seconds left."""


class SweepError(RuntimeError):
    """What a sweep could not do. What it did is in the store."""


class _Job(NamedTuple):
    config: RunConfig
    old: tuple[int, int] | None
    """State of the record's file when the sweep began: the job is done when it has changed."""


def complete(
    configs: Iterable[RunConfig],
    folder: str | os.PathLike[str],
    *,
    n_jobs: int | None = None,
    executor: Executor | None = None,
    run: Callable[..., records.RunRecord] = train.run,
    retry_failed: bool = False,
    redo_stale: bool = False,
    progress: Progress | None = None,
) -> pd.DataFrame:
    """Train the configurations that the store lacks, and return the records of all of them.

    A run that raises is recorded with its error, and the rest goes on; it is tried again only on request. If a worker
    process is killed, what is missing is submitted again, twice at most, with the runs that were under way last.

    Args:
        configs: what is wanted; those with one canonical form count once.
        folder: the store.
        n_jobs: processes side by side, each with the threads of ``run`` (one by default). ``None``: one for each core,
            or one if there is a GPU. 1 runs in this process. Not for use with ``executor``.
        executor: an engine instead of the process pool, such as ``dask.distributed.Client(...).get_executor()``. Give
            each Dask worker one thread. All its processes must see the folder.
        run: what makes a record of a configuration, called with ``checkpoint`` and ``progress`` besides;
            ``functools.partial(train.run, device="cuda", root=...)`` sets the rest.
        retry_failed: run again what is recorded as failed.
        redo_stale: run again what other code made. A record that had metrics is replaced by one that has, never by a
            failure.
        progress: see :data:`Progress`. ``None``: one line on a terminal, a line every tenth of the way in a log, and
            silence in a notebook, whose page would keep them.

    Returns:
        :func:`clop_nb.records.frame` of the records, in the order of the configurations.

    Raises:
        ValueError: if a record in the store is not valid, or an argument is not.
        OSError, DataError, DeviceError: if a record cannot be written (a full disk), a data set is not there, or a
            device is not: no run's fault, and the same for the next one, so that the sweep ends and records nothing.
        SweepError: if runs are missing after the last submission, or a record could not be redone.
    """
    configs = list(configs)
    if not all(isinstance(config, RunConfig) for config in configs):
        raise ValueError(f"configs must be RunConfig objects, got {configs!r}")
    wanted = list({config.id: config.canonical() for config in configs}.values())
    if n_jobs is not None and (executor is not None or not isinstance(n_jobs, int) or n_jobs < 1):
        raise ValueError(f"n_jobs must be a positive integer, and None with an executor, got {n_jobs!r}")
    jobs = [
        # The state first: a record that comes in between makes the job done, not lost.
        _Job(config, state)
        for config, state in [(config, _state(folder, config)) for config in wanted]
        if _is_due(store.read(folder, config), retry_failed, redo_stale)
    ]
    pending = {job.config.id: job for job in jobs}
    show = _countdown(len(jobs), progress)
    kept: list[str] = []
    deaths = 0
    while pending:
        free = [job for job in pending.values() if not store.locked(folder, job.config)]
        # Whoever was under way when a worker died may have killed it: last, so that the rest gets done.
        free.sort(key=lambda job: store.interrupted(folder, job.config))
        tasks = [functools.partial(_attempt, job, folder, run) for job in free]
        try:
            for ended in _carry_out(tasks, n_jobs, executor) if tasks else ():
                if not ended.busy:
                    del pending[ended.id]
                    kept += [ended.kept] if ended.kept else []
                    show(len(jobs) - len(pending))
        except _WorkerDied as death:
            deaths += 1
            broken = executor is not None and isinstance(death.__cause__, BrokenExecutor)
            if deaths > RESUBMISSIONS or broken:
                raise SweepError(
                    f"worker processes died {deaths} times (out of memory?); missing are the runs "
                    f"{', '.join(pending)}. Everything else is in the store, and a new sweep goes on from there"
                ) from death
        done = [job.config.id for job in pending.values() if _state(folder, job.config) != job.old]
        for identity in done:  # by another process, or by one that was killed before it could say so
            del pending[identity]
        if done:
            show(len(jobs) - len(pending))
        elif not tasks:
            time.sleep(POLL)
    if kept:
        raise SweepError("these runs failed now and keep their older records: " + "; ".join(kept))
    return records.frame([store.read(folder, config) for config in wanted])


class _WorkerDied(Exception):
    """A worker process ended without a result; the cause says which engine told us."""


class _Ended(NamedTuple):
    id: str
    busy: bool = False
    """Another process is at it."""
    kept: str | None = None
    """Why an older record was kept."""


def _attempt(job: _Job, folder: str | os.PathLike[str], run: Callable[..., records.RunRecord]) -> _Ended:
    """In a worker: do a job unless somebody else does or has done, and write its record."""
    config = job.config
    with store.lock(folder, config) as mine:
        if not mine:
            return _Ended(config.id, busy=True)
        if _state(folder, config) != job.old:
            return _Ended(config.id)
        start = time.monotonic()
        try:
            record = run(config, checkpoint=store.checkpoint_path(folder, config), progress=_silent)
        except _ENVIRONMENT:
            raise
        except Exception as error:
            old = store.read(folder, config)
            if old is not None and old.outcome != "failed":
                return _Ended(config.id, kept=f"{config.id} ({type(error).__name__}: {error})")
            record = _failure(config, error, time.monotonic() - start)
        store.write(folder, record)
        store.discard_checkpoint(folder, config)
    return _Ended(config.id)


def _silent(epoch: int, epochs: int, loss: float) -> None:
    """The progress of single runs is not shown: many go on side by side."""


# Not the run's doing, and the same for the runs after it: they end the sweep instead of being recorded.
_ENVIRONMENT = (OSError, DataError, train.DeviceError)


def _failure(config: RunConfig, error: Exception, seconds: float) -> records.RunRecord:
    where = traceback.extract_tb(error.__traceback__)[-1]
    return records.RunRecord(
        config=config,
        outcome="failed",
        error=f"{type(error).__name__}: {error} ({Path(where.filename).name}, line {where.lineno})",
        seed=config.seed,
        threads=torch.get_num_threads(),
        versions=versions(),
        device="unknown",
        seconds=seconds,
        peak_memory_mib=0.0,
        code_hash=code_hash(),
        date=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _carry_out(
    tasks: Sequence[Callable[[], _Ended]], n_jobs: int | None, executor: Executor | None
) -> Iterator[_Ended]:
    """Results as they come; raises :class:`_WorkerDied` when all others are through."""
    if executor is None:
        n_jobs = n_jobs or (1 if torch.cuda.is_available() else joblib.cpu_count())
        if n_jobs == 1:
            yield from (task() for task in tasks)
            return
        executor = get_reusable_executor(max_workers=n_jobs)
    death: BaseException | None = None
    futures: list[Future[_Ended]] = []
    try:
        try:
            futures += (executor.submit(task) for task in tasks)
        except BrokenExecutor as error:
            death = error
        for future in as_completed(futures):
            error = future.exception()
            if error is None:
                yield future.result()
            elif _is_death(error):
                death = error
            else:
                raise error
    finally:
        for future in futures:
            future.cancel()
    if death is not None:
        raise _WorkerDied from death


def _is_death(error: BaseException) -> bool:
    # Dask's KilledWorker by name: distributed is an extra, and it need not be imported to tell.
    return isinstance(error, (BrokenExecutor, CancelledError)) or type(error).__name__ == "KilledWorker"


def _state(folder: str | os.PathLike[str], config: RunConfig) -> tuple[int, int] | None:
    """What changes when a record is written anew: inode and time of its file; ``None`` without one."""
    try:
        found = store.path(folder, config).stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_mtime_ns


def _is_due(record: records.RunRecord | None, retry_failed: bool, redo_stale: bool) -> bool:
    if record is None:
        return True
    return (retry_failed and record.outcome == "failed") or (redo_stale and record.code_hash != code_hash())


def _countdown(total: int, progress: Progress | None) -> Callable[[int], None]:
    """What is called with the number of runs done in this sweep."""
    if progress is None:
        in_notebook = "ipykernel" in sys.modules and not sys.stderr.isatty()
        return line("training", total, "runs") if total and not in_notebook else lambda done: None
    start = time.monotonic()

    def show(done: int) -> None:
        progress(done, total, (time.monotonic() - start) / done * (total - done))

    return show


def main(arguments: Sequence[str] | None = None) -> None:
    """Redo runs of a store from the command line: ``python -m clop_nb.sweep results``."""
    parser = argparse.ArgumentParser(prog="python -m clop_nb.sweep", description="Redo the image runs of a store.")
    parser.add_argument("store", type=Path, help="folder of the records")
    parser.add_argument("--dataset", action="append", help="only the runs on this data set; may be given repeatedly")
    parser.add_argument("--n-jobs", type=int, help="processes side by side (default: one for each core)")
    parser.add_argument(
        "--into",
        type=Path,
        help="run everything anew into this other folder, and say which metrics come out the same; by default what "
        "other code made, or what failed, is run again in place",
    )
    given = parser.parse_args(arguments)
    if not given.store.is_dir():
        parser.error(f"there is no folder {given.store}")
    old = [r for r in store.read_all(given.store) if given.dataset is None or r.config.dataset in given.dataset]
    configs, start = [record.config for record in old], time.monotonic()
    if given.into is None:
        before = sum(_is_due(record, retry_failed=True, redo_stale=True) for record in old)
        complete(configs, given.store, n_jobs=given.n_jobs, retry_failed=True, redo_stale=True)
        print(f"{before} of {len(old)} runs done again in {(time.monotonic() - start) / 60:.1f} min")
        return
    complete(configs, given.into, n_jobs=given.n_jobs)
    new = [store.read(given.into, config) for config in configs]
    same = sum(a.metrics == b.metrics for a, b in zip(old, new, strict=True) if b is not None)
    minutes = (time.monotonic() - start) / 60
    print(f"{len(new)} runs in {minutes:.1f} min; {same} with the same metrics to the last digit")


if __name__ == "__main__":
    main()
