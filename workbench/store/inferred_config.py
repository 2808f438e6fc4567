"""What rows that came without a configuration tell of one; the rest is put down as defaults."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import duckdb
import pyarrow as pa

from workbench.config.io import ConfigError, parse_text, validate
from workbench.config.text import dump

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}\Z")
HEAD = (
    "# These rows were imported without a configuration: objectives and group size are as found\n"
    "# in them, weights equal where they said nothing of any, everything else is a default.\n"
)


def objective_names(names: Iterable[str]) -> dict[str, str]:
    """For each name of a reward the one it gets here: letters, digits, ``.``, ``_`` and ``-``.

    Two that would become the same are told apart by a number: ``a b`` and ``a/b`` become ``a-b``
    and ``a-b-2``.
    """
    chosen: dict[str, str] = {}
    for name in names:
        stem = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-._")[:70] or "reward"
        stem = name if NAME.match(name) else stem
        count, free = 1, stem
        while free in chosen.values():
            count += 1
            free = f"{stem}-{count}"
        chosen[name] = free
    return chosen


def found_names(rollouts: pa.Table) -> list[str]:
    """Every key of ``rewards``, in the order of first appearance."""
    with duckdb.connect() as con:
        con.register("given", rollouts.select(["rewards"]))
        rows = con.sql(
            "SELECT name FROM (SELECT DISTINCT map_keys(rewards) AS names FROM given), "
            "unnest(names) AS t(name)"
        ).fetchall()
    return list(dict.fromkeys(str(name) for (name,) in rows))


def assumed_config(rollouts: pa.Table) -> str:
    """A configuration for imported rows, as YAML.

    Args:
        rollouts: with columns ``rewards`` and ``group_id``.

    Raises:
        ConfigError: the rows have no rewards, or one whose name no objective can have.
    """
    with duckdb.connect() as con:
        con.register("given", rollouts.select(["group_id"]))
        counted = "SELECT max(n) FROM (SELECT count(*) AS n FROM given GROUP BY group_id)"
        (size,) = con.sql(counted).fetchall()[0]
    names: Sequence[str] = found_names(rollouts)
    config = validate({"objectives": names, "grpo": {"num_generations": max(2, int(size or 0))}})
    return HEAD + dump(config)


def is_readable(config: str | None) -> bool:
    """Whether this workbench understands a configuration that came along."""
    if config is None:
        return False
    try:
        parse_text(config)
    except ConfigError:
        return False
    return True
