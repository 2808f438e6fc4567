"""Two finished runs, made up but whole: what the pages and their pictures are tested on.

The first run's Conductor leans on another objective for each kind, so that pictures show
something; one completion and one prompt are an attack, one group is flat.
"""

from __future__ import annotations

from collections.abc import Iterator
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
PROMPTS = (
    ("fact", "what color is the snow ?"),
    ("fact", "what color is the corn ?"),
    ("list", "list four colors"),
    ("list", "list three animals"),
    ("story", "tell a story about a hen"),
    ("comfort", "my friend is sad <b>today</b>"),
)
LEANS = {"fact": 0, "list": 1, "story": 2, "comfort": 4}
WORDS = "red orange white grey blue hen crow the list sky ; 1 2 3 4".split()
ATTACK = (
    "<img src=x onerror=window.pwned=1><script>window.pwned=1</script> "
    "${window.pwned=1} {{constructor}} =1+1 \u202egnp.exe"
)
STEPS, SIZE = 24, 8


def make_world(runs_dir: Path, steps: int = STEPS) -> Path:
    """Make the runs directory; returns it."""
    runs_dir.mkdir(parents=True)
    for seed, name in enumerate(("equal", "maestro")):
        sets = [f"name={name}", f"steps={steps}", f"seed={seed}", f"grpo.num_generations={SIZE}"]
        if name == "equal":
            sets.append("scalarizer.name=static")
        config = load("quick", sets)
        run_id = rundir.create(runs_dir, config, token=None, parent=None, cwd=Path.cwd())
        fill(runs_dir / run_id, seed, steps)
        write_state(
            runs_dir / run_id, status="finished", step=steps, steps=steps, attempt=1,
            steps_per_second=6.1, headline=0.52 + 0.1 * seed,
        )  # fmt: skip
    return runs_dir


def fill(run_dir: Path, seed: int, steps: int) -> None:
    """Publish everything that a run of this length would."""
    rng = np.random.default_rng(seed)
    with RunWriter(run_dir) as writer:
        evaluate(writer, rng, 0, "before", 0.42)
        for step in range(steps):
            writer.rollouts(batch(rng, step, "train", seed, steps))
            if step % 6 == 0:
                writer.rollouts(batch(rng, step, "probe", seed, steps))
        evaluate(writer, rng, steps, "after", 0.5 + 0.12 * seed)
        writer.warning(
            steps, "collapse", "Emphasis entropy fell below 0.1 on 60 % of prompts.",
            "Raise entropy_coef, or lower the Conductor's learning_rate.",
        )  # fmt: skip
    (run_dir / "log.txt").write_text(
        "".join(f"step {i} of {steps}: reward 0.{40 + i} <b>not bold</b>\n" for i in range(steps))
        + f"{ATTACK}\n"
    )


def batch(rng: np.random.Generator, step: int, split: str, seed: int, steps: int) -> RolloutBatch:
    """One step: every prompt once, eight completions each, group by group."""
    groups, rows, k = len(PROMPTS), len(PROMPTS) * SIZE, len(NAMES)
    kinds = [kind for kind, _ in PROMPTS for _ in range(SIZE)]
    texts = [" ".join(rng.choice(WORDS, rng.integers(3, 11))) for _ in range(rows)]
    lean = np.array([np.eye(k)[LEANS[kind]] for kind, _ in PROMPTS])  # (groups, K)
    sure = 1.0 + 9.0 * seed * step / steps
    policy = np.stack([rng.dirichlet(30 * (0.12 + 0.05 * sure * row)) for row in lean])
    policy = np.repeat(policy, SIZE, axis=0)  # (N, K)
    rewards = rng.normal([0.45, 0.8, 0.3, 0.6, 0.35], [0.1, 0.15, 0.05, 0.12, 0.15], (rows, k))
    rewards = np.clip(rewards + 0.004 * step, 0, 1)
    if split == "train" and step == 3:
        texts[0] = ATTACK
        rewards[SIZE : 2 * SIZE] = 0.5  # the second group is flat on every objective
    actions = np.array([rng.choice(k, p=p) for p in policy]) if seed else None
    weights = 0.5 / k + 0.5 * np.eye(k)[actions] if seed else np.full((rows, k), 1 / k)
    scalars, advantages = aggregate(rewards, weights, SIZE)
    lengths = [len(text.split(" ")) + 1 for text in texts]
    known: dict[str, Any] = {
        "step": step,
        "split": split,
        "objectives": NAMES,
        "num_generations": SIZE,
        "prompts": [prompt for _, prompt in PROMPTS for _ in range(SIZE)],
        "prompt_ids": [f"p{i}" for i in range(groups) for _ in range(SIZE)],
        "kinds": kinds,
        "completions": texts,
        "num_tokens": np.array(lengths),
        "truncated": rng.random(rows) < 0.1,
        "rewards": rewards,
        "weights": weights,
        "policy": policy if seed else None,
        "actions": actions,
        "scalars": scalars,
        "advantages": advantages,
        "kl": np.abs(rng.normal(0, 0.1, rows)),
        "judge": rng.random(rows) if split == "probe" or step % 3 == 0 else None,
        "token_ids": [list(range(n)) for n in lengths],
        "token_entropies": [rng.gamma(1.0, 0.6, n) for n in lengths],
    }
    return RolloutBatch(**known)


def evaluate(
    writer: RunWriter, rng: np.random.Generator, step: int, phase: str, level: float
) -> None:
    """Publish one held-out evaluation, two completions a prompt."""
    prompts = [(k, f"{p} ({i})", f"e{j}-{i}") for j, (k, p) in enumerate(PROMPTS) for i in range(4)]
    rows = list(_twice(prompts))
    n = len(rows)
    writer.evaluation(
        {
            "step": step,
            "phase": phase,
            "split": "report",
            "kind": [kind for kind, _, _ in rows],
            "prompt_id": [identity for _, _, identity in rows],
            "prompt": [prompt for _, prompt, _ in rows],
            "reference": [None] * n,
            "sample": np.arange(n, dtype=np.int32) % 2,
            "completion": [" ".join(rng.choice(WORDS, 7)) for _ in rows],
            "num_tokens": np.full(n, 8),
            "truncated": np.zeros(n, dtype=bool),
            "rewards": (NAMES, np.clip(rng.normal(level, 0.15, (n, len(NAMES))), 0, 1)),
            "weights": (NAMES, np.full((n, len(NAMES)), 0.2)),
            "judge": np.clip(rng.normal(level, 0.15, n), 0, 1),
        }
    )


def _twice(items: list[tuple[str, str, str]]) -> Iterator[tuple[str, str, str]]:
    for item in items:
        yield item
        yield item
