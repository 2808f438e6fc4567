"""Files of ``accelerate config``: what they ask for, and what this machine or the trainer cannot.

Accelerate itself turns FSDP on a CPU into plain data parallelism unsaid; here it is refused
before anything starts.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml


def problem_of(path: Path) -> str | None:
    """Why a run cannot be distributed as the file says; None when it can.

    Args:
        path: A file that ``accelerate config`` has written.
    """
    try:
        data: Any = yaml.safe_load(path.read_text("utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        return f"{str(path)!r} is no YAML: {' '.join(str(error).split())}"
    if not isinstance(data, dict):
        return f"{str(path)!r} is no file of accelerate config"
    kind = str(data.get("distributed_type", "NO")).upper()
    if kind == "FSDP":
        fsdp = data.get("fsdp_config") or {}
        if int(fsdp.get("fsdp_version", 1)) != 2:
            return "FSDP version 1 is not supported; write fsdp_version: 2 under fsdp_config"
        if data.get("use_cpu"):
            return "FSDP needs accelerators; on CPUs write distributed_type: MULTI_CPU"
    if kind == "DEEPSPEED":
        if find_spec("deepspeed") is None:
            return "the file asks for DeepSpeed, which is not installed: pip install deepspeed"
        stage = (data.get("deepspeed_config") or {}).get("zero_stage")
        if str(stage) == "3":
            return (
                "DeepSpeed ZeRO stage 3 is not supported; use stage 1 or 2, or FSDP with "
                "fsdp_version: 2"
            )
    return None
