"""Preflight: what can be known before a model is loaded is refused before anything starts."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from tiny_models import save_tiny, save_tiny_reward, tiny_tokenizer

from workbench.__main__ import main
from workbench.config.io import load
from workbench.runs.preflight import problems_of
from workbench.runs.tryout import Wanted, try_out

OWN = """
import time
def good(completions, trainer_state, log_metric, reference, level, **columns):
    log_metric("seen", trainer_state.global_step)
    print("noise on the way")
    return [float(len(text)) for text in completions]
def old(example, text):
    return float(len(text) + len(example.reference))
async def waits(prompts, completions, completion_ids, scores, **columns):
    return [float(scores.token_logps[0].sum())]
def short(completions, **columns): return []
def word(completions, **columns): return ["high" for _ in completions]
def breaks(completions, **columns): return [columns["nothing"]]
def three(a, b, c): return 0.0
def slow(completions, **columns): time.sleep(60)
def ends(completions, **columns):
    import os
    os._exit(3)
"""
ROW = {"prompt_id": "p", "kind": "k", "reference": "four", "level": 3}


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "own_preflight.py").write_text(OWN)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def test_every_function_is_called_once_on_one_row(own: Path) -> None:
    names = ("good", "old", "waits", "short", "word", "breaks", "three", "absent")
    wanted = [Wanted(name, f"own_preflight:{name}", {}) for name in names]
    found = try_out(wanted, "What is 2 + 2?", ROW, steps=5)
    assert list(found) == ["short", "word", "breaks", "three", "absent"]
    assert "returned 0 values for 1 completion" in found["short"]
    assert "returned 'high', which is neither" in found["word"]
    assert "raised KeyError: 'nothing'" in found["breaks"]
    assert "three(a, b, c) has another signature; allowed is f(prompts" in found["three"]
    assert "cannot be imported" in found["absent"]


def test_a_function_that_hangs_or_ends_the_process_is_told(own: Path) -> None:
    slow = try_out([Wanted("k", "own_preflight:slow", {})], "p", ROW, 1, seconds=4.0)
    assert "no answer within 4 s on one row" in slow["k"]
    ends = try_out([Wanted("k", "own_preflight:ends", {})], "p", ROW, 1)
    assert "ended the process" in ends["k"]


def problems(tmp_path: Path, **changes: Any) -> dict[str, str]:
    data: dict[str, Any] = {"objectives": ["length"], **changes}
    found = problems_of(load(data), tmp_path / "runs", call=False)
    return {problem.path: problem.message for problem in found}


@pytest.mark.parametrize(
    ("changes", "key", "message"),
    [
        ({"grpo": {"extra": {"num_train_epochs": 3}}}, "grpo.extra.num_train_epochs", "set steps"),
        ({"grpo": {"kl_in_reward": True}}, "grpo.kl_in_reward", "while grpo.beta is 0"),
        (
            {"grpo": {"reference_sync_every": 2}},
            "grpo.reference_sync_every",
            "nothing asks for the reference",
        ),
        (
            {"grpo": {"reference_sync_every": 2, "beta": 0.1}, "policy": {"lora": {"r": 2}}},
            "grpo.reference_sync_every",
            "not allowed with policy.lora",
        ),
        (
            {"grpo": {"gradient_accumulation_steps": 7}},
            "grpo.gradient_accumulation_steps",
            "7 does not divide the 64 completions",
        ),
        ({"logging": {"report_to": ["wandbb"]}}, "logging.report_to", "allowed are clearml"),
        (
            {"task": {"name": "file", "path": "/nowhere/rows.jsonl"}},
            "task.path",
            "/nowhere/rows.jsonl",
        ),
    ],
)
def test_settings_that_cannot_be_or_do_nothing(
    tmp_path: Path, changes: dict[str, Any], key: str, message: str
) -> None:
    found = problems(tmp_path, **changes)
    assert list(found) == [key] and message in found[key]


def test_nothing_is_wrong_with_a_right_run(tmp_path: Path) -> None:
    model = str(save_tiny(tmp_path / "model"))
    reward = str(save_tiny_reward(tmp_path / "reward"))
    objectives = ["length", {"name": "taste", "model": reward}]
    assert problems(tmp_path, policy={"model": model}, objectives=objectives) == {}


def test_models_are_looked_at_without_being_loaded(tmp_path: Path) -> None:
    model = save_tiny(tmp_path / "model")
    long = problems(tmp_path, policy={"model": str(model)}, grpo={"max_completion_length": 200})
    assert "model's context of 128" in long["grpo.max_completion_length"]
    reward = save_tiny_reward(tmp_path / "reward")
    taste = {"name": "taste", "model": str(reward)}
    cut = problems(tmp_path, objectives=["length", taste], grpo={"max_completion_length": 150})
    assert "its end would be cut off" in cut["objectives.1.model"]
    tokenizer = tiny_tokenizer()
    tokenizer.eos_token = None
    tokenizer.save_pretrained(model)
    assert "has no end token" in problems(tmp_path, policy={"model": str(model)})["policy.model"]
    rows = tmp_path / "chats.jsonl"
    chat = [{"prompt": [{"role": "user", "content": f"w{i}"}]} for i in range(5)]
    rows.write_text("".join(json.dumps(row) + "\n" for row in chat))
    save_tiny(model)
    task = {"name": "file", "path": str(rows)}
    found = problems(tmp_path, policy={"model": str(model)}, task=task)
    assert "no chat template" in found["policy.model"]


def test_check_starts_nothing_and_names_key_and_value(
    own: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = own / "runs"
    argv = ["run", "quick", "--check", "--runs-dir", str(runs)]
    assert main(argv) == 0
    assert not list(runs.glob("*/config.yaml"))
    objectives = "objectives=[length, {name: mine, function: 'own_preflight:breaks'}]"
    assert main([*argv, "--set", objectives]) != 0
    said = capsys.readouterr().err
    assert "objectives.1.function" in said and "own_preflight:breaks" in said
    assert "own_preflight" not in sys.modules  # other people's code ran in a process of its own


def test_rows_to_learn_from_are_read_before_anything_starts(tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"prompt": "p", "response": "r", "stars": 1}\n')
    offline = {"method": "sft", "source": {"path": str(rows)}}
    found = problems(tmp_path, offline=offline)
    assert "'reward' is missing" in found["offline.source.path"]
    offline["source"]["columns"] = {"reward": "stars"}
    assert problems(tmp_path, offline=offline) == {}
