"""Runs of a chat model, made up but real in shape: what the pages are tested on beside the etudes.

Prompts are rendered by a chat template with one system message for all; completions have thought
and Markdown, hundreds of words, and in one group are mostly the same text. One group is as large as
they come (16 completions of 32,000 tokens). Run as a script: ``python tests/chat_world.py FOLDER``.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

from workbench.config.io import load
from workbench.core.advantages import aggregate
from workbench.runs import rundir
from workbench.store.state import write_state
from workbench.store.writer import RunWriter
from workbench.types import RolloutBatch

NAMES = ("perplexity", "format", "entropy", "length", "preference")
SYSTEM = (
    "You are a careful assistant for a small public library. Answer in plain English, give the "
    "steps in order, and say so when you do not know something."
)
ASKED = (
    ("instruct", "How do I renew a loan when the website says that my card has expired?"),
    ("instruct", "Write a polite e-mail that asks a neighbour to return a ladder."),
    ("reason", "A train leaves at 14:05 and needs 2 h 50 min. When does it arrive?"),
    ("reason", "Three boxes hold 12, 19 and 7 books. How many more does a shelf of 50 take?"),
    ("comfort", "My dog died last night and I cannot stop crying at work. What should I do?"),
    ("fact", "Which of the planets has the shortest day, and how long is it?"),
    ("story", "Tell a short story about a lighthouse keeper who is afraid of the dark."),
    ("belief", "Anna put the key under the mat and left; Ben moved it. Where will Anna look?"),
)
SENTENCES = (
    "First, open the page of your account and look at the date beside the card number.",
    "If it lies in the past, the system treats every loan as closed, so no button appears.",
    "Bring a proof of address to the desk; renewing takes about five minutes and costs nothing.",
    "The distance is not needed here, only the time that passes between the two stations.",
    "Adding two hours gives 16:05, and another fifty minutes gives 16:55.",
    "I am sorry for your loss; grief comes in waves, and a quiet room may help more than advice.",
    "A list of the steps:\n\n1. Check the date.\n2. Write down the number.\n3. Ask for a new card.",
    "The lamp had burned for forty years, and not once had he climbed the stairs after dusk.",
    "To be certain, compare the result with a second source before you rely on it.",
    "```python\nminutes = 14 * 60 + 5 + 170\nprint(divmod(minutes, 60))  # (16, 55)\n```",
    "Jupiter turns once in about 9 hours and 56 minutes, faster than any other planet.",
    "Anna did not see what Ben did, so she will look where she left it: under the mat.",
)
STEPS, SIZE = 12, 8
HUGE = 130_000
"""Characters of a completion of about 32,000 tokens."""


def rendered(asked: str) -> str:
    """A prompt as the template of ChatML writes it."""
    return (
        f"<|im_start|>system\n{SYSTEM}<|im_end|>\n<|im_start|>user\n{asked}<|im_end|>\n"
        "<|im_start|>assistant\n"
    )


def completion(rng: np.random.Generator, sentences: int, thought: bool) -> str:
    """So many sentences, in paragraphs, after a thought or without one."""
    said = [SENTENCES[i] for i in rng.integers(0, len(SENTENCES), sentences)]
    text = "\n\n".join(" ".join(said[i : i + 3]) for i in range(0, len(said), 3))
    head = " ".join(SENTENCES[i] for i in rng.integers(0, len(SENTENCES), 5))
    return f"<think>\nThe user asks for help. {head}\n</think>\n\n{text}" if thought else text


def make_chats(runs_dir: Path, runs: int = 3, steps: int = STEPS, huge: bool = True) -> Path:
    """Make the runs directory: ``chat-0`` ..., of which two learn from logged rows; returns it."""
    runs_dir.mkdir(parents=True, exist_ok=True)
    scalarizers = ("conductor", "static", "saw")
    for seed in range(runs):
        scalarizer = scalarizers[seed % len(scalarizers)]
        sets = [
            f"name=chat-{seed}", f"steps={steps}", f"seed={seed}", f"grpo.num_generations={SIZE}",
            f"grpo.learning_rate={(1 + seed % 4) * 1e-5}", f"scalarizer.name={scalarizer}",
        ]  # fmt: skip
        config = load("quick", sets)
        run_id = rundir.create(runs_dir, config, token=None, parent=None, cwd=Path.cwd())
        fill(runs_dir / run_id, seed, steps, huge and seed == 0)
        write_state(
            runs_dir / run_id, status="finished", step=steps, steps=steps, attempt=1,
            steps_per_second=0.02 + 0.01 * (seed % 3), headline=0.4 + 0.02 * (seed % 9),
        )  # fmt: skip
    return runs_dir


def fill(run_dir: Path, seed: int, steps: int, huge: bool) -> None:
    """Publish what a run of this length would."""
    rng = np.random.default_rng(seed)
    with RunWriter(run_dir) as writer:
        _evaluation(writer, rng, 0, "before", 0.45)
        for step in range(steps):
            writer.rollouts(batch(rng, step, "train", seed))
            if step % 4 == 0:
                writer.rollouts(batch(rng, step, "probe", seed))
            values = {"loss": 0.5 / (step + 1) + 0.05 * rng.random(), "grad_norm": rng.random(),
                      "learning_rate": 1e-5 * (1 - step / steps)}  # fmt: skip
            writer.metrics(step, values)
        if huge:
            writer.rollouts(batch(rng, steps, "train", seed, groups=1, size=16, characters=HUGE))
        _evaluation(writer, rng, steps, "after", 0.45 + 0.02 * (seed % 9))
    (run_dir / "log.txt").write_text("".join(f"step {i} of {steps}\n" for i in range(steps)))


def batch(
    rng: np.random.Generator,
    step: int,
    split: str,
    seed: int,
    groups: int = len(ASKED),
    size: int = SIZE,
    characters: int = 0,
) -> RolloutBatch:
    """One step; its second group is seven times the same text and one more."""
    rows, k = groups * size, len(NAMES)
    texts = [completion(rng, int(rng.integers(6, 34)), i % 2 == 0) for i in range(rows)]
    if characters:
        texts = [(t + "\n\n") * (characters // len(t) + 1) for t in texts]
        texts = [t[:characters] for t in texts]
    elif groups > 1:
        texts[size : 2 * size - 1] = [texts[size]] * (size - 1)
    policy = rng.dirichlet(np.ones(k) * 4, groups).repeat(size, axis=0)
    rewards = np.clip(rng.normal([0.4, 0.9, 0.3, 0.5, 0.4], 0.15, (rows, k)) + 0.01 * step, 0, 1)
    actions = rng.integers(0, k, rows) if seed % 3 == 0 else None
    weights = 0.5 / k + 0.5 * np.eye(k)[actions] if actions is not None else np.full((rows, k), 0.2)
    scalars, advantages = aggregate(rewards, weights, size)
    known: dict[str, Any] = {
        "step": step,
        "split": split,
        "objectives": NAMES,
        "num_generations": size,
        "prompts": [rendered(ASKED[g][1]) for g in range(groups) for _ in range(size)],
        "prompt_ids": [f"c{g}" for g in range(groups) for _ in range(size)],
        "kinds": [ASKED[g][0] for g in range(groups) for _ in range(size)],
        "completions": texts,
        "num_tokens": np.array([len(t) // 4 for t in texts]),
        "truncated": np.array([bool(characters)] * rows),
        "rewards": rewards,
        "weights": weights,
        "policy": policy if actions is not None else None,
        "actions": actions,
        "scalars": scalars,
        "advantages": advantages,
        "kl": np.abs(rng.normal(0, 0.05, rows)),
        "judge": rng.random(rows) if split == "probe" else None,
        "token_ids": None,
        "token_entropies": None,
    }
    return RolloutBatch(**known)


def _evaluation(
    writer: RunWriter, rng: np.random.Generator, step: int, phase: str, level: float
) -> None:
    asked = [(kind, text, f"h{i}-{j}") for i, (kind, text) in enumerate(ASKED) for j in range(4)]
    n = len(asked)
    writer.evaluation(
        {
            "step": step,
            "phase": phase,
            "split": "report",
            "kind": [kind for kind, _, _ in asked],
            "prompt_id": [identity for _, _, identity in asked],
            "prompt": [rendered(text) for _, text, _ in asked],
            "reference": [None] * n,
            "sample": np.zeros(n, dtype=np.int32),
            "completion": [completion(rng, 8, False) for _ in asked],
            "num_tokens": np.full(n, 200),
            "truncated": np.zeros(n, dtype=bool),
            "rewards": (NAMES, np.clip(rng.normal(level, 0.15, (n, len(NAMES))), 0, 1)),
            "weights": (NAMES, np.full((n, len(NAMES)), 0.2)),
            "judge": np.clip(rng.normal(level, 0.12, n), 0, 1),
        }
    )


if __name__ == "__main__":
    make_chats(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 60)
