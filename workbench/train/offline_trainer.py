"""One small trainer for losses on logged rows: RPO and DRO, causal and encoder-decoder policies.

What a row needs is prepared once: its reference log-probability, and for RPO the value of its
prompt. So training holds one model, not two, and a batch is any set of rows, not whole prompts.
``RowTraining`` is what KTO and SFT (``offline_trl``) share with it: the plan, the log, checkpoints.

Metrics, besides transformers' ``loss``, ``grad_norm`` and ``learning_rate``:

    logratio              mean of l_theta - l_ref over the rows of the step
    logratio_deviation    its deviation: how far the policy has moved
    reward_alignment      correlation of l_theta - l_ref with r - V(x): 1 at the optimum
    value_error           mean (r - V(x))^2; a value that predicts nothing has the rewards' variance
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import PreTrainedModel, PreTrainedTokenizerBase, Trainer, TrainingArguments
from transformers.trainer_callback import PrinterCallback

from workbench.config import RunConfig
from workbench.config.offline import OfflineConfig
from workbench.config.registry import Registry
from workbench.core.losses import dro_loss, rpo_loss
from workbench.runs.checkpoints import read_trainer
from workbench.train import checkpoint as checkpoints
from workbench.train.offline_tokens import TokenRows, row_order
from workbench.train.sequence_logprobs import (
    RowPolicy,
    hidden_size,
    make_batch,
    value_network,
    without_dropout,
)
from workbench.train.watch_memory import WatchMemory
from workbench.train.writer_protocol import Publisher

LOSSES = {"rpo": rpo_loss, "dro": dro_loss}
VALUE = "value.safetensors"


def section(config: RunConfig) -> OfflineConfig:
    """The run's ``offline`` section. Raises ValueError for a run that has none."""
    if config.offline is None:
        raise ValueError("offline is missing: this run samples its rows; start it with train")
    return config.offline


def shared_arguments(config: RunConfig, output_dir: Path) -> dict[str, Any]:
    """What the four methods' TrainingArguments have in common.

    Raises:
        ValueError: When the rows of a step do not divide by micro-batches and processes.
    """
    update, policy = section(config).update, config.policy
    world = int(os.environ.get("WORLD_SIZE", 1))
    parts = update.gradient_accumulation_steps * world
    if update.batch_size % parts:
        raise ValueError(
            f"offline.update.batch_size: {update.batch_size} rows do not divide by "
            f"{update.gradient_accumulation_steps} micro-batches x {world} processes"
        )
    return {
        "output_dir": str(output_dir),
        "max_steps": config.steps,
        "seed": config.seed,
        "per_device_train_batch_size": update.batch_size // parts,
        "gradient_accumulation_steps": update.gradient_accumulation_steps,
        "learning_rate": update.learning_rate,
        "lr_scheduler_type": update.lr_scheduler_type,
        "warmup_steps": update.warmup_steps,
        "weight_decay": update.weight_decay,
        "max_grad_norm": update.max_grad_norm,
        "bf16": policy.dtype == "bfloat16",
        "fp16": policy.dtype == "float16",
        "use_cpu": not torch.cuda.is_available(),
        "report_to": list(config.logging.report_to) or "none",
        "run_name": config.name,
        "logging_steps": 1,
        "save_strategy": "no",
        "eval_strategy": "no",
        "disable_tqdm": True,
        "remove_unused_columns": False,
        "dataloader_pin_memory": False,
        "train_sampling_strategy": "sequential",  # the plan is shuffled already: see row_order
    }


class RowTraining(Trainer):
    """What all methods share over transformers' Trainer: log and checkpoints.

    A method of another package inherits from it and is called with the configuration, the model,
    its tokenizer, the rows, the publisher and the folder of checkpoints, as ``PartitionTrainer``
    is; ``offline.params`` has its settings. With ``needs_reference`` rows bring ``logp_ref``.
    """

    needs_reference = True
    config: RunConfig
    offline: OfflineConfig
    publisher: Publisher
    checkpoint_dir: Path
    headline: float | None
    reference: None
    sharded = False
    memory: WatchMemory
    diagnostics: dict[str, float]
    latest: dict[str, float]
    scalarizer_state: dict[str, np.ndarray]  # never moves here; evaluations want it beside a policy

    def prepare(self, config: RunConfig, publisher: Publisher, checkpoint_dir: Path) -> None:
        """Say where things go; to be called before transformers' own constructor."""
        self.config = config
        self.offline = section(config)
        self.publisher = publisher
        self.checkpoint_dir = checkpoint_dir
        self.headline = None
        self.reference = None
        self.memory = WatchMemory()
        self.diagnostics = {}
        self.latest = {}
        self.scalarizer_state = {}

    @property
    def policy(self) -> PreTrainedModel:
        """The model that is trained, without what is wrapped around it."""
        model = self.accelerator.unwrap_model(self.model)
        return model.policy if isinstance(model, RowPolicy) else model

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log as transformers does, and publish the numbers under the step that made them."""
        super().log(logs, start_time)
        del self.state.log_history[:-1]  # the store keeps the history; checkpoints stay small
        if self.accelerator.is_main_process:
            numbers = {k: v for k, v in logs.items() if isinstance(v, int | float)}
            self.latest = numbers
            self.publisher.metrics(max(0, self.state.global_step - 1), numbers)

    def extra_tensors(self) -> dict[str, dict[str, torch.Tensor]]:
        """Further files of tensors of a checkpoint."""
        return {}

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        checkpoints.save_rows(self, self.extra_tensors())

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is not None:
            content = read_trainer(Path(checkpoint))
            self.headline = content["score"]
            self.memory.load(content["memory"])

    def _load_rng_state(self, checkpoint: str | None) -> None:
        if checkpoint is not None:
            checkpoints.check_processes(Path(checkpoint), self.accelerator.num_processes)
        super()._load_rng_state(checkpoint)


def _learner(name: str, thing: Any) -> type[RowTraining]:
    """A method of another package. Raises TypeError."""
    if not (isinstance(thing, type) and issubclass(thing, RowTraining)):
        raise TypeError("it does not inherit from RowTraining")
    return thing


LEARNERS: Registry = Registry("learners", _learner)
"""Every method by the name that ``offline.method`` takes; ``config.registry`` lists them."""


class PartitionTrainer(RowTraining):
    """RPO and DRO: the log-ratio of each row is fitted to its reward above V(x).

    Args:
        config: The run; ``offline.method`` is ``rpo`` or ``dro``.
        model: A model of ``load_row_policy``, before training.
        tokenizer: Its tokenizer.
        rows: Rows with ``logp_ref``; for RPO with ``values``.
        publisher: Receives metrics and checkpoints.
        checkpoint_dir: Where checkpoints go.
    """

    def __init__(
        self,
        config: RunConfig,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        rows: TokenRows,
        publisher: Publisher,
        checkpoint_dir: Path,
    ) -> None:
        self.prepare(config, publisher, checkpoint_dir)
        assert rows.logp_ref is not None
        if config.policy.gradient_checkpointing:
            model.gradient_checkpointing_enable({"use_reentrant": False})
            model.enable_input_require_grads()
        self.rows = rows
        self.loss = LOSSES[self.offline.method]
        self.pad = int(tokenizer.pad_token_id)
        torch.manual_seed(config.seed)  # the value network's start
        network = None
        if self.offline.method == "dro":
            network = value_network(hidden_size(model), self.offline.dro.value_hidden)
        arguments = TrainingArguments(**shared_arguments(config, checkpoint_dir.parent))
        without_dropout(model)
        super().__init__(
            model=RowPolicy(model, network, self.offline.dro.value_trains_policy),
            args=arguments,
            train_dataset=row_order(
                len(rows), config.steps * self.offline.update.batch_size, config.seed
            ).tolist(),
            data_collator=self._collate,
            processing_class=tokenizer,
        )
        self.model_accepts_loss_kwargs = False
        self.remove_callback(PrinterCallback)
        self._measured: dict[str, list[float]] = defaultdict(list)

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        """AdamW; the value network may have a rate of its own."""
        if self.optimizer is None:
            wrapped = self.model if model is None else model
            update, rate = self.offline.update, self.offline.dro.value_learning_rate
            network = wrapped.value.parameters() if wrapped.value is not None else ()
            trained = [p for p in wrapped.policy.parameters() if p.requires_grad]
            decayed = [p for p in trained if p.ndim > 1]
            groups = [
                {"params": decayed, "weight_decay": update.weight_decay},
                {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
                {"params": list(network), "weight_decay": 0.0, "lr": rate or update.learning_rate},
            ]
            groups = [group for group in groups if group["params"]]
            self.optimizer = torch.optim.AdamW(groups, lr=update.learning_rate)
        return self.optimizer

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> torch.Tensor:
        """The loss of one micro-batch; measures how well log-ratios follow rewards."""
        index = inputs.pop("index")
        lengths = inputs.pop("lengths")
        logp, values = model(**inputs)
        reference = self._column(self.rows.logp_ref, index, logp)
        rewards = self._column(self.rows.rewards, index, logp)
        if values is None:
            values = self._column(self.rows.values, index, logp)
        if self.offline.length_normalize:
            size = lengths.clamp(min=1)
            logp, reference = logp / size, reference / size
        loss = self.loss(logp, reference, rewards, values, self.offline.tau)
        with torch.no_grad():
            self._measure(logp - reference, rewards - values)
        return loss

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add what was measured since the last call."""
        means = {name: float(np.mean(v)) for name, v in self._measured.items()}
        self._measured.clear()
        super().log({**logs, **means}, start_time)

    def _measure(self, ratio: torch.Tensor, excess: torch.Tensor) -> None:
        self._measured["logratio"].append(float(ratio.mean()))
        self._measured["value_error"].append(float((excess**2).mean()))
        if len(ratio) > 1:
            spread = float(ratio.std())
            self._measured["logratio_deviation"].append(spread)
            if spread > 0 and float(excess.std()) > 0:
                both = torch.corrcoef(torch.stack([ratio.double(), excess.double()]))
                self._measured["reward_alignment"].append(float(both[0, 1]))

    def _collate(self, index: Sequence[int]) -> dict[str, torch.Tensor]:
        prompts = [self.rows.prompt_ids[i] for i in index]
        responses = [self.rows.response_ids[i] for i in index]
        model = self.accelerator.unwrap_model(self.model).policy
        return {**make_batch(model, prompts, responses, self.pad), "index": torch.tensor(index)}

    @staticmethod
    def _column(values: Any, index: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
        """(n,) entries of a (N,) array as a tensor beside the log-probabilities."""
        return torch.as_tensor(values[index.cpu().numpy()], dtype=like.dtype, device=like.device)

    def extra_tensors(self) -> dict[str, dict[str, torch.Tensor]]:
        """The value network of DRO."""
        network = self.accelerator.unwrap_model(self.model).value
        return {} if network is None else {VALUE: network.state_dict()}

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        wrapped, path = self.accelerator.unwrap_model(self.model), Path(resume_from_checkpoint)
        load_weights(wrapped.policy, path)
        if wrapped.value is not None:
            wrapped.value.load_state_dict(load_file(path / VALUE))


def load_weights(policy: Any, path: Path) -> None:
    """Weights, or adapters, of a checkpoint into a policy that has the same.

    transformers' own loading asks the trained module for attributes of a model, which a policy
    beside a value network is not.
    """
    if isinstance(policy, PeftModel):
        policy.load_adapter(str(path), policy.active_adapters[0], is_trainable=True)
        return
    weights: dict[str, torch.Tensor] = {}
    for file in sorted(path.glob("model*.safetensors")):
        weights |= load_file(file)
    missing = policy.load_state_dict(weights, strict=False).missing_keys
    tied = set(policy.all_tied_weights_keys or ())  # written once, under the other's name
    if set(missing) - tied:
        raise ValueError(f"{path}: weights {sorted(set(missing) - tied)} are missing")
    policy.tie_weights()
