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

A dozen judged groups against D x K parameters can be fitted by chance, and a score that says
nothing (a shuffled one) would still collapse the head. So before a newly judged group is learned
from, the learned weights are tried on it: the last 64 such groups give a probability that they are
better than equal ones (``alignment.trust_of``), and the weights used are
equal + trust * (learned - equal). It starts low, because prior odds that favoured the head let a
shuffled score cost three points of utility in planted worlds; a head that learns by gradient is
therefore believed late, and on the etudes lies some four points lower after 40 steps than with an
earlier gate that started at 0.9 and compared with nothing. ``gate`` switches it off.

While the head is young, equal weights train the policy, and on some prompts they do harm that takes
the rest of a run to undo. So the groups least like those judged so far are judged first, and the
advantages of groups that are like none are held back (``coverage``): on the etudes the two together
gain 3.6 points of the judge in 40 steps and 7.2 in 100.

What it cannot do: where U is no combination of the objectives, no weighting helps; then
``meta_reward``, the agreement on the replay itself, stays low however long it learns.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from workbench.config.scalarizers import AnchorConfig
from workbench.config.scalarizers import Conductor as ConductorConfig
from workbench.core.advantages import group_z_scores
from workbench.core.alignment import EVIDENCE, agreement, compared, normalize_scores, trust_of
from workbench.core.conductor import HeadLearner, State
from workbench.core.emphasis import continuous_weights, floor_probabilities, trusted_weights
from workbench.core.group_selection import JudgeBudget, coverage, most_novel, signal_share
from workbench.core.scalarizer_input import ScalarizerInput, Weighting
from workbench.types import Floats, Ints


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
        planned: int | None = None,
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
        self.budget = JudgeBudget(self.anchor.fraction, self.anchor.first, planned)
        self.spent = 0
        self.gains: list[Floats] = []
        self.rated: set[str] = set()

    @property
    def trust(self) -> float:
        """Share of the learned weights in those that are used."""
        if not self.anchor.gate:
            return 1.0
        return trust_of(np.reshape(self.gains, (-1, 4)))

    def weights(self, policy: Floats) -> Floats:
        """Weights of the distribution: itself, above the floor, as far as it is trusted."""
        learned = continuous_weights(policy, self.config.min_weight)
        return trusted_weights(learned, self.trust)

    def choose(
        self, scene: ScalarizerInput, rng: np.random.Generator, explore: bool = True
    ) -> Weighting:
        """The distribution of each prompt's mean context, as weights of its whole group."""
        contexts = self.contexts(scene)
        if explore:
            self.moments.update(contexts)
        policy = self.policy(contexts)
        weights = self.weights(policy)
        mask = None
        if explore:
            shares = self._signal_shares(contexts)
            mask = None if shares is None else self.per_row(shares[:, None], scene)[:, 0]
        else:
            weights = floor_probabilities(weights, self.config.min_probability)
        return Weighting(self.per_row(weights, scene), self.per_row(policy, scene), mask=mask)

    def _judged(self) -> Floats:
        """(M, D) standardised contexts of the groups in the replay."""
        contexts = [context for context, *_ in self.replay]
        return self.standardize(np.reshape(contexts, (-1, len(self.moments.mean))))

    def _signal_shares(self, contexts: Floats) -> Floats | None:
        """What is left of each group's advantages (B,); None where nothing is held back."""
        if self.anchor.caution == 0 or self.anchor.source == "ratings":
            return None
        covered = coverage(self.standardize(contexts), self._judged())
        return signal_share(covered, self.anchor.caution)

    def anchor_groups(self, scene: ScalarizerInput, rng: np.random.Generator) -> Ints:
        """Which groups to judge this step: as many as ``coverage.JudgeBudget`` allows.

        Under ``source: ratings`` none is judged: what people said comes through ``recall``.
        """
        if self.anchor.source == "ratings":  # ratings are there already: nothing is asked
            return np.zeros(0, dtype=np.int64)
        count = self.budget.take(scene.groups)
        if count == 0:
            return np.zeros(0, dtype=np.int64)
        order = rng.permutation(scene.groups)
        if self.anchor.select == "novel":
            contexts = self.standardize(self.contexts(scene))[order]
            order = order[most_novel(contexts, self._judged(), count)]
        elif self.anchor.select != "random":
            appeal = self._acquisition_score(scene)[order]
            order = order[np.argsort(-appeal, kind="stable")]  # ties stay in random order
        return np.sort(order[:count]).astype(np.int64)

    def _acquisition_score(self, scene: ScalarizerInput) -> Floats:
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

    def _remember(
        self, scene: ScalarizerInput, choice: Weighting, anchors: Mapping[int, Floats]
    ) -> list[float]:
        """Take judged groups into the replay; how far the weights used agree with each."""
        size = self.num_generations
        if scene.num_generations != size:
            raise ValueError(f"num_generations: {scene.num_generations} is not the run's {size}")
        contexts = self.contexts(scene)
        decoupled = self.aggregation == "normalize_then_sum"
        z = group_z_scores(scene.rewards, size) if decoupled else scene.rewards
        agreements: list[float] = []
        for group in sorted(anchors):
            if not 0 <= group < scene.groups:
                raise ValueError(f"anchors: group {group} is not among 0..{scene.groups - 1}")
            scores = np.asarray(anchors[group], dtype=np.float64)
            if scores.shape != (size,):
                raise ValueError(f"anchors[{group}]: shape {scores.shape} is not (G,) = ({size},)")
            self.spent += int((~np.isnan(scores)).sum())
            v = normalize_scores(self._scores(scores))
            rows = np.nan_to_num(z[group * size : (group + 1) * size], nan=0.0)
            used = choice.weights[group * size]
            agreements.append(agreement(used[None], rows[None], v[None])[0])
            self.gains.append(self._gain(contexts[group], rows, v))
            self.replay.append((contexts[group], rows, v))
        self.gains = self.gains[-EVIDENCE:]
        self.replay = self.replay[-self.anchor.replay :]
        return agreements

    def recall(self, keys: Sequence[str], contexts: Floats, z: Floats, scores: Floats) -> None:
        """Make these judged groups the whole replay: what people have rated so far.

        Groups that were not there before are tried against the learned weights first, as any newly
        judged group; those that were are learned from with the scores they have now.

        Args:
            keys: M names of groups.
            contexts: (M, D), not standardised.
            z: (M, G, K) their rewards, scaled as the run's are.
            scores: (M, G) trusted scores, NaN where nothing was said.
        """
        if self.aggregation == "normalize_then_sum" and len(keys):
            flat = z.reshape(-1, z.shape[2])
            z = group_z_scores(flat, z.shape[1]).reshape(z.shape)
        rows = np.nan_to_num(z, nan=0.0)
        said = [normalize_scores(self._scores(row)) for row in scores]
        for index, key in enumerate(keys):
            if key not in self.rated:
                self.gains.append(self._gain(contexts[index], rows[index], said[index]))
                self.spent += int((~np.isnan(scores[index])).sum())
        self.rated = set(keys)
        self.gains = self.gains[-EVIDENCE:]
        self.replay = list(zip(contexts, rows, said, strict=True))

    def _gain(self, context: Floats, z: Floats, v: Floats) -> Floats:
        """How the learned and equal weights agree with U (4,), before learning from it."""
        learned = continuous_weights(self.policy(context[None]), self.config.min_weight)
        found = compared((z @ learned[0])[None], z.mean(axis=1)[None], v[None])
        return np.asarray(found[0])

    def objective(self, hidden: Floats, z: Floats, v: Floats) -> tuple[float, list[Floats]]:
        """Agreement + lambda mean H(pi) - ridge |W|^2, and its gradient in W, b and log tau.

        Args:
            hidden: (M, D) standardised contexts of the judged groups.
            z: (M, G, K) their rewards.
            v: (M, G) their standardised trusted scores.
        """
        weight = self.conductor.weight.detach().numpy()
        tau = self.conductor.temperature
        u = (hidden @ weight.T + self.conductor.bias.detach().numpy()) / tau  # (M, K)
        log_policy = u - u.max(axis=1, keepdims=True)
        log_policy = log_policy - np.log(np.exp(log_policy).sum(axis=1, keepdims=True))
        policy = np.exp(log_policy)
        free = 1.0 - policy.shape[1] * self.config.min_weight
        fit, slope = agreement(continuous_weights(policy, self.config.min_weight), z, v)
        inward = free * slope
        by_u = policy * (inward - (policy * inward).sum(axis=1, keepdims=True))
        entropies = -(policy * log_policy).sum(axis=1, keepdims=True)
        share = self.anchor.entropy_coef / len(policy)
        by_u -= share * policy * (log_policy + entropies)
        ridge = self.anchor.ridge
        value = fit + share * float(entropies.sum()) - ridge * float((weight**2).sum())
        gradients = [by_u.T @ hidden / tau - 2 * ridge * weight, by_u.sum(axis=0) / tau]
        return value, [*gradients, np.asarray(-(by_u * u).sum())]

    def _adam_step(self, gradients: Sequence[Floats]) -> float:
        """One Adam step up the gradient; its norm over the parameters that learn."""
        squares = 0.0
        for parameter, gradient in zip(self.conductor.parameters(), gradients, strict=True):
            if parameter.requires_grad:
                parameter.grad = torch.from_numpy(np.asarray(-gradient))
                squares += float((gradient**2).sum())
        self.optimizer.step()
        return float(np.sqrt(squares))

    def learn(
        self,
        scene: ScalarizerInput,
        choice: Weighting,
        advantages: Floats,
        anchors: Mapping[int, Floats],
    ) -> dict[str, float] | None:
        """Add the judged groups to the replay and take ``inner_steps`` Adam steps over it.

        ``anchor_agreement`` is mean A_i V_i over the groups judged now, under the weights that
        trained the policy: the head had not seen these groups, so it is an honest estimate.

        Raises:
            ValueError: When an anchor names no group of the scene or has another size.
        """
        agreements = self._remember(scene, choice, anchors)
        metrics = {"anchor_spent": float(self.spent), "anchor_trust": self.trust}
        if agreements:
            metrics["anchor_agreement"] = float(np.mean(agreements))
        if not self.replay:
            return None
        contexts, z, v = (np.stack(part) for part in zip(*self.replay, strict=True))
        hidden = self.standardize(contexts)
        value, grad_norm = 0.0, 0.0
        for _ in range(self.anchor.inner_steps):
            value, gradients = self.objective(hidden, z, v)
            grad_norm = self._adam_step(gradients)
        with torch.no_grad():
            log_policy = self.conductor.log_probabilities(torch.from_numpy(hidden))
        policy = log_policy.exp().numpy()
        return metrics | {
            "loss": -value,
            "grad_norm": grad_norm,
            "meta_reward": agreement(continuous_weights(policy, self.config.min_weight), z, v)[0],
            "replay_groups": float(len(self.replay)),
            **self.describe(log_policy),
        }

    def state(self) -> State:
        """Also the replay, the budget carried over and the generator of noise."""
        kept = super().state()
        kept["anchor/due"] = np.array(self.budget.due)
        kept["anchor/asked"] = np.array(self.budget.asked)
        kept["anchor/spent"] = np.array(self.spent)
        kept["anchor/trust"] = np.array(self.trust)
        kept["anchor/min_weight"] = np.array(self.config.min_weight)
        kept["anchor/gains"] = np.reshape(self.gains, (-1, 4))
        text = json.dumps(self.rng.bit_generator.state).encode()
        kept["anchor/rng"] = np.frombuffer(text, dtype=np.uint8).copy()
        kept["anchor/rated"] = np.frombuffer(json.dumps(sorted(self.rated)).encode(), np.uint8)
        if self.replay:
            parts = zip(("contexts", "z", "v"), zip(*self.replay, strict=True), strict=True)
            kept |= {f"replay/{name}": np.stack(part) for name, part in parts}
        return kept

    def load(self, state: Mapping[str, np.ndarray[Any, Any]]) -> None:
        """Restore what ``state`` returned; continuing is then exact."""
        super().load(state)
        self.budget.due = float(state["anchor/due"])
        self.budget.asked = int(state["anchor/asked"])
        self.spent = int(state["anchor/spent"])
        self.gains = list(np.array(state["anchor/gains"], dtype=np.float64))
        self.rng.bit_generator.state = json.loads(bytes(state["anchor/rng"]).decode())
        self.rated = set(json.loads(bytes(state["anchor/rated"]).decode()))
        self.replay = []
        if "replay/contexts" in state:
            parts = [np.array(state[f"replay/{name}"]) for name in ("contexts", "z", "v")]
            self.replay = list(zip(*parts, strict=True))
