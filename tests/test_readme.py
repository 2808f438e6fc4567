"""The README: short, its code runs, its commands are commands, its links lead somewhere."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from workbench.__main__ import COMMANDS, build_parser
from workbench.config.glossary import glossary_markdown
from workbench.config.io import load
from workbench.config.yamlio import parse

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text("utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
FOLDERS = sorted(ROOT.glob("workbench/*/README.md")) + [ROOT / "tests" / "README.md"]


def blocks(language: str) -> list[str]:
    return [text for name, text in BLOCKS if name == language]


def test_it_is_short():
    assert len(README.splitlines()) <= 250


def test_every_command_is_in_it():
    section = README.split("## Commands")[1].split("\n## ")[0]
    missing = [name for name in COMMANDS if not re.search(rf"`[^`]*\b{name}\b", section)]
    assert missing == []


def command_lines() -> list[str]:
    lines = [line.split("  #")[0].strip() for text in blocks("") for line in text.splitlines()]
    lines += re.findall(r"`(workbench (?:run|data|offline|sweep)[^`]*)`", README)
    return [line for line in lines if line.startswith("workbench ")]


@pytest.mark.parametrize("line", command_lines())
def test_its_command_lines_are_understood(line):
    words = shlex.split(line)[1:]
    if {"CONFIG", "SOURCE"} & set(words) or "--help" in words:
        assert words[0] in COMMANDS
        return
    build_parser(words[0]).parse_args(words)


def test_its_targets_are_in_the_makefile():
    makefile = (ROOT / "Makefile").read_text("utf-8")
    targets = set(re.findall(r"(?:`|^)make ([a-z-]+)", README, re.MULTILINE))
    assert {"demo", "test"} <= targets
    assert [t for t in targets if not re.search(rf"^{t}:", makefile, re.MULTILINE)] == []


@pytest.mark.parametrize("page", [ROOT / "README.md", *FOLDERS], ids=str)
def test_its_links_lead_somewhere(page):
    links = re.findall(r"\]\(([^)#]+)\)", page.read_text("utf-8"))
    local = [link for link in links if not link.startswith("http")]
    assert [link for link in local if not (page.parent / link).exists()] == []


def test_its_configuration_is_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first, rewards = blocks("yaml")
    config = load(parse(first))
    assert config.name == "mine" and config.grpo.num_generations == 8
    more = load({**parse(first), "name": "more", **parse(rewards)})
    assert [o.name for o in more.objectives] == ["helpful", "facts", "taste"]


def test_its_objective_is_one():
    code = next(text for text in blocks("python") if "def vowels" in text)
    names: dict[str, object] = {}
    exec(compile(code, "README.md", "exec"), names)  # the README's own text
    assert names["vowels"]([""], ["abe", ""], [[1], []]) == [2 / 3, None]


def test_its_python_runs(world):
    """On the two runs of the tests in the place of ``demo``."""
    code = next(text for text in blocks("python") if "Workbench(" in text)
    code = code.replace('Workbench("runs")', f"Workbench({str(world)!r})").replace(
        "demo", "maestro"
    )
    started: list[object] = []
    lines = [line for line in code.splitlines() if "wb.start" not in line and ".show()" not in line]
    names: dict[str, object] = {"started": started}
    for line in lines:
        exec(compile(line, "README.md", "exec"), names)  # the README's own text
    figure = next(line for line in code.splitlines() if ".show()" in line)
    exec(compile(figure.split(".show()")[0], "README.md", "exec"), names)
    start = next(line for line in code.splitlines() if "wb.start" in line)
    sets = re.search(r"sets=(\[.*?\])", start)
    assert sets and load("quick", eval(sets[1])).name == "second"


HOUSE = (ROOT / "workbench" / "README.md").read_text("utf-8")


def test_the_terms_are_those_of_the_glossary():
    """They are written by ``glossary_markdown`` and pasted in."""
    assert glossary_markdown() in HOUSE


def test_the_ways_name_files_that_are_there():
    named = re.findall(r"`((?:[a-z_]+/)+[\w.]*|types\.py)`", HOUSE)
    assert len(named) > 40
    places = (ROOT / "workbench", ROOT)
    assert [name for name in named if not any((p / name).exists() for p in places)] == []
    hops = [
        int(n) for n in re.findall(r"^\| (\d+) \| `", HOUSE.split("one rollout")[1], re.MULTILINE)
    ]
    assert hops == list(range(1, len(hops) + 1)) and len(hops) <= 25
