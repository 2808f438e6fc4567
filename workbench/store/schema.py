"""The one list of tables and columns: segments, native tables and comments are made from it.

A table's rows are born as Parquet segments in ``<run>/segments/<table>/`` and end in the native
table ``archive.<table>``. ``sql/<table>.sql`` shows both as one view. Symbols as in ``types``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import pyarrow as pa

SCHEMA_VERSION = 4
"""Raised whenever a table changes; ``migrations`` brings older store files up to it."""

TEXT, INT, REAL, FLAG = pa.string(), pa.int32(), pa.float64(), pa.bool_()
PER_OBJECTIVE = pa.map_(TEXT, REAL)
TOKEN_INTS = pa.list_(INT)
TOKEN_REALS = pa.list_(pa.float32())
HALVES = pa.list_(pa.float16())

_SQL_TYPES: dict[pa.DataType, str] = {
    TEXT: "VARCHAR",
    INT: "INTEGER",
    REAL: "DOUBLE",
    FLAG: "BOOLEAN",
    PER_OBJECTIVE: "MAP(VARCHAR, DOUBLE)",
    TOKEN_INTS: "INTEGER[]",
    TOKEN_REALS: "FLOAT[]",
    HALVES: "FLOAT[]",
}


@dataclass(frozen=True)
class Column:
    """One column: its Arrow type in segments, its meaning in words."""

    name: str
    type: pa.DataType
    comment: str

    @property
    def sql_type(self) -> str:
        """The DuckDB type of the same column."""
        return _SQL_TYPES[self.type]


@dataclass(frozen=True)
class Table:
    """One table: its columns in order, and what makes rows of two attempts the same.

    ``supersedes``: rows of a newer attempt replace rows of an older one that agree with them on
    these columns; empty means that every row counts.
    """

    name: str
    comment: str
    columns: tuple[Column, ...]
    supersedes: tuple[str, ...] = ()

    @property
    def arrow(self) -> pa.Schema:
        """Schema of a segment; the version travels in the metadata."""
        fields = [pa.field(c.name, c.type) for c in self.columns]
        return pa.schema(fields, metadata={"workbench_schema": str(SCHEMA_VERSION)})

    @property
    def read_schema(self) -> str:
        """Inside of ``schema = MAP {...}`` of read_parquet: missing columns become NULL."""
        return ", ".join(
            f"'{c.name}': {{name: '{c.name}', type: '{c.sql_type}', default_value: NULL}}"
            for c in self.columns
        )

    @property
    def names(self) -> tuple[str, ...]:
        """Column names in order."""
        return tuple(c.name for c in self.columns)


RUN = Column("run_id", TEXT, "Identity of the run: the name of its directory")
ATTEMPT = Column(
    "attempt", INT, "Which start of the run published the row; where attempts overlap, newest wins"
)
STEP = Column("step", INT, "Policy updates done before the row's completions were sampled")
SPLIT = Column(
    "split", TEXT, "train, or probe: fixed calibration prompts followed through training"
)
KIND = Column("kind", TEXT, "Kind of prompt, as the task names it")
PROMPT_ID = Column("prompt_id", TEXT, "Identity of the prompt within its task")
PROMPT = Column("prompt", TEXT, "The prompt as the policy saw it")
GROUP = Column(
    "group_id", TEXT, "The group of completions of one prompt at one step: split-step-index"
)
SAMPLE = Column("sample", INT, "Position of the completion in its group, from 0")
COMPLETION = Column("completion", TEXT, "The text that the policy produced")
TOKENS = Column("num_tokens", INT, "Tokens of the completion, the end token included")
TRUNCATED = Column("truncated", FLAG, "True where the completion hit the length limit")
REWARDS = Column(
    "rewards", PER_OBJECTIVE, "Raw reward per objective; NaN where the objective does not apply"
)
JUDGE = Column("judge", REAL, "The trusted score in [0, 1]; NULL where it was not asked")
TIME = Column("time", REAL, "When the row was published, in seconds since 1970 (UTC)")

TABLES: dict[str, Table] = {
    t.name: t
    for t in (
        Table(
            "rollouts",
            "One row a completion: what was sampled, how it was scored, weighted and used",
            (
                RUN,
                ATTEMPT,
                STEP,
                SPLIT,
                KIND,
                PROMPT_ID,
                PROMPT,
                GROUP,
                SAMPLE,
                COMPLETION,
                TOKENS,
                TRUNCATED,
                REWARDS,
                Column(
                    "scaled",
                    PER_OBJECTIVE,
                    "Rewards as weighted: after sign, condition, scaling; NULL where unchanged",
                ),
                Column(
                    "weights", PER_OBJECTIVE, "Weight per objective; |weights| of a row sum to 1"
                ),
                Column("policy", PER_OBJECTIVE, "The Conductor's distribution over objectives"),
                Column("action", TEXT, "The objective that was sampled for emphasis; NULL: none"),
                Column("scalar", REAL, "Weighted sum of the rewards, before group statistics"),
                Column(
                    "mask",
                    REAL,
                    "Factor on the row's signal: GD2PO's, an anchor's caution; 0: not in the loss",
                ),
                Column("judge_share", REAL, "How far the judge's score itself made the advantage"),
                Column("loss_tokens", INT, "Tokens of the completion that entered the loss"),
                Column("advantage", REAL, "Exactly what trained the policy"),
                Column("kl", REAL, "KL to the reference per token, mean of the k3 estimate"),
                Column(
                    "behaviour_logp", REAL, "Log-probability of the completion when sampled, nats"
                ),
                Column("reference_logp", REAL, "Log-probability under the frozen reference, nats"),
                JUDGE,
                Column("prompt_token_ids", TOKEN_INTS, "Token ids that were sampled from"),
                Column("token_ids", TOKEN_INTS, "Token ids of the completion"),
                Column("token_entropies", TOKEN_REALS, "Entropy at each token, nats"),
                TIME,
            ),
            supersedes=("split", "step"),
        ),
        Table(
            "metrics",
            "Long table of everything measured at a step",
            (
                RUN,
                ATTEMPT,
                STEP,
                SPLIT,
                Column("name", TEXT, "Name of the metric"),
                Column("value", REAL, "Its value"),
                TIME,
            ),
            supersedes=("split", "step", "name"),
        ),
        Table(
            "conductor_updates",
            "One row an update of the Conductor",
            (
                RUN,
                ATTEMPT,
                STEP,
                Column("loss", REAL, "Loss that the update minimised"),
                Column("entropy", REAL, "Mean entropy of the distribution, nats"),
                Column("temperature", REAL, "Temperature of the softmax after the update"),
                Column("grad_norm", REAL, "Norm of the gradient before clipping"),
                Column("meta_reward", REAL, "Mean reward that the update maximised"),
                Column("anchor_agreement", REAL, "Mean product of advantage and anchor advantage"),
                Column("anchor_spent", REAL, "Judge calls that anchors had paid for by then"),
                Column("policy", PER_OBJECTIVE, "Mean distribution over the buffer"),
                Column("other", PER_OBJECTIVE, "Further values of the update by name"),
                TIME,
            ),
            supersedes=("step",),
        ),
        Table(
            "checkpoints",
            "One row a checkpoint that was saved",
            (
                RUN,
                ATTEMPT,
                STEP,
                Column("path", TEXT, "Directory of the checkpoint, relative to the run's"),
                Column("bytes", REAL, "Size on disk when saved"),
                Column("score", REAL, "Headline score at that step, when known: best is kept"),
                Column("other", PER_OBJECTIVE, "Further values at that step by name"),
                Column("removed", FLAG, "True where retention has deleted the directory"),
                TIME,
            ),
            supersedes=("step", "removed"),
        ),
        Table(
            "evaluations",
            "One row a completion of an evaluation",
            (
                RUN,
                ATTEMPT,
                Column("step", INT, "Step of the checkpoint that was evaluated"),
                Column("phase", TEXT, "before, after, or the name of a later evaluation"),
                SPLIT,
                KIND,
                PROMPT_ID,
                PROMPT,
                Column("reference", TEXT, "Reference answer, where the task has one"),
                SAMPLE,
                COMPLETION,
                TOKENS,
                TRUNCATED,
                REWARDS,
                Column("weights", PER_OBJECTIVE, "Weights the scalarizer would give, no exploring"),
                JUDGE,
                TIME,
            ),
            supersedes=("phase", "step"),
        ),
        Table(
            "warnings",
            "What the diagnostics of a run had to say",
            (
                RUN,
                ATTEMPT,
                STEP,
                Column("code", TEXT, "Short name of the finding"),
                Column("message", TEXT, "What was seen"),
                Column("advice", TEXT, "What to try"),
                TIME,
            ),
        ),
        Table(
            "contexts",
            "Terminal hidden states, one row a completion: what the Conductor read",
            (
                RUN,
                ATTEMPT,
                STEP,
                SPLIT,
                GROUP,
                SAMPLE,
                Column("context", HALVES, "Hidden state at the last token, half precision (D)"),
            ),
            supersedes=("split", "step"),
        ),
        Table(
            "annotations",
            "Votes, ratings, tags and notes of people; the newest row of an annotation_id counts",
            (
                RUN,
                Column("annotation_id", TEXT, "Identity of the annotation"),
                Column("type", TEXT, "rating, vote, tag or note"),
                SPLIT,
                STEP,
                PROMPT_ID,
                GROUP,
                SAMPLE,
                Column("rater", TEXT, "Who said so"),
                Column("score", REAL, "The score of a rating, in [0, 1]"),
                Column("text", TEXT, "The tag, or the text of the note"),
                Column("removed", FLAG, "True where the annotation was taken back"),
                TIME,
            ),
        ),
        Table(
            "deletions",
            "Tombstones: runs that were deleted and are hidden from every view",
            (RUN, TIME),
        ),
    )
}


def sql_columns(columns: Iterable[Column], sep: str = ", ") -> str:
    """Column definitions for CREATE TABLE."""
    return sep.join(f"{c.name} {c.sql_type}" for c in columns)
