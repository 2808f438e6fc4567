"""The house: rooms on floors, arrows that run down only, no circles; the light wing loads no torch.

The arrows are read from the imports of every file, wherever in the file they stand: inside
functions and below ``TYPE_CHECKING`` too. A room or a root module that is not listed here fails.
"""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "workbench"

FLOOR = {
    "version": 1, "types": 1, "formatting": 1, "config": 1,
    "core": 2, "objectives": 2, "store": 2,
    "tasks": 3,
    "runs": 4, "plots": 4,
    "analysis": 5, "train": 5,
    "api": 6,
    "pages": 7, "bench": 7,
    "commands": 8, "entry": 8,
    "": 9, "__main__": 9, "app": 9,
}  # fmt: skip
"""The floor of every room and root module; "" is the package's own ``__init__``, the front door."""

DATA = {"presets"}
"""Folders of the package that hold files and no code."""

LEAVES = {"bench": {"commands", "entry", "__main__"}}
"""Rooms that only these others may import."""

HEAVY = {"torch", "trl", "transformers", "datasets", "accelerate", "peft"}
LIGHT_ROOMS = [
    "config", "core", "store", "runs", "plots", "analysis", "api", "pages", "commands",
]  # fmt: skip

GRADIENTS = {"workbench.core.anchor", "workbench.core.conductor", "workbench.core.losses"}
"""Modules of the core that need a gradient, and with it torch; imported on demand."""

KNOWN: set[tuple[str, str]] = set()
"""Arrows that still break a rule; the list may only become shorter."""

KNOWN_CIRCLES = 0
"""Circles of files that are still there."""


def modules() -> dict[str, Path]:
    """Every module of the package and ``app``, by dotted name."""
    found = {"app": ROOT / "app.py"}
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def arrows(names: dict[str, Path]) -> dict[str, set[str]]:
    """For each module the modules that it imports, at its top and inside its functions."""
    found: dict[str, set[str]] = {}
    for name, path in names.items():
        found[name] = targets = set()
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                targets |= {alias.name for alias in node.names if alias.name in names}
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{path}: imports are written in full"
                whole = {f"{node.module}.{alias.name}" for alias in node.names}
                targets |= whole & names.keys()
                if whole - names.keys() and node.module in names:
                    targets.add(str(node.module))
        targets.discard(name)
    return found


def room(module: str) -> str:
    if module == "app":
        return module
    return module.split(".")[1] if "." in module else ""


NAMES = modules()
ARROWS = arrows(NAMES)


def test_every_room_is_known():
    rooms = {room(name) for name in NAMES}
    assert rooms == FLOOR.keys(), "list the room with its floor, and say in its __init__ what it is"
    folders = {p.name for p in PACKAGE.iterdir() if p.is_dir() and p.name != "__pycache__"}
    assert folders <= FLOOR.keys() | DATA
    assert len(rooms - {""}) <= 20 and len(set(FLOOR.values())) <= 9


def test_arrows_between_rooms_run_down_only():
    up = {
        (source, target)
        for source, targets in ARROWS.items()
        for target in targets
        if room(source) != room(target) and FLOOR[room(target)] >= FLOOR[room(source)]
    }
    assert up == KNOWN


@pytest.mark.parametrize("leaf", LEAVES)
def test_a_leaf_is_imported_by_its_doors_only(leaf):
    callers = {
        room(source)
        for source, targets in ARROWS.items()
        for target in targets
        if room(target) == leaf and room(source) != leaf
    }
    assert callers <= LEAVES[leaf]


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Strongly connected components of more than one module (Tarjan 1972)."""
    order: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found = []

    def visit(node: str) -> None:
        order[node] = low[node] = len(order)
        stack.append(node)
        for target in sorted(graph[node]):
            if target not in order:
                visit(target)
                low[node] = min(low[node], low[target])
            elif target in stack:
                low[node] = min(low[node], order[target])
        if low[node] == order[node]:
            part = stack[stack.index(node) :]
            del stack[stack.index(node) :]
            if len(part) > 1:
                found.append(sorted(part))

    for node in graph:
        if node not in order:
            visit(node)
    return found


def test_no_file_imports_itself_by_way_of_others():
    assert len(circles(ARROWS)) == KNOWN_CIRCLES


def loaded(code: str) -> set[str]:
    """Modules of the heavy wing that are loaded after ``code`` ran in a fresh process."""
    report = f"import sys; {code}; print(*({HEAVY!r} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", report], capture_output=True, text=True, cwd=ROOT, check=True
    )
    return set(done.stdout.split())


def test_the_light_wing_imports_nothing_heavy():
    light = {name for name in NAMES if room(name) in LIGHT_ROOMS} - GRADIENTS
    light |= {"app", "workbench", "workbench.__main__", "workbench.objectives", "workbench.tasks"}
    assert loaded("import " + ", ".join(sorted(light))) == set()


def test_building_the_app_imports_nothing_heavy(tmp_path):
    assert loaded(f"from app import build_app; build_app({str(tmp_path)!r})") == set()


def test_every_command_explains_itself_without_the_heavy_wing():
    code = "from workbench.__main__ import COMMANDS, build_parser; [*map(build_parser, COMMANDS)]"
    assert loaded(code) == set()


def test_the_two_wings_meet_in_child_processes_only():
    heavy = {"train"}
    for name, targets in ARROWS.items():
        if room(name) in LIGHT_ROOMS:
            assert not {room(t) for t in targets} & heavy, name
