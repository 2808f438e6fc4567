"""OfflineConfig: the section of a run that learns from logged (prompt, response, reward) rows.

A run with an ``offline`` section samples nothing but probes and evaluations. Everything else of its
configuration means what it means in any run; scalarizer, aggregation and the policy's GRPO update
are not read. All methods share one description of the rows, so that they can be compared:

* ``rpo``: Reward Partitioning Optimization (arXiv 2506.13702), a value per prompt from its own rows
* ``dro``: Direct Reward Optimisation (Richemond et al. 2024), a value network trained jointly
* ``kto``: Kahneman-Tversky Optimisation (arXiv 2402.01306), rows labelled desirable or not
* ``sft``: supervised fine-tuning on the best row of each prompt
* ``dpo``: Direct Preference Optimization (arXiv 2305.18290) on pairs of rows of one prompt

Others come by a line in ``config.registry`` or with another package; ``params`` has their settings.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, Strict, model_validator
from pydantic.dataclasses import dataclass

from workbench.config.registry import Registry
from workbench.config.scalarizers import STRICT, Bool, Count, NonNegative, Positive

Float = Annotated[float, Strict()]
LEARNERS = tuple(Registry("learners"))
Method = Literal[LEARNERS]  # type: ignore[valid-type]
Signal = Literal["objectives", "judge", "votes", "column"]
Step = Annotated[int, Strict(), Field(ge=0)]


@dataclass(frozen=True, config=STRICT)
class SourceConfig:
    """Where the rows come from: rollouts of runs, or a file."""

    runs: tuple[str, ...] = ()
    """Runs whose rollouts are learned from, by id or name."""
    path: str | None = None
    """A file of rows instead: JSONL, Parquet or CSV with `prompt`, `response`, `reward`."""
    columns: dict[str, str] = Field(default_factory=dict)
    """File: rename columns, e.g. `{response: answer, reward: stars}`."""
    splits: tuple[Literal["train", "probe"], ...] = ("train",)
    """Runs: which rollouts. Probe prompts are the calibration split; never the report split."""
    kinds: tuple[str, ...] = ()
    """Keep only prompts of these kinds; empty keeps all."""
    first_step: Step | None = None
    """Runs: keep rollouts from this step on."""
    last_step: Step | None = None
    """Runs: keep rollouts up to this step."""
    raters: tuple[str, ...] = ()
    """Votes: count only these raters; empty counts all."""
    rows_per_prompt: Count | None = None
    """Keep at most this many rows of a prompt, drawn at random."""
    limit: Count | None = None
    """Keep at most this many rows, drawn at random."""

    @model_validator(mode="after")
    def _one(self) -> SourceConfig:
        if self.path is not None and self.runs:
            raise ValueError(
                f"offline.source.path: {self.path!r} and source.runs exclude each other"
            )
        if None not in (self.first_step, self.last_step) and self.first_step > self.last_step:  # type: ignore[operator]
            raise ValueError(
                f"offline.source.first_step: {self.first_step} is after last_step, {self.last_step}"
            )
        return self


@dataclass(frozen=True, config=STRICT)
class RewardConfig:
    """The one number per row that is learned from."""

    signal: Signal | None = None
    """`objectives`: a weighting of the logged ones; `judge`: where it was logged; `votes`: what
    people said; `column`: the file's. Null: `column` for a file, `objectives` for runs."""
    weighting: Literal["static", "by_kind", "logged", "conductor"] = "static"
    """Objectives: fixed weights, fixed ones per kind, those that trained the row, or a Conductor's
    (the distribution logged with the row, the mean over its group; or see `conductor`)."""
    conductor: str | None = None
    """`conductor`: the run, or `RUN@STEP`, whose saved Conductor weighs every row by its logged
    context; null takes what was logged with the row."""
    weights: dict[str, Float] = Field(default_factory=dict)
    """`static`: weight per objective; empty weighs all equally."""
    by_kind: dict[str, dict[str, Float]] = Field(default_factory=dict)
    """`by_kind`: weight per objective for each kind; `weights` serves the kinds not named."""
    standardize_objectives: Bool = True
    """Put each objective at mean 0, deviation 1 over the data set before weighting."""
    standardize: Bool = True
    """Put the reward at mean 0, deviation 1 over the data set (the authors of RPO do)."""


@dataclass(frozen=True, config=STRICT)
class RulesConfig:
    """What happens to rows that cannot teach as they are. Each is counted and reported."""

    single_row: Literal["keep", "drop", "refuse"] = "keep"
    """A prompt with one row: its RPO value is that row's reward, a pull to the reference."""
    constant_rewards: Literal["keep", "drop", "refuse"] = "keep"
    """A prompt whose rows all have the same reward, which cannot be told apart."""
    missing_reward: Literal["drop", "refuse"] = "drop"
    """A row whose reward is NaN, infinite or absent."""
    empty_response: Literal["drop", "keep", "refuse"] = "drop"
    """A row without a response."""
    too_long: Literal["drop", "truncate", "refuse"] = "drop"
    """A row longer than the model's context. A prompt that leaves no room is always dropped."""


@dataclass(frozen=True, config=STRICT)
class UpdateConfig:
    """The optimiser (AdamW), shared by all methods."""

    batch_size: Count = 32
    """Rows per policy update."""
    gradient_accumulation_steps: Count = 1
    """Micro-batches that an update's rows are split into."""
    learning_rate: Positive = 1e-3
    """Peak learning rate."""
    lr_scheduler_type: Literal["constant_with_warmup", "linear", "cosine"] = "linear"
    """Learning-rate schedule over `steps`, after the warm-up."""
    warmup_steps: Step = 20
    """Steps of linear warm-up."""
    weight_decay: NonNegative = 0.0
    """Decoupled weight decay."""
    max_grad_norm: Positive = 1.0
    """Gradient clipping."""


@dataclass(frozen=True, config=STRICT)
class RpoConfig:
    """Reward Partitioning Optimization: 1/2 (l - l_ref - (r - V(x))/tau)^2, V from x's own rows."""

    tau: Positive = 3.0
    """Temperature: the optimum is the reference times e^{r/tau}. V lies above the mean reward, the
    more the smaller tau is, and pushes most rows down: 1 undoes the policy on votes."""
    length_normalize: Bool = True
    """Average log-probabilities over tokens instead of summing them."""
    partition: Literal["monte_carlo", "authors"] = "monte_carlo"
    """V = tau log Z: Z the mean of e^{r/tau} over rows, or the authors' sum of pi_ref e^{r/tau}."""
    behaviour_correction: Bool = False
    """Monte Carlo: weigh each row by pi_ref / pi_behaviour, as logged, so that rows of another
    policy estimate the reference's Z without bias (and with more variance)."""


@dataclass(frozen=True, config=STRICT)
class DroConfig:
    """Direct Reward Optimisation: 1/2 (r - V(x) - tau (l - l_ref))^2, V a network."""

    tau: Positive = 1.0
    """Temperature."""
    length_normalize: Bool = True
    """Average log-probabilities over tokens instead of summing them."""
    value_hidden: Count = 512
    """Width of the value network on the pooled prompt states."""
    value_learning_rate: Positive | None = None
    """Peak learning rate of the value network; null: the policy's."""
    value_trains_policy: Bool = False
    """Let the value's gradient into the policy's prompt states, as the authors of RPO's code do."""


@dataclass(frozen=True, config=STRICT)
class KtoConfig:
    """KTO through TRL's KTOTrainer."""

    beta: Positive = 0.1
    """How strongly the reference holds."""
    desirable: Literal["above_prompt_mean", "positive"] = "above_prompt_mean"
    """Which rows are desirable: above their prompt's mean reward (a tie with a mean that all rows
    share goes by the data set's), or above 0 once standardised."""
    balance: Bool = True
    """Weigh desirable and undesirable rows so that both sides count the same in total."""
    extra: dict[str, Any] = Field(default_factory=dict)
    """Further fields of TRL's KTOConfig; unknown ones are refused."""


@dataclass(frozen=True, config=STRICT)
class SftConfig:
    """Supervised fine-tuning through TRL's SFTTrainer."""

    select: Literal["best", "above_prompt_mean", "all"] = "best"
    """Which rows are imitated: the best of each prompt, those above its mean, or all."""
    extra: dict[str, Any] = Field(default_factory=dict)
    """Further fields of TRL's SFTConfig; unknown ones are refused."""


@dataclass(frozen=True, config=STRICT)
class DpoConfig:
    """DPO through TRL's DPOTrainer, on pairs of rows of one prompt whose rewards differ."""

    beta: Positive = 0.1
    """How strongly the reference holds."""
    pairs: Literal["best_worst", "all"] = "best_worst"
    """Of each prompt its best and its worst row, or every two rows of different reward."""
    extra: dict[str, Any] = Field(default_factory=dict)
    """Further fields of TRL's DPOConfig; unknown ones are refused."""


@dataclass(frozen=True, config=STRICT)
class OfflineConfig:
    """Learning from logged rows instead of sampling."""

    method: Method = "dro"
    """`rpo`, `dro`, `kto`, `sft` or `dpo`. In `workbench bench offline` DRO is first or second
    whatever the rows; SFT on the best row of each prompt is better where a prompt has many rows."""
    source: SourceConfig = Field(default_factory=SourceConfig)
    """Where the rows come from."""
    reward: RewardConfig = Field(default_factory=RewardConfig)
    """The one number per row that is learned from."""
    rules: RulesConfig = Field(default_factory=RulesConfig)
    """What happens to rows that cannot teach as they are."""
    update: UpdateConfig = Field(default_factory=UpdateConfig)
    """The optimiser."""
    rpo: RpoConfig = Field(default_factory=RpoConfig)
    """Read when `method` is `rpo`."""
    dro: DroConfig = Field(default_factory=DroConfig)
    """Read when `method` is `dro`."""
    kto: KtoConfig = Field(default_factory=KtoConfig)
    """Read when `method` is `kto`."""
    sft: SftConfig = Field(default_factory=SftConfig)
    """Read when `method` is `sft`."""
    dpo: DpoConfig = Field(default_factory=DpoConfig)
    """Read when `method` is `dpo`."""
    params: dict[str, Any] = Field(default_factory=dict)
    """Settings of a learner of another package; those above have sections of their own."""

    @model_validator(mode="after")
    def _consistent(self) -> OfflineConfig:
        signal = self.signal
        if signal == "column" and self.source.path is None:
            raise ValueError(
                "offline.reward.signal: 'column' needs source.path; runs have 'objectives', "
                "'judge', 'votes'"
            )
        if signal != "column" and self.source.path is not None:
            raise ValueError(f"offline.reward.signal: {signal!r} needs runs; a file has 'column'")
        if signal != "votes" and self.source.path is None and not self.source.runs:
            raise ValueError(
                "offline.source.runs is missing: name at least one run, or a file in path"
            )
        if self.reward.conductor is not None and self.reward.weighting != "conductor":
            raise ValueError(
                f"offline.reward.conductor: {self.reward.conductor!r} is read only where "
                f"reward.weighting is 'conductor', not {self.reward.weighting!r}"
            )
        if self.reward.weighting == "by_kind" and not self.reward.by_kind:
            raise ValueError("offline.reward.by_kind is missing: weighting 'by_kind' needs it")
        rows, parts = self.update.batch_size, self.update.gradient_accumulation_steps
        if rows % parts:
            raise ValueError(
                f"offline.update.batch_size: {rows} is no multiple of "
                f"gradient_accumulation_steps, {parts}"
            )
        if self.method == "kto" and rows // parts < 2:
            raise ValueError(
                "offline.update.batch_size: KTO estimates its KL term from neighbours and needs "
                f"at least 2 rows in a micro-batch, not {rows // parts}"
            )
        return self

    @property
    def signal(self) -> Signal:
        """What the reward is, with the source's own when none is chosen."""
        if self.reward.signal is not None:
            return self.reward.signal
        return "column" if self.source.path is not None else "objectives"

    @property
    def tau(self) -> float:
        """Temperature of the chosen method (1 for TRL's, which have none)."""
        return {"rpo": self.rpo.tau, "dro": self.dro.tau}.get(self.method, 1.0)

    @property
    def length_normalize(self) -> bool:
        """Whether the chosen method averages log-probabilities over tokens."""
        chosen = {"rpo": self.rpo.length_normalize, "dro": self.dro.length_normalize}
        return chosen.get(self.method, False)
