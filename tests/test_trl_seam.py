"""The seam with TRL: what MaestroTrainer overrides is still there, and the numbers agree.

If this file fails after an upgrade, read TRL's ``_generate_and_score_completions`` again before
touching anything else: the trainer replaces what happens inside it.
"""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import trl
from datasets import Dataset
from tiny_models import tiny_model, tiny_tokenizer
from tiny_runs import EXAMPLES, Recorder, low_words, short, tiny_trainer
from trl import GRPOConfig, GRPOTrainer

from workbench.core.advantages import aggregate
from workbench.train.maestro import MaestroTrainer

SEAM = f"train/maestro.py was written against TRL 1.16, installed is {trl.__version__}: "
AGGREGATIONS = ("sum_then_normalize", "normalize_then_sum")
WEIGHTS = [0.25, 0.75]


def test_the_version_is_the_one_that_was_read() -> None:
    assert trl.__version__.startswith("1.16."), SEAM + "read the seam again"


@pytest.mark.parametrize(
    ("method", "parameters"),
    [
        ("_generate", ["self", "prompts"]),
        (
            "_calculate_rewards",
            ["self", "inputs", "prompts", "completions", "completion_ids_list"],
        ),
        ("_generate_and_score_completions", ["self", "inputs"]),
        ("_get_train_sampler", ["self", "dataset"]),
        ("_compute_loss", ["self", "model", "inputs"]),
        ("log", ["self", "logs", "start_time"]),
        ("_save_checkpoint", ["self", "model", "trial"]),
        ("_load_optimizer_and_scheduler", ["self", "checkpoint"]),
        ("_load_rng_state", ["self", "checkpoint"]),
        ("_load_from_checkpoint", ["self", "resume_from_checkpoint", "model"]),
    ],
)
def test_overridden_methods_keep_their_signatures(method: str, parameters: list[str]) -> None:
    found = list(inspect.signature(getattr(GRPOTrainer, method)).parameters)
    assert found == parameters, SEAM + f"{method} takes {found}"
    assert getattr(MaestroTrainer, method) is not getattr(GRPOTrainer, method)


def test_trl_still_works_inside_as_the_seam_assumes() -> None:
    source = inspect.getsource(GRPOTrainer._generate_and_score_completions)
    for line in (
        "self._generate(prompts)",
        "self._calculate_rewards(inputs, prompts, completions, completion_ids_list)",
        'self._metrics[mode]["reward"].append(',
        'self._metrics[mode]["reward_std"].append(',
        'self._metrics[mode]["frac_reward_zero_std"].append(',
        'self._logs["advantages"].extend(',
        '"advantages": advantages,',
    ):
        assert line in source, SEAM + f"{line!r} is gone"
    assert "gather(rewards_per_func)" in inspect.getsource(GRPOTrainer._calculate_rewards), SEAM


class Observed(GRPOTrainer):
    """TRL's own trainer, with its advantages in the order of its rewards."""

    seen: list[np.ndarray]

    def _generate_and_score_completions(self, inputs: Any) -> dict[str, Any]:
        output = super()._generate_and_score_completions(inputs)
        self.seen.append(output["advantages"].double().numpy())
        return output


@pytest.mark.parametrize(
    ("aggregation", "scale_rewards"),
    [
        ("sum_then_normalize", "group"),
        ("sum_then_normalize", "batch"),
        ("sum_then_normalize", "none"),
        ("normalize_then_sum", "group"),
    ],
)
def test_advantages_equal_those_of_trls_own_trainer(
    tmp_path: Path, aggregation: str, scale_rewards: str
) -> None:
    rewards: list[list[list[float]]] = []

    def recorded(function: Any, column: int) -> Any:
        def reward(prompts: Any, completions: Any, completion_ids: Any, **kwargs: Any) -> Any:
            values = function(prompts, completions, completion_ids)
            if column == 0:
                rewards.append([])
            rewards[-1].append([np.nan if v is None else v for v in values])
            return values

        return reward

    trainer = Observed(
        model=tiny_model(),
        reward_funcs=[recorded(short, 0), recorded(low_words, 1)],
        args=GRPOConfig(
            output_dir=str(tmp_path),
            max_steps=2,
            per_device_train_batch_size=16,
            num_generations=4,
            max_completion_length=6,
            learning_rate=0.01,
            reward_weights=WEIGHTS,
            multi_objective_aggregation=aggregation,
            scale_rewards=scale_rewards,
            use_cpu=True,
            bf16=False,
            report_to="none",
            save_strategy="no",
            disable_tqdm=True,
        ),
        train_dataset=Dataset.from_dict({"prompt": [e.prompt for e in EXAMPLES]}),
        processing_class=tiny_tokenizer(),
    )
    trainer.seen = []
    trainer.train()
    assert len(trainer.seen) == 2
    for matrix, theirs in zip(rewards, trainer.seen, strict=True):
        r = np.array(matrix, dtype=np.float32).T.astype(np.float64)  # as TRL stores rewards
        _, ours = aggregate(r, WEIGHTS, 4, aggregation, scale_rewards)
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
def test_static_weights_train_exactly_as_trl_would(tmp_path: Path, aggregation: str) -> None:
    """The same rollouts through both: TRL's advantages are there before they are replaced."""
    recorder = Recorder()
    trainer = tiny_trainer(
        tmp_path,
        recorder,
        aggregation=aggregation,
        scalarizer={"name": "static", "weights": {"short": 1, "low_words": 3}},
    )
    trainer.reward_weights = torch.tensor(WEIGHTS)
    theirs: list[np.ndarray] = []
    corrected = trainer._correct_log

    def spy(weighed: Any) -> None:
        theirs.append(np.array(trainer._logs["advantages"]))
        before = {k: v[-1] for k, v in trainer._metrics["train"].items() if v}
        corrected(weighed)
        for name in ("reward_std", "frac_reward_zero_std", "reward"):
            if aggregation == "sum_then_normalize":  # TRL logs plain sums under either
                assert trainer._metrics["train"][name][-1] == pytest.approx(before[name], abs=1e-6)

    trainer._correct_log = spy  # type: ignore[method-assign]
    trainer.train()
    assert len(recorder.batches) == 2
    for batch, advantages in zip(recorder.batches, theirs, strict=True):
        np.testing.assert_allclose(batch.advantages, advantages, atol=1e-5)
    assert list(trainer._logs["advantages"]) == recorder.batches[-1].advantages.tolist()
