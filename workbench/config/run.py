"""RunConfig: one tree of frozen dataclasses that the form, the YAML and the command line share.

The string under a field is its documentation: it becomes the help text of the form, the comment in
the YAML that is written, and a line of ``workbench run --help``. Reading, writing and overriding
live in ``config.io``; this file only says what a run is.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, Strict, model_validator
from pydantic.dataclasses import dataclass

from workbench.config.judge import LlmConfig
from workbench.config.offline import OfflineConfig
from workbench.config.registry import Registry
from workbench.config.scalarizers import Conductor, ScalarizerConfig, Static

STRICT = ConfigDict(extra="forbid", use_attribute_docstrings=True, validate_default=False)

Int = Annotated[int, Strict()]
Float = Annotated[float, Strict()]
Bool = Annotated[bool, Strict()]
Positive = Annotated[float, Strict(), Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Strict(), Field(ge=0, allow_inf_nan=False)]
Count = Annotated[int, Strict(), Field(ge=1)]
Seed = Annotated[int, Strict(), Field(ge=0, le=2**32 - 1)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,79}$")]

FUNCTION = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*\Z")
"""`package.module:function`."""

Scaling = Literal["none", "batch", "running", "rank"]
TASKS = Registry("tasks")
Aggregation = Literal["sum_then_normalize", "normalize_then_sum"]


HeldOut = Annotated[int, Strict(), Field(ge=2)] | Annotated[float, Strict(), Field(gt=0, lt=1)]


@dataclass(frozen=True, config=STRICT)
class TaskConfig:
    """Where the prompts come from."""

    name: Literal[tuple(TASKS)] = "etudes"  # type: ignore[valid-type]
    """`etudes`: seven small families that ship with the package. `chats`: the same kinds in
    everyday English, for chat models. `file`: your own rows."""
    path: str | None = None
    """File task: JSONL, JSON, CSV, TSV or Parquet (also .gz, .zst) with a `prompt` column (text or
    chat messages), a directory of `datasets` or of such files, or `hub:OWNER/NAME[:SUBSET]`;
    `@SPLIT` chooses one of its splits."""
    eval_path: str | None = None
    """File task: held-out rows. Without it a part of `path` is held out by hash."""
    held_out: HeldOut = 0.1
    """File task without `eval_path`: a share of the prompts (below 1), or a number of them."""
    judge: LlmConfig | None = None
    """File task: a language model that judges evaluations, probes and anchors."""
    columns: dict[str, str] = Field(default_factory=dict)
    """File task: rename columns, e.g. `{prompt: question, reference: answer}`."""
    template: str | None = None
    """File task: the prompt, composed of the file's columns: `"{story} {question}"`; `{turns[0]}`
    is the first item of a list, and a whole list stands one item a line."""
    duplicates: Literal["refuse", "keep_first", "keep_all"] = "refuse"
    """File task: what to do with a prompt that stands in several rows."""
    too_long: Literal["refuse", "leave_out", "cut"] = "refuse"
    """File task: what to do with prompts that leave the model no room for a whole completion; `cut`
    drops their first tokens (text only)."""
    kinds: tuple[str, ...] = ()
    """Keep only prompts of these kinds; empty keeps all."""
    limit: Count | None = None
    """Keep at most this many training prompts."""
    seed: Seed = 0
    """Seed of the generated etudes and of the held-out split."""

    @model_validator(mode="after")
    def _paths(self) -> TaskConfig:
        if self.name == "file" and not self.path:
            raise ValueError("task.path is missing: a file task needs the path of its rows")
        written = self.name in ("etudes", "chats")
        if written and (self.path or self.eval_path):
            raise ValueError("task.path belongs to a file task: set task.name to 'file'")
        if written and self.judge:
            raise ValueError(f"task.judge belongs to a file task: {self.name} have their own judge")
        return self


@dataclass(frozen=True, config=STRICT)
class LoraConfig:
    """Low-rank adapters through peft; the reference is then the base with the adapter off."""

    r: Count = 8
    """Rank of the adapters."""
    alpha: Positive = 16.0
    """Scale of the adapters (`lora_alpha`)."""
    dropout: Annotated[float, Strict(), Field(ge=0, lt=1)] = 0.0
    """Dropout inside the adapters."""
    target_modules: str | tuple[str, ...] = "all-linear"
    """Modules that get an adapter, as peft names them."""


@dataclass(frozen=True, config=STRICT)
class PolicyConfig:
    """The language model that is trained."""

    model: str = "etudes"
    """`etudes` (the tiny warm start that ships), a directory, or a hub name."""
    dtype: Literal["float32", "bfloat16", "float16", "auto"] = "float32"
    """Number format of the weights."""
    lora: LoraConfig | None = None
    """Train low-rank adapters instead of all weights."""
    quantize: Literal["8bit", "4bit"] | None = None
    """Load the base below an adapter in 8 or 4 bits; needs a CUDA GPU and bitsandbytes."""
    attn_implementation: str | None = None
    """Attention as transformers names it: `sdpa`, `eager`, `flash_attention_2`; null: its own."""
    gradient_checkpointing: Bool = False
    """Trade compute for memory in the training pass."""
    trust_remote_code: Bool = False
    """Run code that comes with the model. Leave off unless you have read that code."""
    system_prompt: str | None = None
    """Put in front of conversational prompts."""

    @model_validator(mode="after")
    def _adapter_on_quantized(self) -> PolicyConfig:
        if self.quantize is not None and self.lora is None:
            raise ValueError("policy.quantize: a quantised base is not trained itself; set lora")
        return self


@dataclass(frozen=True, config=STRICT)
class ObjectiveConfig:
    """One reward objective: a built-in by name, or one of `function`, `model`, `url`, `llm`."""

    name: Name
    """Key of the objective everywhere: in rewards, weights, figures."""
    function: str | None = None
    """Own objective, `package.module:function` with TRL's reward signature."""
    url: str | None = None
    """HTTP endpoint that gives the rewards; `params` has its timeout, patience, batch_size."""
    llm: LlmConfig | None = None
    """Language model that grades each completion, behind an OpenAI-compatible endpoint."""
    lower: Float | None = None
    """Declared lower bound of the raw reward (built-ins declare theirs)."""
    upper: Float | None = None
    """Declared upper bound of the raw reward."""
    sign: Literal[1, -1] = 1
    """-1 turns "more" into "less", e.g. entropy minimisation."""
    scaling: Scaling | None = None
    """Overrides `reward_scaling` for this objective."""
    condition: str | None = None
    """Counts only where another objective reaches a level: `format >= 0.5`."""
    model: str | None = None
    """Reward model: a sequence classifier, directory or hub name; several under several names."""
    params: dict[str, Any] = Field(default_factory=dict)
    """Keyword arguments handed to the function; a secret as `env:NAME`."""

    @model_validator(mode="after")
    def _usable(self) -> ObjectiveConfig:
        if self.function is not None and not FUNCTION.match(self.function):
            raise ValueError(
                f"function: {self.function!r} is not allowed; it must be 'package.module:function'"
            )
        given = [k for k in ("function", "url", "llm", "model") if getattr(self, k) is not None]
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)}: only one of them can give the rewards")
        if self.url is not None and not self.url.startswith(("http://", "https://")):
            raise ValueError(f"url: {self.url!r} must start with http:// or https://")
        if self.lower is not None and self.upper is not None and self.lower >= self.upper:
            raise ValueError(f"lower: {self.lower:g} must be below upper, {self.upper:g}")
        return self


@dataclass(frozen=True, config=STRICT)
class GRPOSettings:
    """The policy's own update; the names are those of TRL's GRPOConfig."""

    num_generations: Annotated[int, Strict(), Field(ge=2)] = 8
    """G: completions per prompt."""
    prompts_per_step: Count = 8
    """B: prompts per policy update; B * G completions are generated."""
    max_completion_length: Count = 48
    """Longest completion, in tokens."""
    learning_rate: Positive = 3e-4
    """Peak learning rate of the policy."""
    lr_scheduler_type: Literal["constant", "linear", "cosine", "constant_with_warmup"] = "constant"
    """Learning-rate schedule over `steps`."""
    warmup_steps: Annotated[int, Strict(), Field(ge=0)] = 0
    """Steps of linear warm-up, under every schedule."""
    max_grad_norm: Positive = 1.0
    """Gradient clipping."""
    temperature: Positive = 1.0
    """Sampling temperature of the rollouts."""
    top_p: Annotated[float, Strict(), Field(gt=0, le=1)] = 1.0
    """Nucleus sampling; 1 turns it off."""
    beta: NonNegative = 0.0
    """Weight of the KL term against the reference."""
    kl_in_reward: Bool = False
    """Subtract `beta` * (log pi - log pi_ref) of the whole completion from the scalar reward
    instead of adding a KL term to the loss."""
    reference_sync_every: Annotated[int, Strict(), Field(ge=0)] = 0
    """Copy the policy into the reference every so many steps; 0 keeps it frozen."""
    scale_rewards: Literal["group", "batch", "none"] = "group"
    """Deviation that divides the advantage under `sum_then_normalize`."""
    epsilon: Positive = 0.2
    """Clipping range of the importance ratio."""
    num_iterations: Count = 1
    """Optimisation passes over each generation."""
    gradient_accumulation_steps: Count = 1
    """Micro-batches per policy update."""
    loss_type: Literal["grpo", "dr_grpo", "bnpo", "dapo", "cispo", "sapo", "vespo", "luspo"] = (
        "dapo"
    )
    """The loss and how its tokens are averaged (TRL's names)."""
    extra: dict[str, Any] = Field(default_factory=dict)
    """Further fields of TRL's GRPOConfig, e.g. `{use_vllm: true}`. What has a key of its own, is
    unknown or would have no effect is refused. `top_k`, `min_p`, `repetition_penalty`,
    `generation_kwargs` and `chat_template_kwargs` act on probes and evaluations too."""


@dataclass(frozen=True, config=STRICT)
class ProbeConfig:
    """Fixed calibration prompts sampled through training, so that one prompt can be followed."""

    prompts: Annotated[int, Strict(), Field(ge=0)] = 21
    """How many; spread evenly over the kinds. 0 turns probes off."""
    every: Count = 10
    """Policy steps between probes (step 0 and the last one are always probed)."""
    num_generations: Annotated[int, Strict(), Field(ge=2)] = 4
    """Completions per probe prompt."""


@dataclass(frozen=True, config=STRICT)
class EvaluationConfig:
    """Held-out evaluation on the report split, before and after training."""

    prompts: Annotated[int, Strict(), Field(ge=0)] = 140
    """How many report prompts; spread evenly over the kinds. 0 turns it off."""
    num_generations: Count = 2
    """Completions per prompt."""
    temperature: NonNegative = 1.0
    """Sampling temperature; 0 is greedy."""
    before: Bool = True
    """Evaluate before training too. Off where many runs share one starting policy."""


@dataclass(frozen=True, config=STRICT)
class LoggingConfig:
    """What is kept, and for how long."""

    checkpoint_every: Annotated[int, Strict(), Field(ge=0)] = 50
    """Policy steps between checkpoints; the last step is always saved. 0: only the last."""
    keep_checkpoints: Count = 3
    """How many checkpoints to keep; the best and the last always stay."""
    contexts: Bool = True
    """Log the terminal hidden states (half precision): needed to ask "what if" of a Conductor."""
    contexts_mb: Positive = 500.0
    """Disk budget of logged contexts per run, in MB; logging of contexts stops there."""
    token_entropies: Bool = True
    """Log the entropy of each token, for shading on Inspect."""
    report_to: tuple[str, ...] = ()
    """Other trackers, as transformers names them: trackio, wandb, tensorboard."""
    stop_on: tuple[Literal["collapse", "divergence", "disk"], ...] = ()
    """End the run when its diagnostics say so."""
    webhook: str | None = None
    """URL that gets a JSON note when the run ends or warns; a secret one as `env:NAME`."""


@dataclass(frozen=True, config=STRICT)
class RunConfig:
    """A run: what is trained on which prompts towards which objectives under which weighting."""

    name: Name | None = None
    """Name of the run, unique in its runs directory; made up when left out."""
    seed: Seed = 0
    """Seeds the policy's sampling, the prompt order and the Conductor."""
    steps: Count = 100
    """Policy updates. A resumed run continues the same plan."""
    task: TaskConfig = Field(default_factory=TaskConfig)
    """Where the prompts come from."""
    policy: PolicyConfig = Field(default_factory=PolicyConfig)
    """The language model that is trained."""
    objectives: tuple[ObjectiveConfig, ...] = Field(
        default_factory=lambda: tuple(
            ObjectiveConfig(name=n)
            for n in ("perplexity", "format", "entropy", "length", "preference")
        ),
        min_length=1,
    )
    """The K reward objectives, in order. A bare name stands for `{name: ...}`."""
    reward_scaling: Scaling = "none"
    """Applied to each objective before weighting: none, batch, running, or rank in the group."""
    center_objectives: Bool = False
    """Subtract each objective's group mean before weighting, so that only differences count."""
    aggregation: Aggregation = "sum_then_normalize"
    """TRL's `multi_objective_aggregation`: GRPO's weighting of rewards, or GDPO's of z-scores."""
    scalarizer: ScalarizerConfig = Field(default_factory=Static, discriminator="name")
    """Who chooses the weights."""
    grpo: GRPOSettings = Field(default_factory=GRPOSettings)
    """The policy's own update."""
    probe: ProbeConfig = Field(default_factory=ProbeConfig)
    """Fixed prompts followed through training."""
    evaluation: EvaluationConfig = Field(default_factory=EvaluationConfig)
    """Held-out evaluation before and after."""
    logging: LoggingConfig = Field(default_factory=LoggingConfig)
    """What is kept, and for how long."""
    offline: OfflineConfig | None = None
    """Learn from logged rows instead of sampling; `workbench offline` fills it in."""

    @model_validator(mode="before")
    @classmethod
    def _bare_objective_names(cls, data: Any) -> Any:
        values = getattr(data, "kwargs", data)  # pydantic hands dataclasses an ArgsKwargs
        if isinstance(values, dict) and isinstance(values.get("objectives"), list | tuple):
            named = [{"name": o} if isinstance(o, str) else o for o in values["objectives"]]
            values["objectives"] = named
        return data

    @model_validator(mode="after")
    def _consistent(self) -> RunConfig:
        names = self.objective_names
        if len(set(names)) != len(names):
            raise ValueError(f"objectives: {list(names)} names one twice; names must differ")
        self.scalarizer.check(names)
        chosen = self.scalarizer
        anchor = chosen.anchor if isinstance(chosen, Conductor) else None
        anchored = anchor is not None and chosen.meta_reward == "anchor"
        judged = self.task.name != "file" or self.task.judge is not None
        if anchored and anchor.source == "judge" and not judged:
            raise ValueError(
                "scalarizer.anchor.source: 'judge' is not allowed with a file task without "
                "task.judge; allowed are 'ratings', 'objective:NAME', 'package.module:function'"
            )
        return self

    @property
    def objective_names(self) -> tuple[str, ...]:
        """The K names, in the order of every (N, K) array."""
        return tuple(o.name for o in self.objectives)
