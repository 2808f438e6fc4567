"""What a command loads: nothing that it does not need, seen in fresh processes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LIBRARIES = {
    "numpy", "pandas", "pyarrow", "pydantic", "duckdb", "plotly", "gradio", "torch", "rich", "yaml",
    "psutil", "optuna",
}  # fmt: skip


def loaded(code: str, *words: str) -> set[str]:
    """Libraries that are loaded after ``code`` ran with ``words`` as its arguments."""
    report = (
        f"import sys, json\ntry:\n    {code}\nexcept SystemExit:\n    pass\n"
        f"print('\\n' + json.dumps(sorted({LIBRARIES!r} & set(sys.modules))))"
    )
    done = subprocess.run(
        [sys.executable, "-c", report, *words], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


MAIN = "from workbench.__main__ import main; main(sys.argv[1:])"


def test_the_package_alone_loads_nothing():
    assert loaded("import workbench") == set()


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["no-such-command"], []])
def test_the_help_of_all_loads_no_library(words):
    assert loaded(MAIN, *words) == set()


@pytest.mark.parametrize(
    ("words", "needs"),
    [
        (["list"], {"psutil"}),
        (["show", "nothing"], {"psutil"}),  # refused before any question to the store
        (["query", "SELECT 1"], {"duckdb", "pandas", "numpy", "pyarrow", "rich"}),
        (["schema"], {"duckdb", "pandas", "numpy", "pyarrow", "rich"}),
    ],
)
def test_a_command_loads_what_it_needs(words, needs, tmp_path):
    assert loaded(MAIN, *words, "--runs-dir", str(tmp_path)) - {"numpy"} <= needs
