"""The page "Reproduce at scale": its blocks are run as they stand, but for the device, the number of runs and of GPUs."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from xml.etree import ElementTree

import pytest

from clop_nb import grids, store

pytest.importorskip("dask_jobqueue")

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "book" / "scale.md").read_text(encoding="utf-8")
TWO = "grids.batch_sizes(grids.SMOKE)[:2]"


def block(language, word):
    """The page's one code block of a language that has a word in it."""
    (found,) = (text for text in re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL) if word in text)
    return found


def on_processors(code):
    """The same code on two tiny runs and without a GPU."""
    for old, new in (('grids.every_run(grids.PLANS["cifar100"])', TWO), ('device="cuda"', 'device="cpu"')):
        assert code.count(old) == 1, old
        code = code.replace(old, new)
    return code


@pytest.fixture
def place(tmp_path):
    """A folder that stands for the repository's root, and an environment with this Python's commands on the path."""
    folders = [str(tmp_path / "bin"), str(Path(sys.executable).parent), os.environ["PATH"]]
    extra = {"PATH": os.pathsep.join(folders), "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    extra |= {"DASK_DISTRIBUTED__DASHBOARD__LINK": "", "DASK_SCHEDULER__DASHBOARD__STATUS__TASK_STREAM_LENGTH": "10"}
    (tmp_path / "bin").mkdir()
    return tmp_path, {**os.environ, **extra}


@contextlib.contextmanager
def started(command, place, log):
    """A process of its own session, of which nothing is left behind.

    It writes to a file: workers that outlive a script would hold a pipe open.
    """
    folder, environment = place
    with open(folder / log, "w") as out:
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=out, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def run(code, place):
    folder, _ = place
    (folder / "grid.py").write_text(code, encoding="utf-8")
    with started([sys.executable, "grid.py"], place, "said") as script:
        script.wait(400)
    said = (folder / "said").read_text(encoding="utf-8")
    assert script.returncode == 0, said
    return said


def is_complete(folder):
    wanted = grids.batch_sizes(grids.SMOKE)[:2]
    found = [store.read(folder, config) for config in wanted]
    return all(record is not None and record.outcome in ("finished", "collapsed") for record in found)


def test_the_local_block_trains_two_runs_as_it_stands(place):
    code = block("python", "LocalCluster(")
    assert TWO in code
    said = run(code, place)
    assert is_complete(place[0] / "results" / "trial")
    assert said.count("finished") + said.count("collapsed") >= 2, said


def test_the_blocks_for_several_gpus_work_with_workers_on_processors(place):
    folder, _ = place
    start = block("bash", "dask worker")
    assert "in 0 1 2 3;" in start
    with started(["bash", "-c", start.replace("in 0 1 2 3;", "in 0 1;") + "wait"], place, "log") as workers:
        subprocess.run(
            ["bash", "-c", "until [ -s cluster.json ]; do sleep 0.2; done"], cwd=folder, check=True, timeout=100
        )
        run(on_processors(block("python", "scheduler_file=")), place)
        workers.wait(60)  # the script's last line ends them
    assert is_complete(folder / "results" / "images")


def test_the_block_for_slurm_asks_for_gpus_and_trains_by_its_jobs(place):
    folder, _ = place
    for name, text in {
        "sbatch": 'cp "$1" job-$$; bash job-$$ >> jobs.log 2>&1 & echo "Submitted batch job $!"',
        "scancel": 'kill "$@" 2>> jobs.log',
    }.items():
        path = folder / "bin" / name
        path.write_text(f"#!/usr/bin/env bash\n{text}\n", encoding="utf-8")
        path.chmod(0o755)
    code = on_processors(block("python", "SLURMCluster("))
    assert code.count("jobs=16") == 1
    run(code.replace("jobs=16", "jobs=2"), place)
    assert is_complete(folder / "results" / "images")
    scripts = [path.read_text(encoding="utf-8") for path in folder.glob("job-*")]
    assert len(scripts) >= 2
    for wanted in ("#SBATCH --gres=gpu:1", "#SBATCH -t 24:00:00", "--nthreads 1"):
        assert all(wanted in script for script in scripts), wanted


def test_what_was_not_tried_is_marked():
    for section in re.findall(r"^## (.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL):
        if 'device="cuda"' in section or "clop_nb.grids cifar100" in section or "gpu.yml" in section:
            assert re.search(r"\*[^*]*[Uu]ntested[^*]*\*", section), section.splitlines()[0]


def test_the_cost_directive_shows_counted_runs_and_marks_estimates(tmp_path):
    from clop_nb import cost

    (tmp_path / "conf.py").write_text(
        textwrap.dedent(f"""
            import sys
            sys.path.insert(0, {str(ROOT / "book" / "_ext")!r})
            extensions = ["myst_parser", "grid_costs"]
        """),
        encoding="utf-8",
    )
    (tmp_path / "index.md").write_text("# Costs\n\n```{grid-costs}\n```\n", encoding="utf-8")
    # As XML: Sphinx's text builder does not end on this table.
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "-b", "xml", str(tmp_path), str(tmp_path / "out")]
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    tree = ElementTree.parse(tmp_path / "out" / "index.xml")
    rows = [[" ".join(cell.itertext()).strip() for cell in line.iter("entry")] for line in tree.iter("row")]
    rows = [[" ".join(cell.split()) for cell in line] for line in rows]
    for name, title in (("cifar100", "CIFAR-100"), ("tiny_imagenet", "Tiny-ImageNet")):
        found = cost.cost(grids.every_run(grids.PLANS[name]))
        (whole,) = (line for line in rows if line[0] == title and "each run once" in line[1])
        assert whole[2] == str(found.runs)
    costs = [line[-1] for line in rows if line[0] in ("CIFAR-100", "Tiny-ImageNet")]
    assert len(costs) == 10
    text = " ".join(" ".join(tree.getroot().itertext()).split())
    for line in costs:
        assert line.count("(estimate)") == len(cost.GPUS), line
    assert "(measured)" not in text
    assert f"an assumed {cost.SHARES[0]:.0%}".replace("%", "") in text
