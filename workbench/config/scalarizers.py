"""Settings of each scalarizer: who chooses the weights, and how.

One frozen dataclass per scalarizer, discriminated by ``name``; ``core.scalarizers`` holds the
matching mathematics. One that is added by a line in ``config.registry`` or by another package has
both in one file::

    @dataclass(frozen=True, config=STRICT)
    class Mine(Settings):
        name: Literal["mine"] = "mine"
        'What it does, in a few words.'

        def build(self, objectives: tuple[str, ...]) -> Scalarizer: ...
"""

from __future__ import annotations

from dataclasses import MISSING, fields, is_dataclass
from typing import Annotated, Any, ClassVar, Literal, Union

from pydantic import ConfigDict, Field, Strict, model_validator
from pydantic.dataclasses import dataclass

from workbench.config.registry import Registry

STRICT = ConfigDict(extra="forbid", use_attribute_docstrings=True, validate_default=False)

Positive = Annotated[float, Strict(), Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Strict(), Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Strict(), Field(ge=0, le=1)]
Count = Annotated[int, Strict(), Field(ge=1)]
Bool = Annotated[bool, Strict()]
Weights = dict[str, NonNegative]


def _known(weights: Weights, names: tuple[str, ...], key: str) -> None:
    """Refuse weights for objectives that the run does not have, and weights that are all zero."""
    unknown = sorted(set(weights) - set(names))
    if unknown:
        raise ValueError(f"{key}: {unknown} unknown; the objectives are {list(names)}")
    if weights and sum(weights.values()) <= 0:
        raise ValueError(f"{key}: all weights are 0; at least one must be positive")


class Settings:
    """What the settings of all scalarizers share."""

    name: str
    looks_at: ClassVar[Literal["row", "group", "step"]] = "step"
    """What the weights of a row depend on: the row alone, its group, or the whole policy step
    (those of whoever learns do). A what-if asks for as many rows at once as that allows."""

    def check(self, names: tuple[str, ...]) -> None:
        """Raise ValueError when they do not fit the run's objectives; these fit any."""

    def build(self, objectives: tuple[str, ...]) -> Any:
        """The scalarizer, where ``core.scalarizers`` has none of this name."""
        raise TypeError(f"{type(self).__name__} has no method build(objectives)")


@dataclass(frozen=True, config=STRICT)
class Static(Settings):
    """Fixed weights for the whole run; equal when none are given."""

    name: Literal["static"] = "static"
    """Fixed weights."""
    weights: Weights = Field(default_factory=dict)
    """Weight per objective, normalised to sum 1; empty means equal."""

    looks_at = "row"

    def check(self, names: tuple[str, ...]) -> None:
        """Raise ValueError when a weight names no objective of the run."""
        _known(self.weights, names, "scalarizer.weights")


@dataclass(frozen=True, config=STRICT)
class Single(Settings):
    """All weight on one objective."""

    objective: str
    """The objective that gets weight 1."""
    name: Literal["single"] = "single"
    """One objective."""

    looks_at = "row"

    def check(self, names: tuple[str, ...]) -> None:
        """Raise ValueError when the objective is not one of the run's."""
        _known({self.objective: 1.0}, names, "scalarizer.objective")


@dataclass(frozen=True, config=STRICT)
class Random(Settings):
    """Dirichlet weights, drawn anew: the control that any learned weighting must beat."""

    name: Literal["random"] = "random"
    """Random weights."""
    concentration: Positive = 1.0
    """Dirichlet concentration; 1 is uniform on the simplex, large means nearly equal."""
    per: Literal["completion", "group", "step"] = "completion"
    """What shares one draw."""


@dataclass(frozen=True, config=STRICT)
class Oracle(Settings):
    """Fixed weights per kind of prompt, given by hand: the upper reference."""

    by_kind: dict[str, Weights]
    """For each kind its weights; kinds that are missing get equal weights."""
    name: Literal["oracle"] = "oracle"
    """Fixed weights per kind."""

    looks_at = "row"

    def check(self, names: tuple[str, ...]) -> None:
        """Raise ValueError when a weight names no objective of the run."""
        for kind, weights in self.by_kind.items():
            _known(weights, names, f"scalarizer.by_kind.{kind}")


@dataclass(frozen=True, config=STRICT)
class Saw(Settings):
    """Stage-aware weights from each objective's coefficient of variation (arXiv 2606.07705)."""

    name: Literal["saw"] = "saw"
    """Stage-aware dynamic weighting."""
    priorities: Weights = Field(default_factory=dict)
    """Static priorities that multiply the weights; empty means equal."""

    def check(self, names: tuple[str, ...]) -> None:
        """Raise ValueError when a priority names no objective of the run."""
        _known(self.priorities, names, "scalarizer.priorities")


@dataclass(frozen=True, config=STRICT)
class Dvao(Settings):
    """Weights proportional to each objective's deviation in the group (arXiv 2605.25604).

    The paper's method is this with `aggregation: normalize_then_sum`.
    """

    name: Literal["dvao"] = "dvao"
    """Deviation-weighted advantages."""
    weights: Weights = Field(default_factory=dict)
    """Base weight per objective; empty means equal."""

    looks_at = "group"

    def check(self, names: tuple[str, ...]) -> None:
        """Raise ValueError when a weight names no objective of the run."""
        _known(self.weights, names, "scalarizer.weights")


@dataclass(frozen=True, config=STRICT)
class Gd2po(Settings):
    """Masks rollouts whose objectives disagree in sign (arXiv 2606.16771)."""

    name: Literal["gd2po"] = "gd2po"
    """Conflict-masked advantages."""
    weights: Weights = Field(default_factory=dict)
    """Base weight per objective; empty means equal."""
    threshold: Share = 0.8
    """Rollouts in conflict whose |sum of z| / sum of |z| is below this are masked; 1 masks all."""

    looks_at = "group"

    def check(self, names: tuple[str, ...]) -> None:
        """Raise ValueError when a weight names no objective of the run."""
        _known(self.weights, names, "scalarizer.weights")


@dataclass(frozen=True, config=STRICT)
class Ctwa(Settings):
    """Raises objectives whose covariance with the scalar score lags (arXiv 2602.06869)."""

    name: Literal["ctwa"] = "ctwa"
    """Covariance-targeted weights."""
    target: NonNegative = 0.05
    """Covariance that an objective should keep with the score."""
    main_target: NonNegative = 0.1
    """The same for the run's first objective; the authors' is correctness."""
    gate: Share = 0.95
    """Where in its declared range an objective's mean is good enough to gain no more weight."""
    main_gate: Share = 1.0
    """The same for the first objective."""
    rate: Positive = 0.02
    """Step of the multiplicative update per policy step."""
    smoothing: Share = 0.9
    """Exponential smoothing of the covariances."""


@dataclass(frozen=True, config=STRICT)
class SaMrpo(Settings):
    """Weights that fade as an objective saturates: w (1 - saturation)^gamma."""

    name: Literal["sa_mrpo"] = "sa_mrpo"
    """Saturation-aware weights."""
    gamma: NonNegative = 1.0
    """How fast a saturating objective loses weight."""
    weights: Weights = Field(default_factory=dict)
    """Base weight per objective; empty means equal."""

    def check(self, names: tuple[str, ...]) -> None:
        """Raise ValueError when a weight names no objective of the run."""
        _known(self.weights, names, "scalarizer.weights")


@dataclass(frozen=True, config=STRICT)
class Hypervolume(Settings):
    """Dynamic reward weighting guided by the hypervolume of mean rewards (arXiv 2509.11452)."""

    name: Literal["hypervolume"] = "hypervolume"
    """Hypervolume-guided weights."""
    rate: Positive = 0.5
    """Step of the multiplicative update towards the gradient of the hypervolume."""
    smoothing: Share = 0.9
    """Exponential smoothing of the mean rewards."""


@dataclass(frozen=True, config=STRICT)
class AnchorConfig:
    """A trusted score, known for a few groups only, that the Conductor learns from."""

    source: str | None = None
    """`judge`, `ratings`, `objective:NAME`, or `package.module:function`."""
    fraction: Annotated[float, Strict(), Field(gt=0, le=1)] = 0.125
    """Share of the groups that are judged."""
    first: Annotated[int, Strict(), Field(ge=0)] = 0
    """Groups judged at once when the run starts; none follow until `fraction` has caught up. Never
    more than `fraction` of the whole run."""
    select: Literal["novel", "random", "uncertain", "disagreement"] = "novel"
    """Which groups to judge: those least like the judged ones, any, those whose weights (under the
    kernel head: whose scores) are most open, those whose objectives disagree most."""
    caution: Share = 1.0
    """How far groups unlike the judged ones are held back: advantages are multiplied by
    1 - caution / (1 + judged groups like them). Not under `ratings`: people cannot be asked."""
    replay: Count = 256
    """Judged groups kept for learning, newest first."""
    inner_steps: Count = 4
    """Adam steps of the Conductor per policy step."""
    learning_rate: Positive = 0.1
    """Adam step size of the Conductor under the anchor."""
    entropy_coef: NonNegative = 0.02
    """Entropy bonus on the weights under the anchor."""
    gate: Bool = True
    """Use learned weights only as far as groups that were left out show them better than equal."""
    judge_rows: Bool = True
    """Train judged groups by the score itself, the others by weights. Read by the kernel head."""
    score_noise: Positive | None = None
    """Variance of the noise of a score, against a signal of variance 1; null finds the likeliest.
    Read by the kernel head."""
    shared: Share = 0.2
    """Part of the weights' variance that all prompts share; the rest depends on the context. Read
    by the kernel head."""
    inducing: Count = 32
    """Groups that the kernel head's context features rest on: bounds its cost."""
    head: Literal["linear", "bias"] = "linear"
    """Of the softmax: `linear` in the hidden state, or one vector for all prompts (`bias`)."""
    ridge: NonNegative = 0.0
    """L2 penalty on the linear part of the head."""
    noise: NonNegative = 0.0
    """Deviation of noise added to the score: for robustness studies."""
    shuffle: Bool = False
    """Permute the scores inside each group: the control that must fall back to equal weights."""


@dataclass(frozen=True, config=STRICT)
class Conductor(Settings):
    """MAESTRO's Conductor: reads the terminal hidden state, chooses the weights, learns slower."""

    name: Literal["conductor"] = "conductor"
    """The learned Conductor."""
    mode: Literal["discrete", "continuous"] = "discrete"
    """Weights emphasise the sampled action, or follow the whole distribution (`continuous`; the
    advantage then says nothing about the action, so learning from it is noise plus entropy)."""
    emphasis: Share = 0.5
    """rho: discrete weights are (1 - rho)/K + rho on the sampled action."""
    min_weight: Share = 0.0
    """m: floor of each continuous weight; at most 1/K."""
    temperature: Positive = 1.0
    """tau of the softmax at the start."""
    learn_temperature: Bool = True
    """Learn tau, or keep it fixed."""
    min_probability: Annotated[float, Strict(), Field(ge=0, lt=1)] = 1e-4
    """Smallest probability at evaluation, renormalised."""
    learning_rate: Positive = 0.01
    """AdamW rate of the Conductor; about rate * |h|_1 in logits, so it does not carry over D."""
    entropy_coef: NonNegative = 0.1
    """lambda: weight of the entropy of the emphasis distribution."""
    update_every: Count = 3
    """M: policy steps between updates of the Conductor."""
    normalize_hidden: Bool = True
    """Standardise h by running statistics and divide by sqrt(D)."""
    context: Literal["response", "prompt"] = "response"
    """Weights per response, or one vector per prompt from the group's mean h."""
    meta_reward: Literal["advantage", "anchor"] = "advantage"
    """What the Conductor learns from: the paper's own advantage, or an anchored score."""
    head: Literal["linear", "kernel"] = "linear"
    """`linear`: a softmax learned by gradient. `kernel`, under an anchor only: signed weights in
    closed form, from a Gaussian process over prompts."""
    anchor: AnchorConfig | None = None
    """The anchor; read only when `meta_reward` is `anchor`, which always uses prompt context."""

    @model_validator(mode="after")
    def _anchored(self) -> Conductor:
        if self.meta_reward == "anchor" and (self.anchor is None or not self.anchor.source):
            raise ValueError(
                "scalarizer.anchor.source is missing: meta_reward 'anchor' needs one of "
                "'judge', 'ratings', 'objective:NAME', 'package.module:function'"
            )
        if self.head == "kernel" and self.meta_reward != "anchor":
            raise ValueError(
                "scalarizer.head: 'kernel' learns from trusted scores; it needs "
                "meta_reward: anchor, or use head: linear"
            )
        return self

    def check(self, names: tuple[str, ...]) -> None:
        """Raise ValueError when a floor or an anchor does not fit the run's objectives."""
        if self.min_weight * len(names) > 1:
            raise ValueError(
                f"scalarizer.min_weight: {self.min_weight} is too large; with {len(names)} "
                f"objectives it can be at most {1 / len(names):.3g}"
            )
        if self.meta_reward != "anchor" or self.anchor is None or self.anchor.source is None:
            return
        kind, _, objective = self.anchor.source.partition(":")
        if kind == "objective":
            _known({objective: 1.0}, names, "scalarizer.anchor.source")
        elif self.anchor.source not in ("judge", "ratings") and not objective:
            raise ValueError(
                f"scalarizer.anchor.source: {self.anchor.source!r} unknown; allowed are 'judge', "
                "'ratings', 'objective:NAME', 'package.module:function'"
            )


@dataclass(frozen=True, config=STRICT)
class Custom(Settings):
    """A scalarizer of one's own: any class with the protocol of `core.scalarizer_input`."""

    function: str
    """`package.module:Class`; built as `Class(objectives, **params)` where the run starts."""
    name: Literal["custom"] = "custom"
    """A class of one's own."""
    params: dict[str, Any] = Field(default_factory=dict)
    """Keyword arguments of the class."""

    def check(self, names: tuple[str, ...]) -> None:
        """Raise ValueError when the function is not written as package.module:Class."""
        module, _, attribute = self.function.partition(":")
        if not (module and attribute):
            raise ValueError(
                f"scalarizer.function: {self.function!r} is not allowed; it must be "
                "package.module:Class"
            )


def _settings(name: str, thing: Any) -> type:
    """Settings as the one union of all needs them. Raises TypeError."""
    if not (isinstance(thing, type) and issubclass(thing, Settings) and is_dataclass(thing)):
        raise TypeError("it is no dataclass of pydantic that inherits from Settings")
    if [f.default for f in fields(thing) if f.name == "name"] != [name]:
        raise TypeError(f"its field 'name' must be Literal[{name!r}] and default to {name!r}")
    return thing


SCALARIZER_CONFIGS: dict[str, type] = Registry("scalarizers", _settings).usable()
"""The settings of every scalarizer by name."""

ScalarizerConfig = Union[tuple(SCALARIZER_CONFIGS.values())]  # type: ignore[valid-type]  # noqa: UP007


def by_name_alone() -> list[str]:
    """Scalarizers whose weights follow from logged rows and a name: no setting without a default.

    A Conductor is left out: its weights are learned.
    """
    return [
        name
        for name, settings in SCALARIZER_CONFIGS.items()
        if name != "conductor"
        and not any(f.default is f.default_factory is MISSING for f in fields(settings))
    ]
