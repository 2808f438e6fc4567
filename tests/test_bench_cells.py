"""Cells: valid configurations, one identity per setting, the same budget for all."""

import pytest

from workbench.bench import cells, methods
from workbench.bench.judged import judge
from workbench.config.io import to_dict
from workbench.config.text import dump
from workbench.tasks.etudes import load
from workbench.tasks.etudes.judge import judge as score


def test_every_method_is_a_valid_run_that_differs_from_all_others() -> None:
    grid = cells.grid(methods.METHODS, [0, 1], cells.FULL)
    trained = [c for c in grid if c.trainer == "grpo"]
    assert len({c.name for c in grid}) == len(grid)
    digests = [c.name[-8:] for c in trained]
    assert len(set(digests)) == len(digests), "two methods have the same settings"
    for c in trained:
        assert "name: bench-" in dump(c.named_config)


def test_all_methods_share_prompts_budget_and_measurement() -> None:
    grid = cells.grid(methods.METHODS, [3], cells.FULL)
    common = to_dict(grid[0].config)
    for c in grid:
        data = to_dict(c.config)
        for key in ("seed", "steps", "task", "policy", "grpo", "probe", "evaluation"):
            assert data[key] == common[key]
        assert c.config.objective_names[:5] == methods.OBJECTIVES


def test_a_cell_is_known_by_its_settings() -> None:
    method = methods.METHODS["saw"]
    one = cells.cell("saw", method, 0, cells.FULL)
    assert one.name == cells.cell("saw", method, 0, cells.FULL).name
    assert one.name != cells.cell("saw", method, 1, cells.FULL).name
    assert one.name != cells.cell("saw", method, 0, cells.QUICK).name
    other = cells.cell("saw", method, 0, cells.FULL, reward_scaling="rank")
    assert other.config.reward_scaling == "rank" and other.name != one.name


def test_merging_replaces_a_scalarizer_whole_and_leaves_its_sources_alone() -> None:
    base = {"grpo": {"beta": 0.1, "epsilon": 0.2}, "scalarizer": {"name": "saw", "priorities": {}}}
    got = cells.merged(base, {"grpo": {"beta": 0.0}, "scalarizer": {"name": "static"}})
    assert got == {"grpo": {"beta": 0.0, "epsilon": 0.2}, "scalarizer": {"name": "static"}}
    assert base["grpo"] == {"beta": 0.1, "epsilon": 0.2}


def test_unknown_methods_are_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"\['majic'\] unknown; allowed are \['base'"):
        methods.choose("saw,majic")
    assert list(methods.choose("saw, equal")) == ["equal", "saw"]


def test_the_judge_as_reward_spends_its_share_on_whole_groups() -> None:
    examples = load().train[:8]
    texts = [f"the answer is {i} ." for i in range(4)]
    columns = {
        "prompt_id": [e.prompt_id for e in examples for _ in texts],
        "kind": [e.kind for e in examples for _ in texts],
        "rubric": [e.extra["rubric"] for e in examples for _ in texts],
    }
    completions = texts * len(examples)
    prompts = [e.prompt for e in examples for _ in texts]
    everywhere = judge(prompts, completions, **columns)
    expected = [score(e, t) for e in examples for t in texts]
    assert everywhere == expected
    some = judge(prompts, completions, **columns, fraction=0.25)
    groups = [some[i : i + 4] for i in range(0, 32, 4)]
    judged = [g for g in groups if None not in g]
    assert len(judged) == 2 and sum(v is not None for v in some) == 8
    assert some == judge(prompts, completions, **columns, fraction=0.25)
    assert all(a in (None, b) for a, b in zip(some, expected, strict=True))
