"""Sweeps lose nothing and do nothing twice, whoever is killed. The runs are fakes that log when they start and end."""

import contextlib
import functools
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections import Counter
from pathlib import Path

import pytest

from clop_nb import provenance, store, sweep
from clop_nb.config import RunConfig
from clop_nb.records import RunRecord
from clop_nb.train import DeviceError


def fake(
    config, *, checkpoint, progress, log, seconds=0.0, error=None, error_at=(), kill_at=(), kill_always=False, code=None
):
    """A run: it logs, sleeps, and fails or kills its process at the seeds that it is told."""
    with open(log, "a") as file:
        file.write(f"start {config.seed}\n")
    marker = Path(f"{log}.killed{config.seed}")
    if config.seed in kill_at and (kill_always or not marker.exists()):
        marker.touch()
        time.sleep(1.0)  # in mid-run: the others have begun, and what had ended before is fetched
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(seconds)
    if config.seed in error_at:
        raise error or ZeroDivisionError("a run that fails")
    with open(log, "a") as file:
        file.write(f"end {config.seed}\n")
    return RunRecord(
        config=config,
        outcome="finished",
        metrics={"probes": [{"probe_fraction": 1.0, "top1": 0.5, "top5": 1.0, "knn": 0.5}]},
        seed=config.seed,
        threads=1,
        versions={},
        device="cpu",
        seconds=seconds,
        peak_memory_mib=1.0,
        code_hash=code or provenance.code_hash(),
        date="2026-01-01T00:00:00+00:00",
    )


def grid(n):
    return [RunConfig(seed=seed) for seed in range(n)]


def logged(log, what):
    """How often each seed has started or ended."""
    lines = [line.split() for line in log.read_text().splitlines()] if log.exists() else []
    return Counter(int(seed) for word, seed in lines if word == what)


@pytest.fixture
def log(tmp_path):
    return tmp_path / "log"


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "store"


def once(n):
    return {seed: 1 for seed in range(n)}


def test_trains_what_is_missing_and_tells_how_far_it_is(folder, log):
    run = functools.partial(fake, log=log)
    seen = []
    table = sweep.complete(grid(2), folder, n_jobs=1, run=run, progress=lambda *state: seen.append(state[:2]))
    assert table.seed.tolist() == [0, 1]
    table = sweep.complete(
        [*grid(3)[::-1], *grid(3)], folder, n_jobs=1, run=run, progress=lambda *s: seen.append(s[:2])
    )
    assert table.seed.tolist() == [2, 1, 0]
    assert logged(log, "start") == once(3)
    assert seen == [(1, 2), (2, 2), (1, 1)]
    same = [RunConfig(loss="info_nce", label_fraction=fraction) for fraction in (0.1, 0.5, 1.0)]
    assert len(sweep.complete(same, folder, n_jobs=1, run=run)) == 1


def test_a_log_is_told_of_the_progress_and_a_notebook_is_not(folder, log, monkeypatch, capsys):
    run = functools.partial(fake, log=log)
    monkeypatch.delitem(sys.modules, "ipykernel", raising=False)
    sweep.complete(grid(2), folder, n_jobs=1, run=run)
    assert "training: 100% of 2 runs" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "ipykernel", sys)
    sweep.complete(grid(4), folder, n_jobs=1, run=run)
    assert capsys.readouterr().err == ""


def test_a_failing_run_is_recorded_and_tried_again_only_when_asked(folder, log):
    failing = functools.partial(fake, log=log, error_at=(1,))
    table = sweep.complete(grid(3), folder, n_jobs=1, run=failing)
    assert table.outcome.tolist() == ["finished", "failed", "finished"]
    assert "ZeroDivisionError: a run that fails" in table.error[1]
    assert table.top1.isna().tolist() == [False, True, False]
    healthy = functools.partial(fake, log=log)
    assert sweep.complete(grid(3), folder, n_jobs=1, run=healthy).outcome[1] == "failed"
    assert sweep.complete(grid(3), folder, n_jobs=1, run=healthy, retry_failed=True).outcome[1] == "finished"
    assert logged(log, "start") == {0: 1, 1: 2, 2: 1}


def test_stale_records_are_shown_redone_only_when_asked_and_never_lost_to_a_failure(folder, log):
    sweep.complete(grid(2), folder, n_jobs=1, run=functools.partial(fake, log=log, code="0" * 16))
    run = functools.partial(fake, log=log)
    assert sweep.complete(grid(2), folder, n_jobs=1, run=run).stale.all()
    assert logged(log, "start") == once(2)
    with pytest.raises(sweep.SweepError, match=r"keep their older records.*a run that fails"):
        sweep.complete(grid(2), folder, n_jobs=1, run=functools.partial(run, error_at=(0,)), redo_stale=True)
    assert sweep.complete(grid(2), folder, n_jobs=1, run=run).stale.tolist() == [True, False]
    assert not sweep.complete(grid(2), folder, n_jobs=1, run=run, redo_stale=True).stale.any()


@pytest.mark.parametrize("error", [FileNotFoundError("no archive"), DeviceError("no GPU"), OSError(28, "disk full")])
def test_what_is_no_runs_fault_ends_the_sweep_and_is_not_recorded(folder, log, error):
    run = functools.partial(fake, log=log, error=error, error_at=(1,))
    with pytest.raises(type(error), match=str(error).split("] ")[-1]):
        sweep.complete(grid(3), folder, n_jobs=1, run=run)
    assert [record.seed for record in store.read_all(folder)] == [0]
    assert not store.locked(folder, grid(2)[1])


def test_bad_arguments_and_bad_records_are_named(folder, log):
    run = functools.partial(fake, log=log)
    with pytest.raises(ValueError, match="n_jobs must be a positive integer"):
        sweep.complete(grid(1), folder, n_jobs=0, run=run)
    with pytest.raises(ValueError, match="configs must be RunConfig"):
        sweep.complete([{"seed": 1}], folder, run=run)
    file = store.path(folder, RunConfig())
    folder.mkdir(exist_ok=True)
    file.write_text("{")
    with pytest.raises(ValueError, match=file.name):
        sweep.complete(grid(1), folder, n_jobs=1, run=run)


def test_a_killed_worker_costs_its_run_only(folder, log):
    run = functools.partial(fake, log=log, seconds=0.1, kill_at=(1,))
    table = sweep.complete(grid(6), folder, n_jobs=2, run=run)
    assert table.seed.tolist() == list(range(6))
    # The pool's other worker goes down with it: a run that had ended but was not recorded yet is done again.
    assert set(logged(log, "end")) == set(range(6))
    assert logged(log, "start")[1] >= 2


def test_a_run_that_always_kills_its_worker_is_given_up_after_the_rest_is_done(folder, log):
    run = functools.partial(fake, log=log, kill_at=(0,), kill_always=True)
    with pytest.raises(sweep.SweepError, match=f"died 3 times.*{RunConfig(seed=0).id}"):
        sweep.complete(grid(4), folder, n_jobs=2, run=run)
    assert logged(log, "start")[0] == 3
    assert sorted(record.seed for record in store.read_all(folder)) == [1, 2, 3]


SWEEP = """
    import functools, sys
    sys.path.insert(0, {tests!r})
    from test_sweep import fake, grid
    from clop_nb import sweep
    print("ready", flush=True)
    run = functools.partial(fake, log={log!r}, seconds={seconds})
    print(len(sweep.complete(grid({n}), {folder!r}, n_jobs={n_jobs}, run=run)))
"""


def start_sweep(folder, log, *, n, n_jobs, seconds):
    tests = str(Path(__file__).parent)
    code = textwrap.dedent(SWEEP).format(
        tests=tests, log=str(log), folder=str(folder), n=n, n_jobs=n_jobs, seconds=seconds
    )
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, start_new_session=True)


def wait_until(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.02)


def test_a_killed_sweep_goes_on_when_started_again(folder, log):
    first = start_sweep(folder, log, n=6, n_jobs=2, seconds=1.0)
    try:
        wait_until(lambda: logged(log, "end").total() >= 1)
        first.kill()
        first.wait()
        before = logged(log, "end").total()
        assert before < 6
        # The workers of the killed sweep may still be at their runs: those are waited for, not done again.
        table = sweep.complete(grid(6), folder, n_jobs=1, run=functools.partial(fake, log=log, seconds=0.1))
    finally:
        first.stdout.close()
        with contextlib.suppress(ProcessLookupError):  # its workers may have ended by themselves
            os.killpg(first.pid, signal.SIGKILL)
    assert table.seed.tolist() == list(range(6))
    assert logged(log, "start") == once(6)
    assert logged(log, "end") == once(6)


def test_two_sweeps_share_one_store(folder, log):
    with start_sweep(folder, log, n=6, n_jobs=1, seconds=0.3) as other:
        assert other.stdout.readline() == "ready\n"
        table = sweep.complete(grid(6), folder, n_jobs=1, run=functools.partial(fake, log=log, seconds=0.3))
        assert other.communicate(timeout=60)[0] == "6\n"
    assert other.returncode == 0
    assert table.seed.tolist() == list(range(6))
    assert logged(log, "start") == once(6)


def test_a_dask_cluster_whose_worker_is_killed_in_mid_run(folder, log):
    distributed = pytest.importorskip("distributed")
    options = dict(n_workers=3, threads_per_worker=1, dashboard_address=":0", silence_logs=50)
    run = functools.partial(fake, log=log, seconds=0.2, kill_at=(2,))
    with (
        distributed.LocalCluster(**options) as cluster,
        distributed.Client(cluster) as client,
        client.get_executor() as executor,
    ):
        table = sweep.complete(grid(8), folder, executor=executor, run=run)
    assert table.seed.tolist() == list(range(8))
    assert logged(log, "end") == once(8)
    assert logged(log, "start")[2] == 2


def test_the_command_line_redoes_what_is_stale_and_compares_a_run_from_nothing(
    folder, log, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(
        sweep.complete, "__kwdefaults__", {**sweep.complete.__kwdefaults__, "run": functools.partial(fake, log=log)}
    )
    sweep.complete(grid(2), folder, n_jobs=1, run=functools.partial(fake, log=log, code="0" * 16))
    sweep.complete(grid(3), folder, n_jobs=1)
    sweep.main([str(folder), "--n-jobs", "1"])
    assert "2 of 3 runs done again" in capsys.readouterr().out
    assert not any(record.code_hash == "0" * 16 for record in store.read_all(folder))
    sweep.main([str(folder), "--n-jobs", "1", "--into", str(tmp_path / "new")])
    assert "3 runs" in capsys.readouterr().out
    assert len(store.read_all(tmp_path / "new")) == 3
