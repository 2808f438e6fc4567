"""The light wing never imports the heavy one, and nothing imports upwards."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "workbench"
HEAVY = {"torch", "trl", "transformers", "datasets", "accelerate", "peft"}
LIGHT = [
    "workbench",
    "workbench.api",
    "workbench.pages",
    "workbench.runs.launcher",
    "workbench.analysis.whatif",
    "workbench.analysis.counterfactual",
    "workbench.plots.figures",
    "workbench.analysis.figures",
    "workbench.analysis.summary",
    "workbench.runs.evaluations",
    "workbench.config.text",
    "workbench.objectives",
    "workbench.tasks.etudes",
    "workbench.store.reader",
    "workbench.store.writer",
    "workbench.store.archive",
    "workbench.store.export",
    "workbench.store.imports",
    "workbench.store.doctor",
    "workbench.commands.follow",
    "workbench.__main__",
]


def loaded(code: str) -> set[str]:
    """Modules of the heavy wing that are loaded after ``code`` ran in a fresh process."""
    report = f"import sys; {code}; print(*({HEAVY!r} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", report],
        capture_output=True,
        text=True,
        cwd=PACKAGE.parent,
        check=True,
    )
    return set(done.stdout.split())


def test_the_light_wing_imports_nothing_heavy():
    assert loaded("import " + ", ".join(LIGHT)) == set()


def test_building_the_app_imports_nothing_heavy(tmp_path):
    assert loaded(f"from app import build_app; build_app({str(tmp_path)!r})") == set()


def test_every_command_explains_itself_without_the_heavy_wing():
    code = "from workbench.__main__ import COMMANDS, build_parser; build_parser()"
    assert loaded(code) == set()


# Rooms by height; a module may import from rooms at its own height or below.
HEIGHT = {
    "types": 0, "config": 1,
    "core": 2, "objectives": 2, "tasks": 2, "store": 2,
    "running": 2, "views": 3, "trainers": 4, "sweeps": 5, "pages": 6, "commands": 7,
}  # fmt: skip


def room(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def imports(path: Path) -> set[str]:
    """Rooms of this package that a file imports, wherever in the file."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("workbench"):
            base = node.module
            found |= {room(base)} if "." in base else {alias.name for alias in node.names}
        if isinstance(node, ast.Import):
            found |= {room(a.name) for a in node.names if a.name.startswith("workbench.")}
    return found


@pytest.mark.parametrize("name", [name for name in HEIGHT if (PACKAGE / name).exists()])
def test_arrows_run_down_only(name):
    for path in (PACKAGE / name).rglob("*.py"):
        higher = {r for r in imports(path) if HEIGHT.get(r, 0) > HEIGHT[name]}
        assert not higher, f"{path.relative_to(PACKAGE)} imports {higher}"


def test_pages_talk_to_no_heavy_room():
    for path in (PACKAGE / "pages").glob("*.py"):
        assert not imports(path) & {"trainers", "train", "evaluate", "launcher"}, path.name
