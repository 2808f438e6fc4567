"""MAESTRO's Conductor: reads the terminal hidden state, chooses the weights, learns slower.

Zhao et al., ACL 2026 (arXiv 2601.07208). Every completion draws the objective it will be judged by;
an objective is reinforced where its own row ends above its group:

    grad = mean_ij [A_ij grad log pi(a_ij | h_ij)] + lambda grad mean_ij H(pi(. | h_ij)).

What that estimator is, and is not: advantages sum to 0 in every group whatever the actions, so
E[A] is 0 and this is not its gradient, but self-credit inside a zero-sum group. Without the entropy
term it is

* exactly 0 where a group shares one action and one context (A sums to 0);
* 0 in expectation where weights do not depend on the row's own action, whatever the contexts (the
  score has mean 0): so in ``continuous`` mode only the entropy term has a direction;
* not 0, even in expectation, where weights follow each row's own action, or where a group shares
  one action but its rows have contexts of their own.

Two timescales: (h, a, A) are buffered while the policy trains, the head is updated every M policy
steps from the buffer, which is then cleared. Hidden states arrive as arrays, so no gradient of the
head can reach the policy, nor the other way round.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from workbench.config.scalarizers import Conductor as ConductorConfig
from workbench.core.emphasis import (
    conductor_probabilities,
    continuous_weights,
    discrete_weights,
    floor_probabilities,
    group_means,
    sample_actions,
    standardize_hidden,
)
from workbench.core.scalarizer_input import Ask, ScalarizerInput, Weighting
from workbench.core.scaling import RunningMoments
from workbench.types import Floats, Ints

__all__ = ["Conductor", "ConductorLearner", "HeadLearner", "conductor_probabilities"]

State = dict[str, np.ndarray[Any, Any]]


class Conductor(nn.Module):
    """One linear head: pi(a|h) = softmax((W h + b) / tau), W = b = 0 at the start.

    Parameters are float64 on the CPU: small enough not to matter, and every process of a
    distributed run computes the same weights.

    Args:
        hidden_size: D of the contexts.
        num_objectives: K.
        temperature: tau at the start; learned as its logarithm, so it stays positive.
        learn_temperature: keep tau fixed when False.
    """

    def __init__(
        self,
        hidden_size: int,
        num_objectives: int,
        temperature: float = 1.0,
        learn_temperature: bool = True,
    ) -> None:
        super().__init__()
        if not temperature > 0:
            raise ValueError(f"temperature: {temperature} must be above 0")
        self.weight = nn.Parameter(torch.zeros(num_objectives, hidden_size, dtype=torch.float64))
        self.bias = nn.Parameter(torch.zeros(num_objectives, dtype=torch.float64))
        self.log_temperature = nn.Parameter(
            torch.tensor(math.log(temperature), dtype=torch.float64),
            requires_grad=learn_temperature,
        )

    @property
    def temperature(self) -> float:
        """The current tau."""
        return float(self.log_temperature.detach().exp())

    def log_probabilities(self, hidden: torch.Tensor) -> torch.Tensor:
        """Logarithm of pi(.|h), (N, D) to (N, K).

        Raises:
            ValueError: When the contexts are not (N, D).
        """
        if hidden.ndim != 2 or hidden.shape[1] != self.weight.shape[1]:
            raise ValueError(
                f"hidden: shape {tuple(hidden.shape)} is not (N, D) with D = {self.weight.shape[1]}"
            )
        logits = hidden.to(self.weight) @ self.weight.T + self.bias
        return torch.log_softmax(logits / self.log_temperature.exp(), dim=1)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """Distribution pi(.|h), (N, D) to (N, K), each row on the simplex."""
        return self.log_probabilities(hidden).exp()


def entropy(log_probabilities: torch.Tensor) -> torch.Tensor:
    """H(pi) in nats of each row, (N, K) to (N,)."""
    return -(log_probabilities.exp() * log_probabilities).sum(dim=1)


class HeadLearner:
    """What every learner of a Conductor shares: contexts, the head, its optimiser, its state."""

    needs_hidden = True

    def __init__(
        self, config: ConductorConfig, objectives: Sequence[str], hidden_size: int, prompt: bool
    ) -> None:
        self.config = config
        self.objectives = tuple(objectives)
        self.prompt_context = prompt
        self.conductor = Conductor(
            hidden_size, len(self.objectives), config.temperature, config.learn_temperature
        )
        self.moments = RunningMoments(hidden_size)
        self.optimizer: torch.optim.Optimizer

    def observe(self, scene: ScalarizerInput, rng: np.random.Generator, ask: Ask) -> None:
        """Nothing is learned before weighing."""

    def contexts(self, scene: ScalarizerInput) -> Floats:
        """Unstandardised contexts: rows (N, D), or group means (B, D) under prompt context.

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
        return group_means(hidden, scene.num_generations) if self.prompt_context else hidden

    def standardize(self, contexts: Floats) -> Floats:
        """Standardise by the running moments, unless that is switched off."""
        if not self.config.normalize_hidden:
            return contexts
        return standardize_hidden(contexts, self.moments.mean, self.moments.std)

    def policy(self, contexts: Floats) -> Floats:
        """Distribution pi(.|h) of unstandardised contexts, (M, D) to (M, K)."""
        with torch.no_grad():
            hidden = torch.from_numpy(self.standardize(contexts))
            return np.asarray(self.conductor(hidden).numpy(), dtype=np.float64)

    def per_row(self, values: Floats, scene: ScalarizerInput) -> Floats:
        """Repeat one row per group to one row per completion, where contexts are prompts'."""
        return np.repeat(values, scene.num_generations, axis=0) if self.prompt_context else values

    def step(self, loss: torch.Tensor) -> float:
        """One optimiser step down the loss; the norm of the gradient."""
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        squares = [(p.grad**2).sum() for p in self.conductor.parameters() if p.grad is not None]
        self.optimizer.step()
        return float(torch.stack(squares).sum().sqrt())

    def describe(self, log_policy: torch.Tensor) -> dict[str, float]:
        """Mean entropy in nats, temperature, and the mean probability of each objective."""
        mean = log_policy.detach().exp().mean(dim=0).tolist()
        return {
            "entropy": float(entropy(log_policy.detach()).mean()),
            "temperature": self.conductor.temperature,
            **{f"policy/{name}": p for name, p in zip(self.objectives, mean, strict=True)},
        }

    def state(self) -> State:
        """Parameters, optimiser moments, running statistics and the kind of context."""
        kept: State = {
            "prompt_context": np.array(self.prompt_context),
            "normalize_hidden": np.array(self.config.normalize_hidden),
        }
        kept |= {f"hidden/{key}": value for key, value in self.moments.state().items()}
        for name, parameter in self.conductor.named_parameters():
            kept[name] = parameter.detach().numpy().copy()
            for key, value in self.optimizer.state.get(parameter, {}).items():
                kept[f"adam/{name}/{key}"] = value.detach().numpy().copy()
        return kept

    def load(self, state: Mapping[str, np.ndarray[Any, Any]]) -> None:
        """Restore what ``state`` returned; continuing is then exact.

        Raises:
            ValueError: When the saved head has another shape or another kind of context.
        """
        if bool(state["prompt_context"]) != self.prompt_context:
            raise ValueError("context: the saved Conductor has the other kind of context")
        self.moments.load({key: state[f"hidden/{key}"] for key in self.moments.state()})
        for name, parameter in self.conductor.named_parameters():
            if parameter.shape != state[name].shape:
                raise ValueError(
                    f"{name}: saved shape {state[name].shape} is not {tuple(parameter.shape)}"
                )
            with torch.no_grad():
                parameter.copy_(torch.from_numpy(np.array(state[name])))
            prefix = f"adam/{name}/"
            moments = {
                key.removeprefix(prefix): torch.from_numpy(np.array(value))
                for key, value in state.items()
                if key.startswith(prefix)
            }
            self.optimizer.state.pop(parameter, None)
            if moments:
                self.optimizer.state[parameter] = moments


class ConductorLearner(HeadLearner):
    """The Conductor under the paper's meta-reward: the completion's own advantage."""

    def __init__(
        self, config: ConductorConfig, objectives: Sequence[str], hidden_size: int
    ) -> None:
        super().__init__(config, objectives, hidden_size, prompt=config.context == "prompt")
        self.optimizer = torch.optim.AdamW(
            [p for p in self.conductor.parameters() if p.requires_grad], lr=config.learning_rate
        )
        self.buffer: list[tuple[Floats, Ints, Floats]] = []

    def choose(
        self, scene: ScalarizerInput, rng: np.random.Generator, explore: bool = True
    ) -> Weighting:
        """Weights that emphasise a sampled action, or, without exploring, the distribution.

        Exploring also adds the contexts to the running moments. With prompt context the
        distribution is the group's, but each completion still draws its own action.
        """
        contexts = self.contexts(scene)
        if not explore:
            policy = self.per_row(self.policy(contexts), scene)
            return Weighting(floor_probabilities(policy, self.config.min_probability), policy)
        self.moments.update(contexts)
        policy = self.per_row(self.policy(contexts), scene)
        actions = sample_actions(policy, rng)
        if self.config.mode == "discrete":
            weights = discrete_weights(actions, policy.shape[1], self.config.emphasis)
        else:
            weights = continuous_weights(policy, self.config.min_weight)
        return Weighting(weights, policy, actions)

    def anchor_groups(self, scene: ScalarizerInput, rng: np.random.Generator) -> Ints:
        """No group is judged."""
        return np.zeros(0, dtype=np.int64)

    def loss(self, hidden: torch.Tensor, actions: torch.Tensor, a: torch.Tensor) -> torch.Tensor:
        """Minus the objective whose gradient is the estimator: standardised contexts (n, D)."""
        log_policy = self.conductor.log_probabilities(hidden)
        credit = (a * log_policy.gather(1, actions[:, None])[:, 0]).mean()
        return -(credit + self.config.entropy_coef * entropy(log_policy).mean())

    def learn(
        self,
        scene: ScalarizerInput,
        choice: Weighting,
        advantages: Floats,
        anchors: Mapping[int, Floats],
    ) -> dict[str, float] | None:
        """Buffer one batch; every ``update_every`` policy steps, update and clear.

        Raises:
            ValueError: When the choice carries no actions (it was made without exploring).
        """
        if choice.actions is None:
            raise ValueError("actions: missing; only a choice made with explore=True is learned")
        hidden = self.per_row(self.standardize(self.contexts(scene)), scene)
        self.buffer.append((hidden, choice.actions, np.asarray(advantages, dtype=np.float64)))
        if len(self.buffer) * scene.policy_steps < self.config.update_every:
            return None
        stacked = [
            torch.from_numpy(np.concatenate(part)) for part in zip(*self.buffer, strict=True)
        ]
        self.buffer = []
        loss = self.loss(*stacked)
        grad_norm = self.step(loss)
        with torch.no_grad():
            log_policy = self.conductor.log_probabilities(stacked[0])
        chosen = log_policy.gather(1, stacked[1][:, None])[:, 0]
        return {
            "loss": float(loss.detach()),
            "grad_norm": grad_norm,
            "meta_reward": float((stacked[2] * chosen).mean()),
            **self.describe(log_policy),
        }

    def state(self) -> State:
        """Also the buffer of the policy steps since the last update."""
        kept = super().state()
        for index, (hidden, actions, advantages) in enumerate(self.buffer):
            kept[f"buffer/{index}/hidden"] = hidden
            kept[f"buffer/{index}/actions"] = actions
            kept[f"buffer/{index}/advantages"] = advantages
        return kept

    def load(self, state: Mapping[str, np.ndarray[Any, Any]]) -> None:
        """Restore what ``state`` returned; continuing is then exact."""
        super().load(state)
        steps = sum(key.startswith("buffer/") for key in state) // 3
        self.buffer = [
            (
                np.array(state[f"buffer/{i}/hidden"], dtype=np.float64),
                np.array(state[f"buffer/{i}/actions"], dtype=np.int64),
                np.array(state[f"buffer/{i}/advantages"], dtype=np.float64),
            )
            for i in range(steps)
        ]
