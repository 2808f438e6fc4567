"""LlmConfig: a language model behind an OpenAI-compatible endpoint that grades completions.

The same settings serve twice: ``objectives[].llm`` makes it a reward of every completion,
``task.judge`` the trusted score of evaluations, probes and, where it is named, of the anchor.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import ConfigDict, Field, Strict, model_validator
from pydantic.dataclasses import dataclass

from workbench.config.credentials import PREFIX

RUBRIC = (
    "How good is the response to the prompt? Judge whether it is right, complete and well put. "
    "Where a reference is given, a response that says something else than it is wrong."
)
Above = Annotated[float, Strict(), Field(gt=0, allow_inf_nan=False)]
Count = Annotated[int, Strict(), Field(ge=1)]


@dataclass(
    frozen=True,
    config=ConfigDict(extra="forbid", use_attribute_docstrings=True, validate_default=False),
)
class LlmConfig:
    """A language model that grades a completion from 0 to `top`; the score is divided by `top`."""

    model: str
    """Name of the model, as the endpoint knows it."""
    url: Annotated[str, Field(pattern=r"^https?://[^\s]+$")] = "http://127.0.0.1:8000/v1"
    """Base address of an OpenAI-compatible server; `/chat/completions` is appended."""
    api_key: str | None = None
    """`env:NAME`: the environment variable that holds the key. The key itself is never stored."""
    rubric: str = RUBRIC
    """What to grade by."""
    top: Above = 10.0
    """Best grade on the scale that the model is asked for; 0 is the worst."""
    budget: Count | None = None
    """Requests that a run may send, repeated ones included; answers from the cache are free."""
    timeout: Above = 60.0
    """Seconds until a request counts as lost."""
    patience: Above = 900.0
    """Seconds of failing requests, with growing pauses, before the run gives up."""
    parallel: Count = 8
    """Requests in flight at once."""
    attempts: Count = 3
    """How often an answer that holds no grade is asked for again."""
    cache: str | None = None
    """File of answers already paid for; default: `judge-cache.sqlite` beside the runs."""

    @model_validator(mode="after")
    def _named_key(self) -> LlmConfig:
        if self.api_key is not None and not self.api_key.startswith(PREFIX):
            raise ValueError(
                "api_key: must name an environment variable, env:NAME; the key itself is not "
                "written into a configuration"
            )
        return self
