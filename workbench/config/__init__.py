"""A run's configuration: its shape, its defaults, and how it is read, checked and written."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from workbench.config.run import (
        FUNCTION,
        Conductor,
        EvaluationConfig,
        GRPOSettings,
        LlmConfig,
        LoggingConfig,
        LoraConfig,
        ObjectiveConfig,
        OfflineConfig,
        PolicyConfig,
        ProbeConfig,
        RunConfig,
        ScalarizerConfig,
        Static,
        TaskConfig,
    )

__all__ = [
    "Conductor",
    "EvaluationConfig",
    "FUNCTION",
    "GRPOSettings",
    "LlmConfig",
    "LoggingConfig",
    "LoraConfig",
    "ObjectiveConfig",
    "OfflineConfig",
    "PolicyConfig",
    "ProbeConfig",
    "RunConfig",
    "ScalarizerConfig",
    "Static",
    "TaskConfig",
]


def __getattr__(name: str) -> object:
    """Import the configuration on first use: most commands read no more than names in here."""
    if name in __all__:
        from workbench.config import run

        return getattr(run, name)
    raise AttributeError(f"module 'workbench.config' has no attribute {name!r}")
