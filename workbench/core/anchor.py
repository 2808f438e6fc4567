"""The anchored Conductor: learns weights from a trusted score that is known for a few groups only.

The paper's meta-reward asks which weights make a response look good, and has no tie to what
anybody wants. Here a score U (a judge, a person's ratings, any signal) is asked for a share of the
groups. For a judged group with mean terminal state h:

    w = softmax((W h + b) / tau),  R_i = sum_k w_k z_ik,  A = group-normalised R,  V = same of U,

and the learner climbs mean_i A_i V_i + lambda H(w) by the gradient through w, over a replay of
the newest judged groups. mean_i A_i V_i is (G - 1) / G times the correlation of R and U in the
group. Why a correlation: under a natural-gradient step the change of the expected U is
proportional to its covariance with the advantage (the local covariance law behind CTWA,
arXiv 2602.06869, there between training objectives and for global weights); with shared parameters
and unequal lengths it is an approximation, one step deep.

What it cannot do: where U is no combination of the objectives, no weighting helps; then
``meta_reward``, the agreement on the replay itself, stays low however long it learns.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from workbench.core.advantages import EPSILON, group_z_scores, nan_mean_std
from workbench.core.conductor import HeadLearner, State, entropy
from workbench.core.emphasis import continuous_weights, floor_probabilities
from workbench.core.scene import Choice, Scene
from workbench.scalarizer_config import AnchorConfig
from workbench.scalarizer_config import Conductor as ConductorConfig
from workbench.types import Floats, Ints


def normalize_scores(scores: Floats) -> Floats:
    """Standardise U over the group, (G,) to (G,); 0 where a score is NaN or the group is flat."""
    mean, std = nan_mean_std(scores, axis=None)
    return np.nan_to_num((scores - mean) / (std + EPSILON), nan=0.0)


def anchored_objective(weights: torch.Tensor, z: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """Mean over groups of mean_i A_i V_i, differentiable in the weights.

    Args:
        weights: (M, K), one vector per judged group.
        z: (M, G, K) rewards of the judged groups, 0 where an objective does not apply.
        v: (M, G) standardised trusted scores.
    """
    r = (z * weights[:, None, :]).sum(dim=2)  # (M, G)
    centred = r - r.mean(dim=1, keepdim=True)
    # the floor keeps the gradient finite on flat groups, where the square root has none
    variance = (centred**2).sum(dim=1, keepdim=True) / max(1, r.shape[1] - 1)
    advantages = centred / (variance.clamp_min(1e-20).sqrt() + EPSILON)
    return (advantages * v).mean()


class AnchoredConductor(HeadLearner):
    """The Conductor under an anchored meta-reward; one weight vector per prompt, no sampling."""

    def __init__(
        self,
        config: ConductorConfig,
        objectives: Sequence[str],
        hidden_size: int,
        num_generations: int,
        seed: int = 0,
        aggregation: str = "sum_then_normalize",
    ) -> None:
        super().__init__(config, objectives, hidden_size, prompt=True)
        if config.anchor is None:
            raise ValueError("scalarizer.anchor: missing; meta_reward 'anchor' needs it")
        self.anchor: AnchorConfig = config.anchor
        self.num_generations = num_generations
        self.aggregation = aggregation
        self.conductor.weight.requires_grad_(self.anchor.head == "linear")
        self.optimizer = torch.optim.Adam(
            [p for p in self.conductor.parameters() if p.requires_grad],
            lr=self.anchor.learning_rate,
        )
        self.rng = np.random.default_rng(seed)
        self.replay: list[tuple[Floats, Floats, Floats]] = []
        self.due = 0.0
        self.spent = 0

    def weights(self, policy: Floats) -> Floats:
        """Weights of the distribution: itself, above the floor ``min_weight``."""
        return continuous_weights(policy, self.config.min_weight)

    def choose(self, scene: Scene, rng: np.random.Generator, explore: bool = True) -> Choice:
        """The distribution of each prompt's mean context, as weights of its whole group."""
        contexts = self.contexts(scene)
        if explore:
            self.moments.update(contexts)
        policy = self.policy(contexts)
        weights = self.weights(policy)
        if not explore:
            weights = floor_probabilities(weights, self.config.min_probability)
        return Choice(self.per_row(weights, scene), self.per_row(policy, scene))

    def anchor_groups(self, scene: Scene, rng: np.random.Generator) -> Ints:
        """Which groups to judge this step.

        Exactly floor(fraction * groups seen so far) groups are judged in all: what a step cannot
        spend whole is carried over, so that 1/16 of 8 groups is one group every second step.
        """
        self.due += self.anchor.fraction * scene.groups
        count = min(scene.groups, int(self.due + 1e-9))
        self.due -= count
        if count == 0:
            return np.zeros(0, dtype=np.int64)
        order = rng.permutation(scene.groups)
        if self.anchor.select != "random":
            appeal = self._appeal(scene)[order]
            order = order[np.argsort(-appeal, kind="stable")]  # ties stay in random order
        return np.sort(order[:count]).astype(np.int64)

    def _appeal(self, scene: Scene) -> Floats:
        """How much there is to learn from each group (B,)."""
        if self.anchor.select == "uncertain":
            policy = np.maximum(self.policy(self.contexts(scene)), 1e-300)
            return np.asarray(-(policy * np.log(policy)).sum(axis=1))
        z = np.nan_to_num(group_z_scores(scene.rewards, scene.num_generations), nan=0.0)
        grouped = z.reshape(scene.groups, scene.num_generations, -1)  # (B, G, K)
        return np.asarray(grouped.var(axis=2).mean(axis=1))

    def _scores(self, scores: Floats) -> Floats:
        """The group's trusted scores as the learner sees them: noise and shuffling applied."""
        seen = np.asarray(scores, dtype=np.float64)
        if self.anchor.noise:
            seen = seen + self.anchor.noise * self.rng.standard_normal(seen.shape)
        return self.rng.permutation(seen) if self.anchor.shuffle else seen

    def _remember(self, scene: Scene, anchors: Mapping[int, Floats]) -> dict[int, Floats]:
        size = self.num_generations
        if scene.num_generations != size:
            raise ValueError(f"num_generations: {scene.num_generations} is not the run's {size}")
        contexts = self.contexts(scene)
        decoupled = self.aggregation == "normalize_then_sum"
        z = group_z_scores(scene.rewards, size) if decoupled else scene.rewards
        seen: dict[int, Floats] = {}
        for group in sorted(anchors):
            if not 0 <= group < scene.groups:
                raise ValueError(f"anchors: group {group} is not among 0..{scene.groups - 1}")
            scores = np.asarray(anchors[group], dtype=np.float64)
            if scores.shape != (size,):
                raise ValueError(f"anchors[{group}]: shape {scores.shape} is not (G,) = ({size},)")
            self.spent += int((~np.isnan(scores)).sum())
            seen[group] = normalize_scores(self._scores(scores))
            rows = np.nan_to_num(z[group * size : (group + 1) * size], nan=0.0)
            self.replay.append((contexts[group], rows, seen[group]))
        self.replay = self.replay[-self.anchor.replay :]
        return seen

    def _policy_tensor(self, contexts: Floats) -> torch.Tensor:
        return self.conductor.log_probabilities(torch.from_numpy(self.standardize(contexts)))

    def objective(self, contexts: Floats, z: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        """Agreement on the judged groups plus lambda H(w) minus the ridge penalty."""
        log_policy = self._policy_tensor(contexts)
        m = self.config.min_weight
        weights = m + (1.0 - len(self.objectives) * m) * log_policy.exp()
        bonus = self.anchor.entropy_coef * entropy(log_policy).mean()
        penalty = self.anchor.ridge * (self.conductor.weight**2).sum()
        return anchored_objective(weights, z, v) + bonus - penalty

    def learn(
        self, scene: Scene, choice: Choice, advantages: Floats, anchors: Mapping[int, Floats]
    ) -> dict[str, float] | None:
        """Add the judged groups to the replay and take ``inner_steps`` Adam steps over it.

        ``anchor_agreement`` is mean A_i V_i over the groups judged now, under the advantages that
        trained the policy: the head had not seen these groups, so it is an honest estimate.

        Raises:
            ValueError: When an anchor names no group of the scene or has another size.
        """
        seen = self._remember(scene, anchors)
        metrics = {"anchor_spent": float(self.spent)}
        if seen:
            a = np.asarray(advantages, dtype=np.float64).reshape(scene.groups, -1)
            agreement = [float((a[group] * v).mean()) for group, v in seen.items()]
            metrics["anchor_agreement"] = float(np.mean(agreement))
        if not self.replay:
            return None
        contexts, z, v = (np.stack(part) for part in zip(*self.replay, strict=True))
        z_tensor, v_tensor = torch.from_numpy(z), torch.from_numpy(v)
        loss, grad_norm = torch.zeros(()), 0.0
        for _ in range(self.anchor.inner_steps):
            loss = -self.objective(contexts, z_tensor, v_tensor)
            grad_norm = self.step(loss)
        with torch.no_grad():
            log_policy = self._policy_tensor(contexts)
            fit = float(anchored_objective(log_policy.exp(), z_tensor, v_tensor))
        return metrics | {
            "loss": float(loss.detach()),
            "grad_norm": grad_norm,
            "meta_reward": fit,
            "replay_groups": float(len(self.replay)),
            **self.describe(log_policy),
        }

    def state(self) -> State:
        """Also the replay, the budget carried over and the generator of noise."""
        kept = super().state()
        kept["anchor/due"] = np.array(self.due)
        kept["anchor/spent"] = np.array(self.spent)
        text = json.dumps(self.rng.bit_generator.state).encode()
        kept["anchor/rng"] = np.frombuffer(text, dtype=np.uint8).copy()
        if self.replay:
            parts = zip(("contexts", "z", "v"), zip(*self.replay, strict=True), strict=True)
            kept |= {f"replay/{name}": np.stack(part) for name, part in parts}
        return kept

    def load(self, state: Mapping[str, np.ndarray[Any, Any]]) -> None:
        """Restore what ``state`` returned; continuing is then exact."""
        super().load(state)
        self.due = float(state["anchor/due"])
        self.spent = int(state["anchor/spent"])
        self.rng.bit_generator.state = json.loads(bytes(state["anchor/rng"]).decode())
        self.replay = []
        if "replay/contexts" in state:
            parts = [np.array(state[f"replay/{name}"]) for name in ("contexts", "z", "v")]
            self.replay = list(zip(*parts, strict=True))
