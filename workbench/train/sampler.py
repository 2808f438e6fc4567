"""The prompts of every step of a plan, fixed by the seed before the first one is sampled."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from torch.utils.data import Sampler

PURPOSE = 4  # keeps these draws apart from the Conductor's, which share the seed


class PromptOrder(Sampler[int]):
    """Indices of prompts in the order TRL's dataloader wants them, for the whole run at once.

    Prompts come in passes, each a permutation of all of them that depends on (seed, pass) alone; a
    step may straddle two passes. Every index is repeated G times, and a whole generation batch as
    often as it is used. TRL's own sampler restarts its first permutation when a run is resumed.

    Args:
        num_prompts: Size of the training split.
        prompts_per_batch: Prompts of one generation batch.
        num_generations: G.
        batches: Generation batches of the whole plan.
        uses: How often TRL asks for each generation batch.
        seed: The run's seed.

    Raises:
        ValueError: There is no prompt.
    """

    def __init__(
        self,
        num_prompts: int,
        prompts_per_batch: int,
        num_generations: int,
        batches: int,
        uses: int,
        seed: int,
    ) -> None:
        if num_prompts < 1:
            raise ValueError(f"{num_prompts} prompts to train on; at least 1 is needed")
        self.num_prompts = num_prompts
        self.prompts_per_batch = prompts_per_batch
        self.num_generations = num_generations
        self.batches = batches
        self.uses = uses
        self.seed = seed

    def __len__(self) -> int:
        return self.batches * self.uses * self.prompts_per_batch * self.num_generations

    def __iter__(self) -> Iterator[int]:
        prompts = self._prompts()
        for _ in range(self.batches):
            batch = [next(prompts) for _ in range(self.prompts_per_batch)]
            rows = [index for index in batch for _ in range(self.num_generations)]
            for _ in range(self.uses):
                yield from rows

    def _prompts(self) -> Iterator[int]:
        passes = 0
        while True:
            rng = np.random.default_rng([self.seed, passes, PURPOSE])
            yield from rng.permutation(self.num_prompts).tolist()
            passes += 1
