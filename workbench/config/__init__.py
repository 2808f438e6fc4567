"""A run's configuration: its shape, its defaults, and how it is read, checked and written."""

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
