"""Every way of learning x full and LoRA x Llama and GPT-2 x text and chat: what they must all hold.

A row is trained as it was sampled (the log-probabilities that enter the loss are those of the
scoring pass, an untouched policy is its own reference), prompts are rendered with the template's
arguments, what was logged is what entered the loss, and a run that is stopped and resumed ends with
the very parameters of one that went through.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_models import save_tiny, tiny_tokenizer
from tiny_runs import EXAMPLES, Recorder, tiny_config, tiny_trainer
from transformers import TrainerCallback

from workbench.config.offline import RpoConfig
from workbench.config.registry import Registry
from workbench.runs.checkpoints import list_checkpoints
from workbench.train import build, offline_tokens
from workbench.train.sequence_logprobs import prepare_rows, row_logps
from workbench.train.text import Rendering
from workbench.types import Example

TEMPLATE = (
    "{% for message in messages %}w0 {{ message['content'] }} <eos> {% endfor %}"
    "{% if add_generation_prompt %}w1 {% if thinking %}w35 {% endif %}{% endif %}"
)
LEARNERS = Registry("learners")
LORA = {"r": 2, "target_modules": "all-linear"}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("models")
    for family in ("llama", "gpt2"):
        save_tiny(root / family, family)
        tokenizer = tiny_tokenizer()
        tokenizer.chat_template = TEMPLATE
        tokenizer.save_pretrained(root / family)
    return root


class SaveAt(TrainerCallback):
    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        control.should_save = state.global_step == self.step


def conversation(example: Example) -> Example:
    return Example(
        [{"role": "user", "content": example.prompt}], example.prompt_id, example.kind, None
    )


def settings(models: Path, family: str, lora: bool, chat: bool) -> dict[str, Any]:
    policy: dict[str, Any] = {"model": str(models / family), "lora": LORA if lora else None}
    if chat:
        policy["system_prompt"] = "w9"
    extra = {"chat_template_kwargs": {"thinking": True}} if chat else {}
    return {"policy": policy, "grpo": {"extra": extra}}


def parameters(model: torch.nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters() if p.requires_grad])


@pytest.mark.parametrize("iterations", [1, 3])
@pytest.mark.parametrize("chat", [False, True], ids=["text", "chat"])
@pytest.mark.parametrize("lora", [False, True], ids=["full", "lora"])
@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_grpo(
    models: Path, tmp_path: Path, family: str, lora: bool, chat: bool, iterations: int
) -> None:
    changes = settings(models, family, lora, chat)
    changes["grpo"] |= {"beta": 0.05, "num_iterations": iterations, "prompts_per_step": 2}
    examples = [conversation(e) for e in EXAMPLES] if chat else list(EXAMPLES)

    def trained(where: str, resume: Path | None = None) -> tuple[Any, Recorder]:
        recorder = Recorder()
        trainer = tiny_trainer(tmp_path, recorder, steps=2, examples=examples, **changes)
        trainer.checkpoint_dir = tmp_path / where
        trainer.add_callback(SaveAt(1))
        trainer.train(resume_from_checkpoint=None if resume is None else str(resume))
        return trainer, recorder

    whole, recorder = trained("whole")
    first = recorder.batches[0]
    assert float(np.abs(first.kl).max()) < 1e-6  # the policy is its own reference before training
    assert len(recorder.batches) == (2 if iterations == 1 else 1)
    if chat:
        assert all(p.startswith("w0 w9 <eos> w0 w") and p.endswith("w1 w35") for p in first.prompts)
    train = [values for _, split, values in recorder.numbers if split == "train"]
    assert max(values.get("audit_error", 0.0) for values in train) < 1e-8
    assert max(values.get("audit_logp_gap", 0.0) for values in train) < 1e-5
    np.testing.assert_array_equal(first.loss_tokens, first.num_tokens)
    if chat:  # resuming does not ask what prompts look like
        return
    resumed, _ = trained("resumed", list_checkpoints(tmp_path / "whole")[0])
    assert torch.equal(parameters(whole.policy), parameters(resumed.policy))


@pytest.mark.parametrize("chat", [False, True], ids=["text", "chat"])
@pytest.mark.parametrize("lora", [False, True], ids=["full", "lora"])
@pytest.mark.parametrize("family", ["llama", "gpt2"])
@pytest.mark.parametrize("method", list(LEARNERS))
def test_offline(
    models: Path, tmp_path: Path, method: str, family: str, lora: bool, chat: bool
) -> None:
    changes = settings(models, family, lora, chat)
    update = {"batch_size": 4, "warmup_steps": 0, "learning_rate": 0.01}
    changes["offline"] = {"method": method, "source": {"path": "rows.jsonl"}, "update": update}
    config = tiny_config(tmp_path, steps=2, **changes)
    tokenizer = build.load_tokenizer(config.policy)
    rendering = Rendering.of(config, tokenizer)
    examples = [conversation(e) for e in EXAMPLES] if chat else list(EXAMPLES)
    prompts = rendering.encode([rendering.prompt(e) for e in examples[:4]])
    if chat:
        assert all(ids[1] == 12 and ids[-1] == 38 for ids in prompts)  # w9 and w35
    rows = offline_tokens.TokenRows(
        prompt_ids=[prompts[i // 3] for i in range(12)],
        response_ids=[[5 + i, 2] for i in range(12)],
        rewards=np.arange(12) % 3 - 1.0,
        groups=np.arange(12) // 3,
    )

    def trained(where: str, resume: Path | None = None) -> tuple[Any, Recorder]:
        model = prepare_rows(build.load_policy(config.policy))
        logps = row_logps(model, rows.prompt_ids, rows.response_ids, 0, 4)
        ready = offline_tokens.replace(rows, logp_ref=logps)
        if method == "rpo":
            ready = offline_tokens.with_values(ready, RpoConfig())
        recorder = Recorder()
        trainer = LEARNERS[method](
            config, model, tokenizer, ready, recorder, tmp_path / where / "checkpoints"
        )
        trainer.add_callback(SaveAt(1))
        trainer.train(resume_from_checkpoint=None if resume is None else str(resume))
        return trainer, recorder

    whole, recorder = trained("whole")
    first = recorder.numbers[0][2]
    if method in ("rpo", "dro"):
        assert abs(first["logratio"]) < 1e-5
    if method == "dpo":  # log 2: chosen and rejected are as likely as under the reference
        assert first["loss"] == pytest.approx(np.log(2), abs=1e-4)
    assert all(np.isfinite(values["loss"]) for _, _, values in recorder.numbers[:2])
    if chat:
        return
    saved = list_checkpoints(tmp_path / "whole" / "checkpoints")[0]
    resumed, _ = trained("resumed", saved)
    assert torch.equal(parameters(whole.policy), parameters(resumed.policy))
