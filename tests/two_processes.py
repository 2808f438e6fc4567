"""The same recorded completions through one process and through two; each writes how it ended.

Usage: ``python tests/two_processes.py FOLDER`` writes ``one.npz``, ``rank0.npz`` and ``rank1.npz``.
The two are forked from one that has imported everything, before anything was computed.
"""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path
from typing import Any

import numpy as np
from tiny_models import save_tiny
from tiny_runs import Recorder, tiny_trainer

from workbench.train.maestro import MaestroTrainer

STEPS, ROWS = 5, 12  # three groups of four: the middle one straddles the two processes
END = 2
SCALARIZERS: dict[str, dict[str, Any]] = {
    "advantage": {"name": "conductor", "update_every": 2, "learning_rate": 0.05},
    "anchor": {
        "name": "conductor",
        "meta_reward": "anchor",
        "anchor": {"source": "objective:low_words", "fraction": 0.67},
    },
}


def recorded(step: int, row: int) -> list[int]:
    """The completion of a row of a step, the same whoever asks."""
    rng = np.random.default_rng([step, row])
    return [*rng.integers(3, 40, rng.integers(1, 6)).tolist(), END]


class Replay(MaestroTrainer):
    """Generates what was recorded, instead of sampling."""

    def _generate_single_turn(self, prompt_ids: Any, *rest: Any) -> Any:
        first = self.accelerator.process_index * len(prompt_ids)
        step = self.state.global_step
        return [recorded(step, first + i) for i in range(len(prompt_ids))], None


def train(folder: Path, out: Path) -> None:
    """Train under every scalarizer and write advantages, Conductor and policy."""
    arrays: dict[str, np.ndarray] = {}
    for name, scalarizer in SCALARIZERS.items():
        recorder = Recorder()
        trainer = tiny_trainer(
            folder,
            recorder,
            steps=STEPS,
            scalarizer=scalarizer,
            grpo={"prompts_per_step": 3, "learning_rate": 1e-3},
        )
        trainer.__class__ = Replay
        own: list[np.ndarray] = []
        put_advantages = trainer._correct_log

        def keep(weighed: Any, own: list[np.ndarray] = own, then: Any = put_advantages) -> None:
            own.append(weighed.advantages)
            then(weighed)

        trainer._correct_log = keep  # type: ignore[method-assign]
        trainer.train()
        arrays[f"{name}/advantages"] = np.stack(own)
        arrays[f"{name}/published"] = np.array(len(recorder.batches))
        arrays |= {f"{name}/conductor/{k}": v for k, v in trainer.weighing.state().items()}
        model = trainer.accelerator.unwrap_model(trainer.model)
        arrays |= {f"{name}/policy/{k}": v.numpy() for k, v in model.state_dict().items()}
    np.savez(out, **arrays)


def main(folder: Path) -> int:
    """Fork the two, be the one, and wait for them."""
    save_tiny(folder / "model")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    children = []
    for rank in range(2):
        child = os.fork()
        if child == 0:
            os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2"}
            os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
            train(folder, folder / f"rank{rank}.npz")
            os._exit(0)
        children.append(child)
    train(folder, folder / "one.npz")
    return sum(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
