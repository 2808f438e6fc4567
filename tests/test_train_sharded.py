"""A policy spread over two processes (FSDP 2): saved whole, resumed to the bit."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from tiny_models import save_tiny
from transformers import AutoModelForCausalLM

from workbench import Workbench
from workbench.runs import spawn
from workbench.runs.rundir import ENDED

pytestmark = pytest.mark.slow
FSDP = {
    "ACCELERATE_USE_FSDP": "true",
    "FSDP_VERSION": "2",
    "FSDP_AUTO_WRAP_POLICY": "TRANSFORMER_BASED_WRAP",
    "FSDP_RESHARD_AFTER_FORWARD": "true",
    "FSDP_STATE_DICT_TYPE": "FULL_STATE_DICT",
}
COMPARED = ["step", "group_id", "sample", "completion", "weights", "advantage"]


def test_a_sharded_run_that_was_stopped_ends_as_one_that_ran_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    child = str(Path(__file__).with_name("sharded_child.py"))
    monkeypatch.setattr(spawn, "CHILD", (child,))
    for key, value in (FSDP | {"OMP_NUM_THREADS": "1"}).items():
        monkeypatch.setenv(key, value)
    policy = save_tiny(tmp_path / "qwen", "qwen3")
    config = {
        "steps": 12,
        "policy": {"model": str(policy)},
        "objectives": ["length", "perplexity"],
        "scalarizer": {"name": "conductor", "update_every": 1},
        "grpo": {"num_generations": 2, "prompts_per_step": 2, "max_completion_length": 4},
        "probe": {"prompts": 2, "every": 4, "num_generations": 2},
        "evaluation": {"prompts": 2},
        "logging": {"checkpoint_every": 2, "keep_checkpoints": 20},
    }
    wb = Workbench(tmp_path / "runs", limit=None)
    whole = wb.start(config, processes=2)
    whole.wait()
    assert whole.status == "finished", whole.log()[0]
    halves = wb.start(config, processes=2)
    while halves.info.step < 3 and halves.status not in ENDED:
        time.sleep(0.05)
    halves.stop()
    assert halves.status == "stopped" and halves.info.step < 12, halves.log()[0]
    halves.resume()
    halves.wait()
    assert halves.status == "finished", halves.log()[0]

    ours, theirs = wb.rollouts(halves, split="train"), wb.rollouts(whole, split="train")
    assert len(ours) == 12 * 4
    for column in COMPARED:
        assert ours[column].tolist() == theirs[column].tolist(), column
    last = [wb.launcher.path(run) / "checkpoints" / "step-000012" for run in (halves, whole)]
    policies = [AutoModelForCausalLM.from_pretrained(path).state_dict() for path in last]
    start = AutoModelForCausalLM.from_pretrained(policy).state_dict()
    for name, tensor in policies[1].items():
        np.testing.assert_array_equal(policies[0][name], tensor, err_msg=name)
        assert tensor.shape == start[name].shape
    assert any((policies[1][n] != start[n]).any() for n in start)  # it was trained at all
