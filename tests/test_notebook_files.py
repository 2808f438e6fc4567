"""The seven notebooks as they are committed: readable on a code host, light, run top to bottom."""

import ast
import re
from pathlib import Path
from pkgutil import resolve_name

import nbformat
import pytest

FOLDER = Path(__file__).parents[1] / "notebooks"
NAMES = (
    "01_first_run",
    "02_weights_per_prompt",
    "03_compare_checkpoints",
    "04_which_weighting",
    "05_learn_from_logs",
    "06_your_model_your_data",
    "07_the_method",
)
HEAVY = 400_000
MACHINE = re.compile(r"/(?:tmp|home|root|work|usr|var|Users)/|site-packages")


@pytest.fixture(params=NAMES)
def book(request: pytest.FixtureRequest) -> nbformat.NotebookNode:
    """One notebook."""
    return nbformat.read(FOLDER / f"{request.param}.ipynb", 4)


def code(book: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [cell for cell in book.cells if cell.cell_type == "code"]


def words(book: nbformat.NotebookNode) -> str:
    return "\n".join(cell.source for cell in book.cells if cell.cell_type == "markdown")


def shown(book: nbformat.NotebookNode) -> str:
    """Everything that the outputs say, as text."""
    outputs = [output for cell in code(book) for output in cell.outputs]
    said = [output.get("text", "") for output in outputs]
    said += [v for o in outputs for k, v in o.get("data", {}).items() if k.startswith("text/")]
    return "\n".join(str(text) for text in said)


def test_there_are_seven():
    assert tuple(sorted(path.stem for path in FOLDER.glob("*.ipynb"))) == NAMES


def test_a_question_opens_each_and_no_cell_is_long(book):
    assert book.cells[0].cell_type == "markdown"
    assert re.match(r"# \d · .+", book.cells[0].source) and "?**" in book.cells[0].source
    for cell in code(book):
        lines = cell.source.splitlines()
        assert 0 < len(lines) <= 15, cell.source
        assert max(map(len, lines)) <= 100, cell.source


def test_each_was_run_from_top_to_bottom_without_a_complaint(book):
    assert [c.execution_count for c in code(book)] == list(range(1, len(code(book)) + 1))
    outputs = [output for cell in code(book) for output in cell.outputs]
    assert not [o for o in outputs if o.output_type == "error" or o.get("name") == "stderr"]


def test_outputs_are_light_and_figures_are_pictures(book):
    outputs = [output for cell in code(book) for output in cell.outputs]
    kinds = {kind for output in outputs for kind in output.get("data", {})}
    assert not [kind for kind in kinds if "plotly" in kind or "javascript" in kind]
    assert "image/png" in kinds
    assert len(nbformat.writes(book)) < HEAVY


def test_nothing_speaks_of_the_machine_that_ran_it(book):
    found = MACHINE.search(shown(book) + "".join(cell.source for cell in book.cells))
    assert found is None, found


def test_claims_are_asserted(book):
    asserted = [n for c in code(book) for n in ast.walk(ast.parse(c.source))]
    assert sum(isinstance(node, ast.Assert) for node in asserted) >= 3


def test_runs_live_in_a_folder_of_their_own(book):
    source = "\n".join(cell.source for cell in code(book))
    if "Workbench(" in source:
        assert re.search(r"Workbench\((mkdtemp\(\)|folder / \"runs\")\)", source)
        assert "mkdtemp()" in source


def test_links_between_notebooks_lead_somewhere(book):
    for target in re.findall(r"\]\(([^)]+\.ipynb)\)", words(book)):
        assert (FOLDER / target).is_file(), target


def test_functions_named_beside_formulas_exist():
    book = nbformat.read(FOLDER / "07_the_method.ipynb", 4)
    named = re.findall(r"`(workbench\.[\w.]+)`", words(book))
    assert len(named) >= 9
    for name in named:
        assert resolve_name(name) is not None, name
