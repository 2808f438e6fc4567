"""Two processes (gloo) and one: the same numbers from the same rows; a run that is shared."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, np.ndarray]]:
    """What one process and each of two ended with."""
    folder = tmp_path_factory.mktemp("two")
    done = subprocess.run(
        [sys.executable, str(HERE / "two_processes.py"), str(folder)],
        env=os.environ | {"PYTHONPATH": f"{HERE.parent}{os.pathsep}{HERE}", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return {name: dict(np.load(folder / f"{name}.npz")) for name in ("one", "rank0", "rank1")}


@pytest.mark.parametrize("meta", ["advantage", "anchor"])
def test_two_processes_end_with_the_advantages_and_the_conductor_of_one(ended, meta):
    one, two = ended["one"], ended["rank0"]
    advantages = one[f"{meta}/advantages"]
    assert advantages.shape == (5, 12) and np.abs(advantages).max() > 0.5
    np.testing.assert_allclose(two[f"{meta}/advantages"], advantages, atol=1e-6)
    conductor = [k for k in one if k.startswith(f"{meta}/conductor/")]
    moved = [k for k in conductor if np.abs(one[k]).max() > 1e-3]
    assert len(moved) >= 2  # it has learned something that could differ
    for key in conductor:
        np.testing.assert_allclose(two[key], one[key], atol=1e-6, err_msg=key)


def test_both_processes_hold_the_same_conductor_and_policy_to_the_last_bit(ended):
    assert ended["rank0"].keys() == ended["rank1"].keys()
    for key, value in ended["rank0"].items():
        if not key.endswith("/published"):
            np.testing.assert_array_equal(ended["rank1"][key], value, err_msg=key)


def test_the_first_process_publishes_and_the_other_is_silent(ended):
    counts = {name: [int(v) for k, v in a.items() if k.endswith("/published")]
              for name, a in ended.items()}  # fmt: skip
    assert counts == {"one": [5, 5], "rank0": [5, 5], "rank1": [0, 0]}
