"""Install the lowest versions that pyproject.toml allows, and run the quick tests with them.

``python tests/lower_bounds.py`` makes ``.venv-lower`` beside ``.venv``. torch is pinned, so both
share the one that is installed; everything else is installed anew at its lower bound.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
import venv
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parents[1]
TESTS = (
    "core_advantages", "core_conductor", "core_losses", "core_scalarizers", "config_roundtrip",
    "config_errors", "store_writer", "store_reader", "store_exchange", "figures", "tasks_file",
    "pages_render", "pages_server", "pages_gradio", "browser_pages", "trl_seam", "trainer_parts",
    "layout",
)  # fmt: skip
"""What shows soonest that a version is too old: every library is used by one of them."""


def requirements(extra: str = "") -> list[Requirement]:
    """What the project declares."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = project["optional-dependencies"][extra] if extra else project["dependencies"]
    found = [Requirement(line) for line in lines]
    return [r for r in found if r.marker is None or r.marker.evaluate()]


def available(name: str) -> list[Version]:
    """Released versions of a package that fit this Python, through pip."""
    done = subprocess.run(
        [sys.executable, "-m", "pip", "index", "versions", name],
        capture_output=True,
        text=True,
        check=True,
    )
    listed = re.search(r"Available versions: (.*)", done.stdout)
    return [Version(v) for v in listed[1].split(", ")] if listed else []


def lowest(requirement: Requirement) -> str:
    """The pin of the lowest version that a requirement allows."""
    if str(requirement.specifier).startswith("=="):
        return str(requirement)
    fitting = [v for v in available(requirement.name) if v in requirement.specifier]
    if not fitting:
        raise SystemExit(f"no released version fits {requirement}")
    return f"{requirement.name}=={min(fitting)}"


def share_torch(site: Path) -> None:
    """Let the new environment see the torch of this one."""
    here = Path(str(metadata.distribution("torch").locate_file("")))
    patterns = ("torch", "torch-*.dist-info", "torchgen", "functorch", "nvidia*", "triton*")
    for found in [path for pattern in patterns for path in here.glob(pattern)]:
        if not (site / found.name).exists():
            (site / found.name).symlink_to(found)


def install(place: Path) -> Path:
    """A fresh environment at the lower bounds; returns its Python."""
    venv.create(place, with_pip=True, clear=True)
    python = place / "bin" / "python"
    share_torch(next((place / "lib").glob("python3.*")) / "site-packages")
    pins = [lowest(r) for r in requirements()]
    print("lower bounds:", " ".join(pins), flush=True)
    tools = [str(r) for r in requirements("dev") if r.name.startswith(("pytest", "hypo", "play"))]
    words = [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    subprocess.run([*words, *pins, *tools], check=True)
    return python


def test(python: Path) -> int:
    """Run the quick tests with it; returns their exit status."""
    files = [str(ROOT / "tests" / f"test_{name}.py") for name in TESTS]
    return subprocess.run(
        [str(python), "-m", "pytest", "-q", "-p", "no:cacheprovider", *files],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    ).returncode


if __name__ == "__main__":
    sys.exit(test(install(ROOT / ".venv-lower")))
