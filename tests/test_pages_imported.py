"""Every page stands on rows that lack everything optional; what is broken says so in place."""

from __future__ import annotations

import json
import warnings

import pandas as pd
import pytest

from workbench.api.workbench import Workbench
from workbench.pages.app import build_app

EVERYTHING = frozenset({"*"})
BARE = {"prompt": "p", "completion": "c", "rewards": 1.0}
SHAPES = {
    "bare": [BARE, BARE],
    "advantage": [BARE | {"step": s, "advantage": a} for s in range(4) for a in (1.0, -1.0)],
    "kinds": [
        BARE | {"kind": k, "prompt": k, "rewards": r, "advantage": a, "step": s}
        for s in range(3)
        for k, r in (("math", {"correct": 1.0}), ("chat", {"helpful": 0.5, "safe": None}))
        for a in (0.5, -0.5)
    ],
    "nothing": [BARE | {"rewards": {"a": None}, "prompt": None, "completion": None}] * 2,
    "infinite": [BARE | {"rewards": {"a": "inf"}, "advantage": "-inf", "judge": "nan"}] * 2,
    "judged": [BARE | {"judge": j, "split": "probe"} for j in (0.0, 1.0)],
}


@pytest.fixture(scope="module")
def wb(tmp_path_factory):
    root = tmp_path_factory.mktemp("imported")
    wb = Workbench(root / "runs")
    for name, rows in SHAPES.items():
        (root / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        wb.import_(root / f"{name}.jsonl", name)
    return wb


@pytest.fixture(scope="module")
def app(wb):
    return build_app(wb)


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("tab", ["launch", "runs", "inspect", "compare", "rate"])
def test_every_page_shows_a_run_that_says_little(wb, app, name, tab):
    for more in ({}, {"std": "1", "shade": "1"}, {"alt": "saw"}) if tab == "inspect" else ({},):
        with warnings.catch_warnings():
            warnings.simplefilter("error" if name != "infinite" else "ignore", RuntimeWarning)
            view = {"tab": tab, "run": name, "runs": name, "with": name, **more}
            values = app.router.pages[tab].show(wb, view, EVERYTHING)
        assert len(values) == len(app.router.pages[tab].outputs)
        assert "nan %" not in str(values) and "cannot be shown" not in str(values)


def test_a_group_shows_the_rewards_that_it_has(wb, app):
    prompt = wb.prompts("kinds", kind="chat").prompt_id[0]
    view = {"tab": "inspect", "run": "kinds", "prompt": prompt}
    card = app.router.pages["inspect"].show(wb, view, EVERYTHING)[3]
    assert "helpful" in card and "safe" in card and "correct" not in card


def test_questions_of_a_run_that_says_little(wb):
    for name in SHAPES:
        assert wb.state(name)["status"] == "finished"
        assert len(wb.weights(name, by=())) >= 0
        for figure in ("rewards", "weights", "weights_by_kind", "weight_area", "health", "judge"):
            wb.figure(figure, name)
        group = wb.group(name, wb.prompts(name).prompt_id[0])
        assert isinstance(group._repr_html_(), str)
    assert isinstance(wb.runs(), pd.DataFrame)
