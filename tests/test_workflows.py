"""The workflows of GitHub Actions: valid, with nothing that an audit objects to, and naming only what is there."""

import re
import shutil
import subprocess
import sysconfig
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def content(path):
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def steps(path):
    return [step for job in content(path)["jobs"].values() for step in job["steps"]]


def commands(path):
    return "\n".join(step["run"] for step in steps(path) if "run" in step)


def tool(name, *arguments):
    """Run a command of the environment that the tests run in."""
    found = shutil.which(name, path=sysconfig.get_path("scripts"))
    assert found, f"{name} is not installed; `make .venv` installs what the tests need"
    done = subprocess.run([found, *map(str, arguments)], cwd=ROOT, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


each = pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)


def test_there_is_one_for_changes_pages_schedule_and_gpu():
    assert {path.stem for path in WORKFLOWS} == {"ci", "pages", "scheduled", "gpu"}


def test_they_follow_the_schema():
    code, said = tool("check-jsonschema", "--builtin-schema", "vendor.github-workflows", *WORKFLOWS)
    assert code == 0, said


def test_an_audit_finds_nothing():
    code, said = tool("zizmor", "--offline", "--no-config", "--persona", "pedantic", *WORKFLOWS)
    assert code == 0, said


def test_the_checks_see_what_is_wrong(tmp_path):
    wrong = tmp_path / "wrong.yml"
    wrong.write_text(
        "on: push\njobs:\n  a:\n    runs-on: ubuntu-24.04\n    step: []\n"
        "    steps:\n      - uses: actions/checkout@v4\n      - run: echo ${{ github.head_ref }}\n"
    )
    code, said = tool("check-jsonschema", "--builtin-schema", "vendor.github-workflows", wrong)
    assert code != 0
    assert "step" in said
    code, said = tool("zizmor", "--offline", "--no-config", wrong)
    assert code != 0
    assert "template-injection" in said


@each
def test_actions_are_pinned_by_hash_with_their_version_beside_it(path):
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if re.match(r"\s*(- )?uses:", line)]
    wrong = [
        line for line in lines if not re.fullmatch(r"\s*(- )?uses: [\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", line)
    ]
    assert lines
    assert wrong == []


def test_one_action_has_one_hash():
    used = {step["uses"] for path in WORKFLOWS for step in steps(path) if "uses" in step}
    assert len({action.partition("@")[0] for action in used}) == len(used)


@each
def test_a_job_that_may_write_runs_no_code_of_the_project(path):
    assert content(path)["permissions"] == {}
    for name, job in content(path)["jobs"].items():
        if "write" in job["permissions"].values():
            run = "\n".join(step.get("run", "") for step in job["steps"])
            assert not re.search(r"\b(make|python|pip|papermill)\b|\.ci/", run), name
        else:
            assert job["permissions"] == {"contents": "read"}, name


@each
def test_no_expression_stands_in_a_command(path):
    assert "${{" not in commands(path)


@each
def test_a_checkout_leaves_no_token_behind(path):
    checkouts = [step for step in steps(path) if step.get("uses", "").startswith("actions/checkout@")]
    assert checkouts
    assert all(step["with"]["persist-credentials"] is False for step in checkouts)


@each
def test_make_targets_modules_and_files_that_commands_name_are_there(path):
    text = commands(path)
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([.a-z]+):", makefile, re.MULTILINE)) | {".venv"}
    assert set(re.findall(r"^\s*make ([.a-z]+)", text, re.MULTILINE)) <= targets
    for module in re.findall(r"python -m ([\w.]+)", text):
        assert (ROOT / f"{module.replace('.', '/')}.py").is_file(), module
    for script in re.findall(r"^\s*(\.ci/\w+)", text, re.MULTILINE):
        assert (ROOT / script).is_file(), script


def test_the_gpu_runner_starts_by_hand_only_and_offers_what_there_is():
    from clop_nb.presets import PRESETS

    gpu = content(ROOT / ".github" / "workflows" / "gpu.yml")
    (trigger,) = gpu[True].items()  # YAML reads the key `on` as true
    assert trigger[0] == "workflow_dispatch"
    inputs = trigger[1]["inputs"]
    assert tuple(inputs["preset"]["options"]) == PRESETS
    everything, *numbers = inputs["notebooks"]["options"]
    assert everything == "all"
    sources = sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.md"))
    trained = {path.name[:2] for path in sources if re.search(r"\bgrids\b", path.read_text(encoding="utf-8"))}
    assert trained == set(numbers), "what is offered are the image notebooks"
    notebooks = next(step["run"] for step in gpu["jobs"]["execute"]["steps"] if step.get("name") == "Notebooks")
    assert f'numbers="{" ".join(numbers)}"' in notebooks


def test_only_the_published_branch_and_a_branch_of_records_are_pushed_to():
    pushes = [line for path in WORKFLOWS for line in commands(path).splitlines() if " push " in line]
    assert [line.split()[-1].strip('"') for line in pushes] == ["HEAD:refs/heads/$BRANCH", "HEAD:gh-pages"]
