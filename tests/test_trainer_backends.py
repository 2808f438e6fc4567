"""How completions are made: continuous batching where it runs, clear errors where it cannot."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_models import save_tiny
from tiny_runs import Recorder, tiny_trainer

from workbench.config import LoraConfig, PolicyConfig
from workbench.config.io import ConfigError, load
from workbench.runs.launcher import Launcher
from workbench.runs.validation import check_launch
from workbench.train import build
from workbench.train.sharded import is_sharded

CONDUCTOR = {"name": "conductor", "update_every": 1}


@pytest.mark.slow
def test_the_conductor_works_on_continuous_batching(tmp_path: Path) -> None:
    recorder = Recorder()
    extra = {"use_transformers_continuous_batching": True}
    trainer = tiny_trainer(tmp_path, recorder, steps=1, scalarizer=CONDUCTOR, grpo={"extra": extra})
    trainer.train()
    (batch,) = recorder.batches
    assert len(batch.completions) == 16 and len(recorder.updates) == 1
    assert np.isfinite(batch.advantages).all() and np.abs(batch.advantages).max() > 0
    assert batch.contexts is not None and batch.contexts.shape == (16, 16)


@pytest.mark.skipif(
    find_spec("vllm") is not None,
    reason="vLLM is installed: what is said to those without it cannot be seen on this machine",
)
def test_without_vllm_the_run_says_so(tmp_path: Path) -> None:
    with pytest.raises(ImportError, match="vLLM is not available"):
        tiny_trainer(tmp_path, Recorder(), grpo={"extra": {"use_vllm": True}})


def test_without_a_gpu_a_quantised_base_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    policy = PolicyConfig(model=str(save_tiny(tmp_path)), lora=LoraConfig(), quantize="4bit")
    with pytest.raises(ValueError, match=r"policy\.quantize: '4bit' needs a CUDA GPU"):
        build.load_policy(policy)
    with pytest.raises(ConfigError, match="a quantised base is not trained itself; set lora"):
        load({"policy": {"quantize": "8bit"}})


class _Backend:
    def __init__(self, fsdp: int | None = None, zero: int = 0) -> None:
        self.fsdp_version, self.is_zero3, self.is_fsdp = fsdp, zero == 3, fsdp is not None


@pytest.mark.parametrize(
    ("backend", "settings", "message"),
    [
        (_Backend(fsdp=1), {}, "set fsdp_version: 2"),
        (_Backend(zero=3), {}, "ZeRO stage 3 is not supported; use stage 1 or 2, or FSDP"),
        (_Backend(fsdp=2), {"grpo": {"reference_sync_every": 3}}, "not under FSDP"),
    ],
)
def test_ways_of_spreading_that_are_not_supported_are_refused(
    tmp_path: Path, monkeypatch: Any, backend: _Backend, settings: Any, message: str
) -> None:
    trainer = tiny_trainer(tmp_path, Recorder(), **settings)
    assert trainer.sharded is False
    monkeypatch.setattr("workbench.train.sharded.DistributedBackend", lambda _: backend)
    with pytest.raises(ValueError, match=message):
        is_sharded(trainer)


def test_an_accelerate_file_is_refused_where_code_is(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("num_processes: 2\n")
    launcher = Launcher(tmp_path / "runs", allowed_functions=[])
    with pytest.raises(ConfigError, match="accelerate_config: not allowed here"):
        launcher.start("quick", launch={"accelerate_config": tmp_path / "a.yaml"})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("distributed_type: FSDP\nuse_cpu: true\nfsdp_config: {fsdp_version: 2}", "MULTI_CPU"),
        ("distributed_type: FSDP\nfsdp_config: {fsdp_offload_params: false}", "fsdp_version: 2"),
        ("distributed_type: DEEPSPEED", "DeepSpeed, which is not installed"),
        ("- a list", "is no file of accelerate config"),
        ("a: [", "is no YAML"),
    ],
)
def test_an_accelerate_file_that_asks_for_too_much_is_refused(
    tmp_path: Path, text: str, message: str, monkeypatch: Any
) -> None:
    monkeypatch.setattr("workbench.config.distribution.find_spec", lambda name: None)
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(ConfigError, match=message):
        check_launch(load("quick"), accelerate_config=tmp_path / "a.yaml")


def test_an_accelerate_file_for_cpus_or_fsdp_2_is_taken(tmp_path: Path) -> None:
    for text in ("distributed_type: MULTI_CPU\nuse_cpu: true", "distributed_type: MULTI_GPU",
                 "distributed_type: FSDP\nfsdp_config: {fsdp_version: 2}"):  # fmt: skip
        (tmp_path / "a.yaml").write_text(text)
        found = check_launch(load("quick"), accelerate_config=tmp_path / "a.yaml")
        assert found == {"accelerate_config": str(tmp_path / "a.yaml")}
