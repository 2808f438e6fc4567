"""A whole run on logged rows: the real child process body, the store it leaves, resuming."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from offline_rows_tiny import tiny_t5
from safetensors.numpy import load_file
from tiny_models import save_tiny, tiny_tokenizer

from workbench.config.io import validate
from workbench.runs import rundir
from workbench.store.reader import Store
from workbench.store.state import read_state
from workbench.train.child import main

TRAIN = "checkpoints/step-000004"


@pytest.fixture(scope="module")
def ground(tmp_path_factory):
    """Models, prompts and rows: 12 prompts of 4 responses, and some that break rules."""
    root = tmp_path_factory.mktemp("offline")
    save_tiny(root / "llama")
    tiny_t5().save_pretrained(root / "t5")
    tiny_tokenizer().save_pretrained(root / "t5")
    prompts = [{"prompt": f"w{i} w{2 * i}", "reference": f"w{i}"} for i in range(30)]
    (root / "prompts.jsonl").write_text("\n".join(map(json.dumps, prompts)))
    rows = [
        {"prompt": f"w{i} w{2 * i}", "response": f"w{(i + j) % 30} w{j}", "reward": j / 3}
        for i in range(12)
        for j in range(4)
    ]
    rows += [
        {"prompt": "w7 w8 w9", "response": "w1", "reward": 0.5},
        {"prompt": "w1 w2", "response": "", "reward": 1.0},
        {"prompt": "w1 w2", "response": "w3", "reward": None},
        {"prompt": "w1 w2", "response": " ".join(["w3"] * 140), "reward": 0.1},
    ]
    (root / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return root


def made(ground, runs_dir, method, model="llama", **changes):
    data = {
        "name": f"{model}-{method}",
        "steps": 4,
        "task": {"name": "file", "path": str(ground / "prompts.jsonl")},
        "policy": {"model": str(ground / model)},
        "objectives": ["length"],
        "grpo": {"max_completion_length": 8},
        "probe": {"prompts": 1, "every": 2, "num_generations": 2},
        "evaluation": {"prompts": 2},
        "logging": {"checkpoint_every": 2},
        "offline": {
            "method": method,
            "source": {"path": str(ground / "rows.jsonl")},
            "update": {"batch_size": 8, "warmup_steps": 1},
        },
    }
    for key, value in changes.items():
        data[key] = {**data[key], **value} if isinstance(value, dict) else value
    run_id = rundir.create(runs_dir, validate(data), token=None, parent=None, cwd=Path.cwd())
    return runs_dir / run_id


@pytest.mark.parametrize(
    ("method", "model"),
    [("rpo", "llama"), ("dro", "llama"), ("kto", "llama"), ("sft", "llama"), ("rpo", "t5")],
)
def test_each_method_leaves_an_ordinary_run(ground, tmp_path, method, model):
    run_dir = made(ground, tmp_path, method, model)
    assert main([str(run_dir)]) == 0
    assert read_state(run_dir)["status"] == "finished"
    store = Store(tmp_path)
    metrics = store.sql("SELECT step, split, name, value FROM metrics")
    by_name = metrics.groupby("name")["value"].agg(list)
    assert len(by_name["loss"]) == 4
    assert by_name["rows/total"] == [52.0] and by_name["rows/missing_reward"] == [1.0]
    assert by_name["rows/empty_response"] == [1.0] and by_name["rows/single_row"] == [1.0]
    if model == "llama":  # 140 tokens against a context of 128; the T5 has 64 for each side
        assert by_name["rows/too_long"] == [1.0] and by_name["rows/kept"] == [49.0]
    assert np.isfinite(by_name["kl"]).all() and by_name["train_seconds"][0] > 0
    warnings = store.sql("SELECT code, message, advice FROM warnings")
    assert {"single_row", "missing_reward", "empty_response", "too_long"} <= set(warnings["code"])
    assert warnings["advice"].str.len().min() > 0
    phases = store.sql("SELECT phase, step, count(*) AS n FROM evaluations GROUP BY ALL")
    assert sorted(zip(phases["phase"], phases["step"], phases["n"], strict=True)) == [
        ("after", 4, 2),
        ("before", 0, 2),
    ]
    probes = store.sql("SELECT step FROM rollouts WHERE split = 'probe' GROUP BY step")
    assert sorted(probes["step"]) == [0, 2, 4]
    saved = store.sql("SELECT step, path FROM checkpoints ORDER BY step")
    assert list(saved["step"]) == [2, 4]
    names = {path.name for path in (run_dir / TRAIN).iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "trainer.json"} <= names
    assert not [name for name in names if name.endswith(".bin")]
    log = (run_dir / "config.yaml").read_text()
    assert f"method: {method}" in log


@pytest.mark.parametrize("method", ["dro", "kto"])
def test_a_resumed_run_ends_where_one_that_ran_through_does(ground, tmp_path, method):
    quiet = {"evaluation": {"prompts": 0}, "probe": {"prompts": 0}}
    whole = made(ground, tmp_path, method, name="whole", **quiet)
    assert main([str(whole)]) == 0
    resumed = made(ground, tmp_path, method, name="resumed", **quiet)
    shutil.copytree(whole / "checkpoints/step-000002", resumed / "checkpoints/step-000002")
    assert main([str(resumed), "--resume"]) == 0
    first, second = (load_file(d / TRAIN / "model.safetensors") for d in (whole, resumed))
    for name, tensor in first.items():
        np.testing.assert_array_equal(tensor, second[name], err_msg=name)
    base = load_file(ground / "llama/model.safetensors")
    assert any(not np.array_equal(tensor, base[name]) for name, tensor in first.items())
    if method == "dro":
        first, second = (load_file(d / TRAIN / "value.safetensors") for d in (whole, resumed))
        for name, tensor in first.items():
            np.testing.assert_array_equal(tensor, second[name], err_msg=name)


def test_a_stop_file_ends_it_with_a_checkpoint(ground, tmp_path):
    run_dir = made(ground, tmp_path, "rpo", evaluation={"prompts": 0})
    (run_dir / "stop").touch()
    assert main([str(run_dir)]) == 0
    assert read_state(run_dir)["status"] == "stopped"
    assert (run_dir / "checkpoints/step-000001/trainer.json").is_file()


@pytest.mark.parametrize("method", ["kto", "sft"])
def test_trl_methods_refuse_an_encoder_decoder(ground, tmp_path, method):
    run_dir = made(ground, tmp_path, method, "t5", evaluation={"prompts": 0})
    assert main([str(run_dir)]) == 1
    message = read_state(run_dir)["message"]
    assert "encoder-decoder" in message and "'rpo' and 'dro'" in message


def test_refused_rows_fail_the_run_with_the_reason(ground, tmp_path):
    rules = {"rules": {"empty_response": "refuse"}}
    run_dir = made(ground, tmp_path, "rpo", offline=rules)
    assert main([str(run_dir)]) == 1
    assert "offline.rules.empty_response: 1 rows" in read_state(run_dir)["message"]


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"kto": {"extra": {"max_steps": 3}}}, "offline.kto.extra.max_steps: set by the run"),
        ({"kto": {"extra": {"betta": 3}}}, "offline.kto.extra.betta: unknown"),
    ],
)
def test_fields_of_trl_that_do_not_fit_are_refused(ground, tmp_path, section, message):
    run_dir = made(ground, tmp_path, "kto", offline=section, evaluation={"prompts": 0})
    assert main([str(run_dir)]) == 1
    assert message in read_state(run_dir)["message"]
