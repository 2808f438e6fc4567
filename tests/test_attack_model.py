"""The threat model in tests/README.md names a test for each line; the fault table is whole."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from fault_table import END, FAULTS, START

TESTS = Path(__file__).parent
README = (TESTS / "README.md").read_text("utf-8")
NAMED = re.findall(r"^\| (.+) \| `(test_\w+\.py)::(test_\w+)` \|$", README, re.MULTILINE)


def functions(file: Path) -> set[str]:
    tree = ast.parse(file.read_text("utf-8"))
    return {n.name for n in tree.body if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)}


def test_each_line_of_the_threat_model_names_a_test_that_is_there() -> None:
    assert len(NAMED) > 20
    for line, file, name in NAMED:
        assert name in functions(TESTS / file), f"{line}: no {name} in {file}"


def test_the_lines_cover_what_can_be_attacked() -> None:
    lines = " ".join(line for line, _, _ in NAMED)
    words = (
        "127.0.0.1 --auth Host Origin --allow-objective --allow-path imported link YAML safetensors"
    )
    for word in [*words.split(), "query box", "markup", "CSV", "secret", "processes"]:
        assert word in lines, word


def test_the_fault_table_has_every_fault_once() -> None:
    table = README.split(START)[1].split(END)[0]
    rows = [line.split(" | ") for line in table.strip().splitlines()[2:]]
    assert [row[0].removeprefix("| ") for row in rows] == list(FAULTS)
    assert all(len(row) == 3 and all(cell.strip(" |") for cell in row) for row in rows)


def test_every_fault_has_a_test_that_tells_of_it() -> None:
    told = "".join(f.read_text("utf-8") for f in TESTS.glob("test_fault_*.py"))
    assert [fault for fault in FAULTS if f'"{fault}"' not in told] == []


def test_every_package_that_comes_along_has_a_permissive_licence() -> None:
    from licences import declared, is_permissive, rows

    found = rows()
    assert {name for name, *_ in found} >= set(declared())
    assert [name for name, _, licence, _ in found if not is_permissive(licence)] == []


def test_every_dependency_has_a_lower_bound_that_a_job_installs() -> None:
    from lower_bounds import requirements

    for requirement in requirements():
        assert any(s.operator in (">=", "==") for s in requirement.specifier), requirement
