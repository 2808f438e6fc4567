"""The real thing through the command line: a shortened `quick`, watched, audited, made again."""

import json
import os
import shlex
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from workbench import Workbench
from workbench.core.advantages import aggregate

# one worker, so that the run is made once
pytestmark = pytest.mark.xdist_group("cli_real")

ROOT = Path(__file__).parent.parent
STEPS, PROMPTS, SIZE = 6, 4, 4
SHORT = [
    f"steps={STEPS}",
    f"grpo.prompts_per_step={PROMPTS}",
    f"grpo.num_generations={SIZE}",
    "evaluation.prompts=14",
    "evaluation.num_generations=1",
    "probe={prompts: 7, every: 3, num_generations: 2}",
    "logging.checkpoint_every=0",
]


def command(*words, **more):
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    line = [sys.executable, "-m", "workbench", *words]
    return subprocess.Popen(
        line, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **more
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run: its directory, its JSON, and what a query saw while it trained."""
    folder = tmp_path_factory.mktemp("real")
    run = command("run", "quick", "--json", "--name", "first", "--set", *SHORT, cwd=folder)
    seen = []
    while run.poll() is None:
        if any(folder.glob("runs/*/segments/rollouts/*.parquet")):
            query = "SELECT count(*) AS n, max(step) AS step FROM rollouts WHERE split = 'train'"
            other = command("query", query, "--json", cwd=folder)
            out, err = other.communicate(timeout=120)
            assert other.returncode == 0, err
            if run.poll() is None:
                seen.append(json.loads(out)[0]["n"])
        time.sleep(0.05)
    out, err = run.communicate()
    assert run.returncode == 0, err
    return folder, json.loads(out), seen


def test_the_run_adds_up(finished):
    folder, outcome, seen = finished
    wb = Workbench(folder / "runs")
    rows = wb.rollouts("first", split="train")
    assert outcome["rollouts"] == len(rows) == STEPS * PROMPTS * SIZE
    assert outcome["status"] == "finished" and outcome["step"] == STEPS
    assert len(outcome["per_family"]) == 7
    for family in outcome["per_family"].values():
        assert 0 <= family["judge_before"] <= 1 and 0 <= family["judge_after"] <= 1
        assert sum(family["weights"].values()) == pytest.approx(1)
    assert len(wb.conductor("first")) >= 2
    assert seen and seen == sorted(seen)


def test_advantages_are_those_of_the_logged_rewards_and_weights(finished):
    folder, _, _ = finished
    wb = Workbench(folder / "runs")
    config = wb.config("first")
    names = config.objective_names
    rows = wb.rollouts("first", split="train")
    assert config.reward_scaling == "none" and rows["scaled"].isna().all()
    rewards = np.array([[dict(r)[n] for n in names] for r in rows["rewards"]])
    weights = np.array([[dict(r)[n] for n in names] for r in rows["weights"]])
    assert weights.sum(axis=1) == pytest.approx(1)
    for step, part in rows.groupby("step"):
        index = part.index
        _, advantages = aggregate(
            rewards[index], weights[index], SIZE, config.aggregation, config.grpo.scale_rewards
        )
        assert part["advantage"].to_numpy() == pytest.approx(advantages, abs=1e-9), step


def test_the_recipe_makes_the_same_run_again(finished):
    folder, _, _ = finished
    wb = Workbench(folder / "runs")
    words = shlex.split(wb.reproduce("first")["command"])
    assert words[:3] == ["python", "-m", "workbench"]
    again = command(*words[3:], "--name", "again", cwd=folder)
    _, err = again.communicate(timeout=280)
    assert again.returncode == 0, err
    first, second = wb.rollouts("first", split="train"), wb.rollouts("again", split="train")
    assert list(first["completion"]) == list(second["completion"])
    assert list(first["advantage"]) == list(second["advantage"])
