"""pyproject.toml is the one list of dependencies; everything else must follow it."""

import re
import subprocess
import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_environment_yml_installs_exactly_the_project():
    env = yaml.safe_load((ROOT / "environment.yml").read_text())
    pip = next(d["pip"] for d in env["dependencies"] if isinstance(d, dict))
    assert pip == [f"-e .[{','.join(PROJECT['optional-dependencies'])}]"]
    python = next(d for d in env["dependencies"] if str(d).startswith("python"))
    assert python.removeprefix("python").startswith(PROJECT["requires-python"])


def test_every_dependency_at_run_time_has_a_lowest_and_a_highest_version():
    for line in PROJECT["dependencies"]:
        assert re.search(r">=[\d.]+,<[\d.]+$|==[\d.]+$", line), line


def test_torch_is_pinned_and_the_private_seam_of_trl_is_bounded():
    assert "torch==2.13.0" in PROJECT["dependencies"]
    trl = next(d for d in PROJECT["dependencies"] if d.startswith("trl"))
    assert re.search(r"<\d", trl), f"{trl}: the trainer overrides private methods of TRL"


def test_make_help_names_every_target_a_user_is_told_about():
    text = subprocess.run(
        ["make", "-s", "help"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    for target in ("demo", "app", "test", "setup", "lint", "bench", "notebooks"):
        assert f"make {target} " in text


def test_ci_runs_make_test():
    assert "make test" in (ROOT / ".ci" / "run").read_text()
