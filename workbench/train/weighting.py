"""From gathered rewards to advantages: scaling, weights, aggregation, anchors. Numpy only.

Every random draw comes from a generator made of (seed, step, purpose), so a step's weights depend
on nothing that happened before in the process: a resumed run, a run with other probe settings and
every process of a distributed run draw the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from workbench.config import RunConfig
from workbench.core.advantages import aggregate
from workbench.core.anchor import AnchoredConductor
from workbench.core.kernel_conductor import KernelConductor
from workbench.core.scalarizer_input import Ask, ScalarizerInput, Weighting
from workbench.core.scalarizers import Scalarizer, build_scalarizer
from workbench.core.scaling import ObjectiveScaling, RewardScaling
from workbench.train.ratings import Rated
from workbench.types import Floats, Ints

Bools = np.ndarray[Any, np.dtype[np.bool_]]
CHOOSE, ANCHOR, OBSERVE = 1, 2, 3  # purposes: what a generator is for
SCALING_PREFIX = "reward_scaling/"
State = dict[str, np.ndarray]


@dataclass(frozen=True)
class WeightedBatch:
    """The N rows of one batch with weights and advantages; ``penalty`` is what KL took away."""

    scene: ScalarizerInput
    rewards: Floats
    scaled: Floats | None
    choice: Weighting
    scalars: Floats
    advantages: Floats
    penalty: Floats | None = None


class Weighing:
    """The part of a run that turns rewards into advantages, with everything it remembers."""

    def __init__(
        self,
        config: RunConfig,
        bounds: Sequence[tuple[float | None, float | None]],
        hidden_size: int | None,
    ) -> None:
        """Build scaling and scalarizer from a configuration.

        Args:
            config: The run.
            bounds: (lower, upper) of each objective, where its own configuration gives none.
            hidden_size: D of the policy; only a Conductor needs it.

        Raises:
            ValueError: When settings do not fit the objectives.
        """
        self.config = config
        self.names = config.objective_names
        self.scaling = RewardScaling(
            [
                ObjectiveScaling(
                    o.name,
                    o.scaling or config.reward_scaling,
                    o.sign,
                    lower if o.lower is None else o.lower,
                    upper if o.upper is None else o.upper,
                    o.condition,
                )
                for o, (lower, upper) in zip(config.objectives, bounds, strict=True)
            ],
            config.center_objectives,
        )
        self.scalarizer: Scalarizer = build_scalarizer(
            config.scalarizer,
            self.names,
            hidden_size,
            config.grpo.num_generations,
            config.seed,
            config.aggregation,
            generations(config) * config.grpo.prompts_per_step,
        )

    def weigh(
        self,
        rewards: Floats,
        kinds: Sequence[str],
        num_generations: int,
        step: int,
        hidden: Floats | None = None,
        penalty: Floats | None = None,
        explore: bool = True,
        in_loss: Bools | None = None,
        ask: Ask | None = None,
    ) -> WeightedBatch:
        """Weights and advantages of N rows.

        ``explore=False`` is for probes and evaluations: the expected weights, and no memory of
        these rows in running statistics.

        Args:
            rewards: (N, K) as the objectives returned them.
            kinds: N kinds.
            num_generations: G.
            step: Policy updates so far.
            hidden: (N, D) terminal hidden states.
            penalty: (N,) beta * KL, where it enters the reward.
            explore: Sample as in training.
            in_loss: (N,) whether any token of a row enters the loss; the others carry no signal.
            ask: Pays for trusted scores of whole groups, where learning comes before weighing;
                None asks for none.
        """
        signed, scaled = self.scaling(rewards, num_generations, update=explore)
        scene = ScalarizerInput(
            rewards=scaled,
            raw=signed,
            lower=self.scaling.lower,
            upper=self.scaling.upper,
            kinds=kinds,
            num_generations=num_generations,
            step=step,
            hidden=None if hidden is None else np.asarray(hidden, dtype=np.float64),
            policy_steps=self.config.grpo.num_iterations,
        )
        if explore:
            self.scalarizer.observe(scene, self._rng(step, ANCHOR), ask or (lambda groups: {}))
        rng = self._rng(step, CHOOSE if explore else OBSERVE)
        choice = self.scalarizer.choose(scene, rng, explore)
        if in_loss is not None and not in_loss.all():
            mask = np.ones(len(in_loss)) if choice.mask is None else choice.mask
            choice = replace(choice, mask=mask * in_loss)
        scalars, advantages = aggregate(
            scaled,
            choice.weights,
            num_generations,
            self.config.aggregation,
            self.config.grpo.scale_rewards,
            penalty,
            choice.mask,
            choice.trusted,
            choice.trusted_share,
        )
        kept = scaled if self.scaling.changes_rewards else None
        return WeightedBatch(scene, rewards, kept, choice, scalars, advantages, penalty)

    def anchor_groups(self, weighed: WeightedBatch) -> Ints:
        """Groups whose trusted score the scalarizer wants at this step."""
        return self.scalarizer.anchor_groups(weighed.scene, self._rng(weighed.scene.step, ANCHOR))

    def learn(
        self, weighed: WeightedBatch, anchors: Mapping[int, Floats]
    ) -> dict[str, float] | None:
        """Let the scalarizer learn; metrics of its update, None when its clock says not yet."""
        return self.scalarizer.learn(weighed.scene, weighed.choice, weighed.advantages, anchors)

    def recall(self, rated: Rated) -> None:
        """Make the groups that people rated the replay of an anchored Conductor.

        Their rewards are scaled as this run's are, all groups as one batch.
        """
        learner = self.scalarizer
        if not isinstance(learner, AnchoredConductor | KernelConductor):
            raise ValueError(f"ratings: a {self.config.scalarizer.name!r} learns from none")
        groups, size, k = rated.rewards.shape
        scaled = rated.rewards
        if groups:
            flat = rated.rewards.reshape(groups * size, k)
            scaled = self.scaling(flat, size, update=False)[1].reshape(groups, size, k)
        learner.recall(rated.keys, rated.contexts, scaled, rated.scores)

    def state(self) -> State:
        """Everything to continue exactly: the scalarizer's arrays and the running moments."""
        scaling = {SCALING_PREFIX + k: v for k, v in self.scaling.state().items()}
        return {**self.scalarizer.state(), **scaling}

    def load(self, state: Mapping[str, np.ndarray]) -> None:
        """Restore what ``state`` returned."""
        own = {k: v for k, v in state.items() if not k.startswith(SCALING_PREFIX)}
        self.scalarizer.load(own)
        self.scaling.load(
            {k.removeprefix(SCALING_PREFIX): v for k, v in state.items() if k not in own}
        )

    def _rng(self, step: int, purpose: int) -> np.random.Generator:
        return np.random.default_rng([self.config.seed, step, purpose])


def generations(config: RunConfig) -> int:
    """How many batches of completions a run samples: one is trained on ``num_iterations`` times."""
    return -(-config.steps // config.grpo.num_iterations)
