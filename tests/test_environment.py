"""The three files that say what is installed agree."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
PINS = dict(
    line.split("==")
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    if line and not line.startswith("#")
)


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.mark.parametrize("text", [*PROJECT["dependencies"], *(text for extra in EXTRAS.values() for text in extra)])
def test_every_dependency_is_pinned_within_what_the_project_asks_for(text):
    requirement = Requirement(text)
    pins = {normal(name): version for name, version in PINS.items()}
    assert normal(requirement.name) in pins, f"{requirement.name} has no pin in constraints.txt"
    assert requirement.specifier.contains(pins[normal(requirement.name)], prereleases=True)


def test_pins_hold_on_every_platform():
    """No local version such as +cpu, no editable line, no wheel that only one platform has."""
    for name, version in PINS.items():
        assert re.fullmatch(r"[0-9][0-9a-z.]*", version), f"{name}=={version}"
        assert not name.startswith(("nvidia-", "cuda-", "triton"))


def test_conda_installs_the_project_with_all_its_extras_under_the_same_pins():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    conda = [entry for entry in environment["dependencies"] if isinstance(entry, str)]
    (pip,) = (entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict))
    assert {re.split("[=<>]", entry)[0] for entry in conda} == {"python", "pip"}, (
        "dependencies belong in pyproject.toml"
    )
    python = next(entry.partition("=")[2] for entry in conda if entry.startswith("python"))
    assert Requirement(f"python{PROJECT['requires-python']}").specifier.contains(python.strip("="))
    assert "--constraint constraints.txt" in pip
    (editable,) = (entry for entry in pip if entry.startswith("--editable"))
    assert set(re.search(r"\[(.*)\]", editable).group(1).split(",")) == set(EXTRAS)
    assert len(pip) == 2, "a dependency outside pyproject.toml"


def test_make_installs_the_same_extras_under_the_same_pins():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    (install,) = re.findall(r"-e '\.\[(.*?)\]' -c constraints\.txt", makefile)
    assert set(install.split(",")) == set(EXTRAS)
