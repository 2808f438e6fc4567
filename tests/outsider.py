"""Another package, which adds one thing of each kind; ``test_config_registry`` installs it.

Each is what the docstring of ``workbench.config.registry`` says, and nothing more.
"""

from typing import Literal

import numpy as np
from pydantic.dataclasses import dataclass

from workbench.config.scalarizers import STRICT, Positive, Settings
from workbench.core.scalarizer_input import Stateless, Weighting


def vowels(completions, **columns):
    """Share of vowels among the letters."""
    return [sum(c in "aeiou" for c in text) / max(1, len(text)) for text in completions]


vowels.lower, vowels.upper = 0.0, 1.0


class Loudest(Stateless):
    def __init__(self, power):
        self.power = power

    def choose(self, scene, rng, explore=True):
        size = np.abs(scene.rewards) ** self.power
        return Weighting(size / size.sum(axis=1, keepdims=True))


@dataclass(frozen=True, config=STRICT)
class LoudestSettings(Settings):
    """Weights in proportion to the rewards themselves."""

    name: Literal["loudest"] = "loudest"
    """Weights that follow the rewards."""
    power: Positive = 1.0
    """How sharply."""

    looks_at = "row"

    def build(self, objectives):
        return Loudest(self.power)


def sums(config):
    """Additions below ten."""
    from workbench.types import Example, Task

    rows = [
        Example(prompt=f"{i} + {i} =", prompt_id=str(i), kind="sum", reference=str(2 * i))
        for i in range(5)
    ]
    return Task(name="sums", train=rows[:3], calibration=rows[3:4], report=rows[4:], judge=None)


def counts(frame):
    """How many rows of each kind."""
    import plotly.graph_objects as go

    return go.Figure(go.Bar(y=frame["kind"].value_counts().tolist()))


def ladder(wb, run):
    """The steps of a run, one bar each."""
    import plotly.graph_objects as go

    return go.Figure(go.Bar(y=[len(str(run))]))


ladder.of = "run"


def build(wb):
    """A page that says hello."""
    from workbench.pages.page import Page

    return Page("hello", [], lambda wb, view, changed: [])


def learner():
    from workbench.train.offline_trainer import RowTraining

    return type("Copy", (RowTraining,), {"__doc__": "Learns as it was told."})


def __getattr__(name):  # torch is imported when a learner is asked for, not before
    if name == "Copy":
        return learner()
    raise AttributeError(name)
