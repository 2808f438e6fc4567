"""Make the two models that ship with the etudes, and their cards.

    python -m workbench.tasks.etudes.build [--out DIR] [--seed 0]

Takes a few minutes on one core. The result depends on the seed alone (and, in the last digits, on
the processor). Nothing is downloaded.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from random import Random

import torch
from rich.progress import Progress
from transformers import PreTrainedTokenizerFast, TrainerCallback
from transformers.utils import logging as transformers_logging

from workbench.tasks.etudes import FAMILIES, MODELS, load, taste, warmstart
from workbench.tasks.etudes.cards import Figures, measure, policy_card, reward_card

POLICY_STEPS, POLICY_BATCH, POLICY_RATE = 2200, 64, 6e-3
REWARD_STEPS, REWARD_PAIRS = 250, 12_800


class Ticks(TrainerCallback):
    """Moves a progress bar with each step of a Trainer."""

    def __init__(self, progress: Progress, task: int) -> None:
        self.progress, self.task = progress, task

    def on_step_end(self, args, state, control, **kwargs):  # type: ignore[no-untyped-def]
        """One step is done."""
        self.progress.advance(self.task)  # type: ignore[arg-type]


def build_policy(out: Path, seed: int, progress: Progress) -> None:
    """Train and save the warm start."""
    tokenizer = warmstart.make_tokenizer(warmstart.CHAT)
    model = warmstart.new_policy(seed)
    bar = progress.add_task("policy", total=POLICY_STEPS)

    def tick(loss: float) -> None:
        progress.update(bar, advance=1, description=f"policy, loss {loss:.3f}")

    rows = warmstart.demonstrations(tokenizer, Random(seed))
    warmstart.train_policy(model, rows, POLICY_STEPS, POLICY_BATCH, POLICY_RATE, tick)
    warmstart.save_policy(model, tokenizer, out)


def build_reward(out: Path, seed: int, progress: Progress) -> None:
    """Train and save the reward model."""
    tokenizer: PreTrainedTokenizerFast = warmstart.make_tokenizer(taste.CHAT)
    model = taste.new_reward_model(seed)
    bar = progress.add_task("reward model", total=REWARD_STEPS)
    with tempfile.TemporaryDirectory() as scratch:
        taste.train_reward_model(
            model,
            tokenizer,
            taste.pairs(Random(seed + 1), REWARD_PAIRS),
            REWARD_STEPS,
            Path(scratch),
            seed,
            Ticks(progress, bar),
        )
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)


def write_cards(policy: Path, reward: Path) -> Figures:
    """Measure both models on the calibration prompts and write a README.md beside each."""
    figures = measure(policy, reward, load().calibration)
    (policy / "README.md").write_text(policy_card(figures), encoding="utf-8")
    (reward / "README.md").write_text(reward_card(figures), encoding="utf-8")
    return figures


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the arguments, build, report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=MODELS, help="where policy/ and reward/ go")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=("policy", "reward", "cards"), help="make this part only")
    arguments = parser.parse_args(argv)
    policy, reward = arguments.out / "policy", arguments.out / "reward"
    torch.set_num_threads(1)  # the same sums in the same order on every machine
    transformers_logging.disable_progress_bar()
    with Progress() as progress:
        if arguments.only in (None, "policy"):
            build_policy(policy, arguments.seed, progress)
        if arguments.only in (None, "reward"):
            build_reward(reward, arguments.seed, progress)
    figures = write_cards(policy, reward)
    print(f"{'kind':<10} judge of the warm start, agreement of the reward model with the judge")
    for kind in FAMILIES:
        print(f"{kind:<10} {figures.judge[kind]:.2f}  {figures.agreement[kind]:.2f}")


if __name__ == "__main__":
    main()
