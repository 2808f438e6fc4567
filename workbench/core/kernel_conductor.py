"""The Kernel Conductor: signed weights per prompt in closed form, from a score on a few groups.

``core.kernel`` has the mathematics. A training step runs in this order, so that what a judge says
is used at once:

1. the contexts of the batch enter the running statistics;
2. the groups whose weights are least known are chosen (``KernelFit.variance``), as many as the
   budget allows;
3. their scores are asked for, and the posterior is computed anew from a window of judged groups;
4. all groups are weighed by it. Where the posterior variance is high, the advantages are held back
   (``caution``). Judged groups are trained by the score itself (``judge_rows``).

Weights act on the rewards as logged, so advantages follow from the log: w of the model is per
deviation of a reward inside its group, hence the weight of reward k is w_k / s_k, all divided by
the sum of absolute values (advantages do not see their size).

How far to believe it. By leaving each judged group out, its score is predicted by all others, and
``agreement.trust_of`` compares the predictions' order of the group with that of equal weights:
trust t. With a and b the unit vectors along the equal and the learned weights, both in units of the
deviations, (1 - t) a + t b is used, and the score itself counts t on judged groups. A score that
says nothing ends at equal weights.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from workbench.config.scalarizers import AnchorConfig
from workbench.config.scalarizers import Conductor as ConductorConfig
from workbench.core.advantages import group_z_scores, nan_mean_std
from workbench.core.alignment import agreements, compared, normalize_scores, trust_of
from workbench.core.emphasis import group_means, standardize_hidden
from workbench.core.group_selection import JudgeBudget
from workbench.core.kernel import KernelFit, fit, in_units, weights_on_rewards
from workbench.core.scalarizer_input import Ask, ScalarizerInput, Weighting
from workbench.core.scaling import RunningMoments
from workbench.types import Floats, Ints

State = dict[str, np.ndarray[Any, Any]]
FLAT = 1e-8
"""A deviation up to which an objective counts as constant."""


class KernelConductor:
    """Weights of every prompt from the judged groups like it."""

    needs_hidden = True

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
        if config.anchor is None:
            raise ValueError("scalarizer.anchor: missing; head 'kernel' needs it")
        self.config = config
        self.anchor: AnchorConfig = config.anchor
        self.objectives = tuple(objectives)
        self.num_generations = num_generations
        self.aggregation = aggregation
        self.budget = JudgeBudget(self.anchor.fraction, self.anchor.first, planned)
        self.rng = np.random.default_rng(seed)
        self.moments = RunningMoments(hidden_size)
        self.within = RunningMoments(len(self.objectives))
        self.judged: list[tuple[Floats, Floats, Floats]] = []  # context, centred rewards, scores
        self.now: dict[int, Floats] = {}  # scores of this step's judged groups, as they were seen
        self.spent = 0
        self.rated: set[str] = set()
        self.metrics: dict[str, float] = {}
        self.posterior: KernelFit
        self.trust: float
        self._refit()

    # -- one step ------------------------------------------------------------------------------

    def observe(self, scene: ScalarizerInput, rng: np.random.Generator, ask: Ask) -> None:
        """Choose the groups to judge, ask for their scores, learn from them.

        Raises:
            ValueError: When a score names no group of the scene or has another size.
        """
        contexts, rows = self.contexts(scene), self._centred(scene)
        self.moments.update(contexts)
        self.within.update(rows.reshape(-1, rows.shape[2]))
        self._refit()
        anchors = ask(self._to_judge(contexts, rows, rng))
        self.now, before = {}, []
        for group in sorted(anchors):
            seen = self._seen(anchors[group], group, scene)
            self.now[group] = seen
            v = normalize_scores(seen)
            used = rows[group] @ self.weights(contexts[group : group + 1])[0]
            before.append(float(agreements(used[None], v[None])[0]))
            self.judged.append((contexts[group], rows[group], v))
        self.judged = self.judged[-self.anchor.replay :]
        if self.now:
            self._refit()
        self.metrics = {"anchor_spent": float(self.spent), "anchor_trust": self.trust}
        if before:
            self.metrics["anchor_agreement"] = float(np.mean(before))

    def choose(
        self, scene: ScalarizerInput, rng: np.random.Generator, explore: bool = True
    ) -> Weighting:
        """The posterior mean of each prompt, as weights of its whole group."""
        contexts, size = self.contexts(scene), scene.num_generations
        weights = np.repeat(self.weights(contexts), size, axis=0)
        if not explore:
            return Weighting(weights)
        mask = None
        if self.anchor.caution > 0 and self.anchor.source != "ratings":
            unknown = self.posterior.variance(self.standardize(contexts))
            mask = np.repeat(1.0 - self.anchor.caution * unknown, size)
        if not (self.anchor.judge_rows and self.now):
            return Weighting(weights, mask=mask)
        trusted, share = np.full(len(weights), np.nan), np.zeros(len(weights))
        for group, seen in self.now.items():
            where = slice(group * size, (group + 1) * size)
            trusted[where] = seen
            share[where] = 0.0 if np.isnan(seen).all() else self.trust
        return Weighting(weights, mask=mask, trusted=trusted, trusted_share=share)

    def anchor_groups(self, scene: ScalarizerInput, rng: np.random.Generator) -> Ints:
        """None: they were asked for before weighing."""
        return np.zeros(0, dtype=np.int64)

    def learn(
        self,
        scene: ScalarizerInput,
        choice: Weighting,
        advantages: Floats,
        anchors: Mapping[int, Floats],
    ) -> dict[str, float] | None:
        """Metrics of what ``observe`` learned; None while no group is judged.

        ``anchor_agreement`` is mean A_i V_i on the groups judged now under the weights from before;
        ``meta_reward`` the same on every judged group under weights that were learned without it.
        """
        self.now = {}
        if not self.judged:
            return None
        v = np.stack([group[2] for group in self.judged])
        found = agreements(self.posterior.left_out, v)
        unknown = self.posterior.variance(self.standardize(self.contexts(scene)))
        return self.metrics | {
            "meta_reward": float(found.mean()),
            "replay_groups": float(len(self.judged)),
            "weights_variance": float(unknown.mean()),
        }

    # -- contexts, rewards, weights ------------------------------------------------------------

    def contexts(self, scene: ScalarizerInput) -> Floats:
        """(B, D) mean terminal state of each group, not standardised.

        Raises:
            ValueError: When the scene carries no hidden states, or of another size.
        """
        if scene.hidden is None:
            raise ValueError("hidden: missing from the scene; a Conductor reads hidden states")
        hidden = np.asarray(scene.hidden, dtype=np.float64)
        expected = (len(scene.rewards), len(self.moments.mean))
        if hidden.shape != expected:
            raise ValueError(f"hidden: shape {hidden.shape} is not (N, D) = {expected}")
        if not np.isfinite(hidden).all():
            raise ValueError("hidden: contains NaN or infinity; the policy has diverged")
        return group_means(hidden, scene.num_generations)

    def standardize(self, contexts: Floats) -> Floats:
        """Standardise by the running moments, unless that is switched off."""
        if not self.config.normalize_hidden:
            return contexts
        return standardize_hidden(contexts, self.moments.mean, self.moments.std)

    def _centred(self, scene: ScalarizerInput) -> Floats:
        """(B, G, K) rewards less their group's mean, 0 where an objective does not apply."""
        decoupled = self.aggregation == "normalize_then_sum"
        rows = (
            group_z_scores(scene.rewards, scene.num_generations) if decoupled else scene.rewards
        ).reshape(scene.groups, scene.num_generations, -1)
        return np.nan_to_num(rows - nan_mean_std(rows, axis=1)[0], nan=0.0)

    @property
    def deviation(self) -> Floats:
        """(K,) usual deviation of each reward inside its group; 0 for a constant one."""
        std = self.within.std
        return np.asarray(np.where(std > FLAT, std, 0.0))

    def weights(self, contexts: Floats) -> Floats:
        """(B, K) weights on the rewards of groups with these contexts (B, D)."""
        learned = self.posterior.weights(self.standardize(contexts))
        return weights_on_rewards(learned, self.deviation, self.trust)

    # -- learning ------------------------------------------------------------------------------

    def _known(self) -> tuple[Floats, Floats, Floats]:
        """Judged groups: (M, D) contexts and (M, G, K) rewards in units, (M, G) scores."""
        sizes = (len(self.moments.mean),), (self.num_generations, len(self.objectives))
        shapes = (*sizes, (self.num_generations,))
        contexts, rows, v = (
            np.reshape([group[i] for group in self.judged], (-1, *shape))
            for i, shape in enumerate(shapes)
        )
        return self.standardize(contexts), in_units(rows, self.deviation), v

    def _posterior(self, contexts: Floats, z: Floats, v: Floats) -> KernelFit:
        settings = self.anchor.score_noise, self.anchor.shared, self.anchor.inducing
        return fit(contexts, z, v, *settings)

    def _refit(self) -> None:
        """The posterior of everything judged so far, and the trust in it."""
        contexts, z, v = self._known()
        self.posterior = self._posterior(contexts, z, v)
        self.trust = 1.0
        if self.anchor.gate:
            equal = z @ self.deviation  # the sum of rewards, group by group
            self.trust = trust_of(compared(self.posterior.left_out, equal, v, mutual=True))

    def _to_judge(self, contexts: Floats, rows: Floats, rng: np.random.Generator) -> Ints:
        if self.anchor.source == "ratings":  # ratings are there already: nothing is asked
            return np.zeros(0, dtype=np.int64)
        count = self.budget.take(len(contexts))
        order = rng.permutation(len(contexts))
        select = self.anchor.select
        if count == 0 or select == "random":
            return np.sort(order[:count]).astype(np.int64)
        here, z = self.standardize(contexts)[order], in_units(rows, self.deviation)[order]
        if select == "disagreement":
            chosen = np.argsort(-z.var(axis=1).mean(axis=1), kind="stable")[:count].tolist()
        else:
            chosen = self._one_by_one(here, z, count, select == "uncertain")
        return np.sort(order[chosen]).astype(np.int64)

    def _one_by_one(self, contexts: Floats, z: Floats, count: int, by_scores: bool) -> list[int]:
        """``count`` groups, each the one that the judged and the chosen ones leave most open.

        That is the posterior variance of its weights, or, ``by_scores``, what its scores would tell
        about them, which also asks for rewards that differ.
        """
        known, found = self._known(), self.posterior
        chosen: list[int] = []
        while True:
            left = found.information(contexts, z) if by_scores else found.variance(contexts)
            left[chosen] = -np.inf
            chosen.append(int(np.argmax(left)))
            if len(chosen) == count:
                return chosen
            silent = np.zeros((len(chosen), z.shape[1]))  # the variance needs no scores
            more = contexts[chosen], z[chosen], silent
            found = self._posterior(*(np.concatenate(p) for p in zip(known, more, strict=True)))

    def _seen(self, scores: Floats, group: int, scene: ScalarizerInput) -> Floats:
        """A group's trusted scores as the learner sees them: noise and shuffling applied."""
        size = self.num_generations
        if scene.num_generations != size:
            raise ValueError(f"num_generations: {scene.num_generations} is not the run's {size}")
        if not 0 <= group < scene.groups:
            raise ValueError(f"anchors: group {group} is not among 0..{scene.groups - 1}")
        seen = np.asarray(scores, dtype=np.float64)
        if seen.shape != (size,):
            raise ValueError(f"anchors[{group}]: shape {seen.shape} is not (G,) = ({size},)")
        self.spent += int((~np.isnan(seen)).sum())
        return self._disturbed(seen)

    def _disturbed(self, scores: Floats) -> Floats:
        """With noise and in another order, where a study asks for that."""
        seen = scores
        if self.anchor.noise:
            seen = seen + self.anchor.noise * self.rng.standard_normal(seen.shape)
        return self.rng.permutation(seen) if self.anchor.shuffle else seen

    # -- people's ratings, resume --------------------------------------------------------------

    def recall(self, keys: Sequence[str], contexts: Floats, z: Floats, scores: Floats) -> None:
        """Make these judged groups all that is known: what people have rated so far.

        Args:
            keys: M names of groups.
            contexts: (M, D), not standardised.
            z: (M, G, K) their rewards, scaled as the run's are.
            scores: (M, G) trusted scores, NaN where nothing was said.
        """
        rows = z
        if self.aggregation == "normalize_then_sum" and len(keys):
            rows = group_z_scores(z.reshape(-1, z.shape[2]), z.shape[1]).reshape(z.shape)
        if len(keys):
            rows = np.nan_to_num(rows - nan_mean_std(rows, axis=1)[0], nan=0.0)
        for key, said in zip(keys, scores, strict=True):
            self.spent += 0 if key in self.rated else int((~np.isnan(said)).sum())
        self.rated = set(keys)
        said = [normalize_scores(self._disturbed(row)) for row in scores]
        self.judged = list(zip(contexts, rows, said, strict=True))

    def state(self) -> State:
        """The judged groups, the running statistics, the budget and the generator of noise."""
        text = json.dumps(self.rng.bit_generator.state).encode()
        kept: State = {
            "kernel/ridge": np.array(self.posterior.ridge),
            "kernel/shared": np.array(self.anchor.shared),
            "kernel/inducing": np.array(self.anchor.inducing),
            "kernel/trust": np.array(self.trust),
            "kernel/deviation": self.deviation,
            "prompt_context": np.array(True),
            "normalize_hidden": np.array(self.config.normalize_hidden),
            "anchor/due": np.array(self.budget.due),
            "anchor/asked": np.array(self.budget.asked),
            "anchor/spent": np.array(self.spent),
            "anchor/rng": np.frombuffer(text, dtype=np.uint8).copy(),
            "anchor/rated": np.frombuffer(json.dumps(sorted(self.rated)).encode(), np.uint8),
        }
        kept |= {f"hidden/{key}": value for key, value in self.moments.state().items()}
        kept |= {f"within/{key}": value for key, value in self.within.state().items()}
        d, size, k = len(self.moments.mean), self.num_generations, len(self.objectives)
        for i, (name, shape) in enumerate(
            (("contexts", (d,)), ("rows", (size, k)), ("scores", (size,)))
        ):
            kept[f"judged/{name}"] = np.reshape([group[i] for group in self.judged], (-1, *shape))
        return kept

    def load(self, state: Mapping[str, np.ndarray[Any, Any]]) -> None:
        """Restore what ``state`` returned; continuing is then exact.

        Raises:
            ValueError: When the saved Conductor had another hidden size or other objectives.
        """
        if "kernel/trust" not in state:
            raise ValueError("head: the saved Conductor has a linear head, this run a kernel")
        rows = np.asarray(state["judged/rows"], dtype=np.float64)
        expected = (self.num_generations, len(self.objectives))
        if rows.shape[1:] != expected or len(state["hidden/mean"]) != len(self.moments.mean):
            raise ValueError(
                f"judged/rows: saved groups (G, K) = {rows.shape[1:]} with hidden size "
                f"{len(state['hidden/mean'])} are not {expected} with {len(self.moments.mean)}"
            )
        for name, moments in (("hidden", self.moments), ("within", self.within)):
            moments.load({key: state[f"{name}/{key}"] for key in moments.state()})
        self.budget.due = float(state["anchor/due"])
        self.budget.asked = int(state["anchor/asked"])
        self.spent = int(state["anchor/spent"])
        self.rng.bit_generator.state = json.loads(bytes(state["anchor/rng"]).decode())
        self.rated = set(json.loads(bytes(state["anchor/rated"]).decode()))
        parts = (np.array(state[f"judged/{n}"], np.float64) for n in ("contexts", "rows", "scores"))
        self.judged = list(zip(*parts, strict=True))
        self._refit()
