"""Nothing that a model, a file or a person wrote is ever markup: pages, figures, notebooks, cards.

One run comes in whose every text is an attack: prompts, completions, kinds, objectives, its name,
the names of its file and of its checkpoints, tags, notes and raters.
"""

from __future__ import annotations

import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from workbench.analysis import display
from workbench.analysis.figures import OF_RUNS
from workbench.api.model_export import card
from workbench.api.workbench import Workbench
from workbench.pages.app import build_app
from workbench.pages.router import EVERYTHING
from workbench.plots import figures

TAG = "wbx"
EVIL = f"\"'><{TAG} onwbx=1><script>wbx</script> ${{wbx}} {{{{wbx}}}} \u202ewbx"
RUN, OTHER = f"run {EVIL}", f"other {EVIL}"
OBJECTIVES = (f"one {EVIL}", f"two {EVIL}")
# plotly shows these; what it keeps for callbacks alone is no text on the screen
UNSEEN = {"customdata", "meta", "legendgroup"}


def rows(seed: int) -> list[dict[str, Any]]:
    return [
        {
            "prompt": f"prompt {group} {EVIL}",
            "completion": f"completion {seed} {group} {sample} {EVIL}",
            "kind": f"kind {group} {EVIL}",
            "prompt_id": f"id {group} {EVIL}",
            "step": step,
            "split": split,
            "rewards": {o: (sample + k * group + seed) / 7 for k, o in enumerate(OBJECTIVES)},
            "weights": {o: (0.3, 0.7)[k] for k, o in enumerate(OBJECTIVES)},
            "policy": {o: (0.4, 0.6)[k] for k, o in enumerate(OBJECTIVES)},
            "action": OBJECTIVES[sample % 2],
            "advantage": sample - 1.5,
            "scalar": float(sample),
            "judge": sample / 4,
            "truncated": sample == 0,
            "num_tokens": 5,
        }
        for split in ("train", "probe")
        for step in range(3)
        for group in range(2)
        for sample in range(4)
    ]


@pytest.fixture(scope="module")
def wb(tmp_path_factory: pytest.TempPathFactory) -> Workbench:
    root = tmp_path_factory.mktemp("hostile")
    wb = Workbench(root / "runs")
    for seed, name in enumerate((RUN, OTHER)):
        source = root / "rows <wbx> =1+1.jsonl"
        source.write_text("\n".join(json.dumps(r) for r in rows(seed)))
        wb.import_(source, name)
        run = wb.resolve(name)
        for kind in ("tag", "note"):
            wb.annotate(run, kind, text=f"{kind} {EVIL}", rater=f"rater {EVIL}")
        wb.annotate(run, "rating", score=0.5, rater=f"rater {EVIL}", split="train", step=2,
                    prompt_id=f"id 0 {EVIL}", group_id="train-000002-000", sample=0)  # fmt: skip
        (wb.runs_dir / run / "log.txt").write_text(f"log {EVIL}\n")
    return wb


@pytest.fixture(scope="module")
def router(wb: Workbench) -> Any:
    return build_app(wb).router


class Reader(HTMLParser):
    """What a browser would make of it."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.bad: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        inside = tag in (TAG, "script") or any(TAG in name for name, _ in attrs)
        self.bad += [self.get_starttag_text() or tag] * inside


def strings(value: Any) -> list[str]:
    """Every text in nested values that is set as markup, of plotly's those that it draws.

    A log is set as text: ``tests/test_browser_inspect.py`` sees what a browser makes of it.
    """
    if isinstance(value, dict) and set(value) == {"text", "size"}:
        return []
    if isinstance(value, dict):
        return [s for k, v in value.items() if k not in UNSEEN for s in strings(v)]
    if isinstance(value, list | tuple):
        return [s for v in value for s in strings(v)]
    if hasattr(value, "value"):
        return strings(value.value)
    return [value] if isinstance(value, str) else []


def check(value: Any) -> None:
    found = strings(value)
    for text in found:
        assert Reader(text).bad == [], text[:400]
        assert "\u202e" not in text


VIEWS = [
    {"tab": "runs"},
    {"tab": "runs", "run": RUN},
    {"tab": "runs", "q": EVIL, "tag": EVIL},
    {"tab": "inspect", "run": RUN},
    {"tab": "inspect", "run": RUN, "prompt": f"id 1 {EVIL}", "step": "1", "shade": "1"},
    {"tab": "inspect", "run": EVIL, "kind": EVIL, "q": EVIL, "range": EVIL},
    {"tab": "compare", "runs": f"{RUN},{OTHER}", "sides": f"{RUN}@x,{OTHER}@{EVIL}", "own": EVIL},
    {"tab": "rate", "runs": RUN, "rater": EVIL},
    {"tab": "rate", "run": RUN, "rater": EVIL},
    {"tab": "launch", "run": RUN, "name": EVIL, "preset": EVIL},
]


@pytest.mark.parametrize("view", VIEWS, ids=lambda v: "-".join([v["tab"], *list(v)[1:3]]))
def test_no_page_shows_markup(router: Any, view: dict[str, str]) -> None:
    values = router.pages[view["tab"]].show(router.wb, dict(view), EVERYTHING)
    check([v for v in values])
    assert sum(map(len, strings(list(values)))) > 200


# imported rows hold neither evaluations nor metrics: the next test draws those figures from data
@pytest.mark.parametrize("name", sorted(set(OF_RUNS) - {"compare", "pareto", "judge", "health"}))
def test_no_figure_shows_markup(wb: Workbench, name: str) -> None:
    options = {"prompt": {"prompt_id": f"id 0 {EVIL}"}, "group": {"prompt_id": f"id 0 {EVIL}"}}
    figure = wb.figure(name, RUN, **options.get(name, {}))
    check(json.loads(figure.to_json()))
    document = figure.to_html(include_plotlyjs=False)
    assert f"<{TAG}" not in document.replace(f"\\u003c{TAG}", "")


def test_no_figure_of_data_shows_markup() -> None:
    frame = pd.DataFrame(
        {
            "step": [0, 1], "name": list(OBJECTIVES), "value": [0.1, 0.2], "side": [RUN, OTHER],
            "mean": [0.1, 0.2], "low": [0.0, 0.1], "high": [0.2, 0.3], "front": [True, False],
            "kind": ["a <wbx>", "b <wbx>"], "objective": list(OBJECTIVES), "weight": [0.5, 0.5],
            OBJECTIVES[0]: [0.1, 0.2], OBJECTIVES[1]: [0.3, 0.1], "prompt": [EVIL, EVIL],
            "prompt_id": [EVIL, EVIL],
        }
    )  # fmt: skip
    drawn = {name: figures.figure(name, frame) for name in
             ("curves", "weight_area", "weights_by_kind", "means_with_intervals")}  # fmt: skip
    drawn["pareto"] = figures.figure("pareto", frame, x=OBJECTIVES[0], y=OBJECTIVES[1])
    drawn["weight_map"] = figures.figure("weight_map", frame, objectives=list(OBJECTIVES))
    drawn["parallel"] = figures.figure("parallel", frame, columns=["kind", OBJECTIVES[0]])
    lines = frame.rename(columns={"name": "run", "side": "metric", "step": "x"})
    drawn["run_lines"] = figures.figure("run_lines", lines)
    others = {"group", "whatif", "self_favouring", "methods", "families", "sensitivity", "worlds"}
    assert set(drawn) == set(figures.FIGURES) - others  # of one group, and of the benchmark
    for figure in drawn.values():
        check(json.loads(figure.to_json()))


def test_no_notebook_display_shows_markup(wb: Workbench) -> None:
    run = wb.run(RUN)
    shown = [
        display.run_html(wb.launcher.get(RUN)),
        wb.runs()._repr_html_(),
        wb.group(RUN, f"id 0 {EVIL}", step=1)._repr_html_(),
        run._repr_html_(),
        wb.rollouts(run)._repr_html_(),
        wb.whatif(RUN, weights={wb.config(RUN).objective_names[0]: 1.0})._repr_html_(),
        wb.findings(RUN, f"id 0 {EVIL}")._repr_html_(),
        display.prose_html(pd.DataFrame({EVIL: [EVIL]}, index=pd.Index([EVIL], name=EVIL))),
    ]
    for html in shown:
        assert Reader(html).bad == [] and f"<{TAG}" not in html


def test_a_model_card_has_no_markup_of_others() -> None:
    facts = {"judge_before": 0.1, "judge_after": 0.2}
    text = card(
        {"run_id": "r", "name": EVIL, "rollouts": 1, "weights": {OBJECTIVES[0]: 1.0}, **facts,
         "per_family": {EVIL: {**facts, "weights": {OBJECTIVES[0]: 1.0}}}},
        3,
        f"name: x\nprompt: '```{EVIL}'",
    )  # fmt: skip
    outside = text.partition("## Configuration")[0]
    assert Reader(outside).bad == []
    fences = re.findall(r"^`+", text, re.MULTILINE)
    assert fences == ["```", "```", "````", "````"], "a configuration must not end its own block"


def test_file_names_of_downloads_are_names_of_files(wb: Workbench) -> None:
    from workbench.pages.export import packed
    from workbench.pages.inspect import shown_rows

    view = {"run": RUN, "prompt": f"../../{EVIL}", "step": "1"}
    for kind in ("csv", "parquet"):
        name = packed(shown_rows(wb, {**view, "prompt": f"id 1 {EVIL}"}), kind)["name"]
        assert Path(name).name == name and not set("<>\"'/\\\0") & set(name)


def test_a_run_with_every_text_an_attack_leaves_as_csv_without_a_formula(
    wb: Workbench, tmp_path: Path
) -> None:
    import csv

    for text in ("=1+1", "+1", "-1+1", "@SUM(1)", "\t=1", "\r=1"):
        wb.annotate(wb.resolve(RUN), "note", text=text)
    shutil.rmtree(tmp_path / "out", ignore_errors=True)
    for file in wb.export([RUN], tmp_path / "out", "csv"):
        with file.open(newline="") as lines:
            cells = [c for row in csv.reader(lines) for c in row]
        texts = [c for c in cells if c and not c.lstrip("-+").replace(".", "", 1)[:1].isdigit()]
        assert not [c for c in texts if c.startswith(("=", "+", "-", "@", "\t", "\r"))], file.name
