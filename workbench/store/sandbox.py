"""What a user's SQL may be: one SELECT over the store's own tables.

The database that answers is locked by its own settings (no file but the store, no configuration
change); this check, through DuckDB's own parser, is the second wall and the one with clear words.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import duckdb

from workbench.store.errors import QueryError

TABLE_FUNCTIONS = frozenset(
    {"range", "generate_series", "unnest", "duckdb_columns", "duckdb_views", "duckdb_tables"}
)
"""Functions that may stand in FROM; all others (files, settings, queries from text) are refused."""

REFUSED_FUNCTIONS = frozenset(
    {
        "getenv",
        "getvariable",
        "current_setting",
        "query",
        "query_table",
        "json_execute_serialized_sql",
        "write_log",
        "nextval",
        "sleep_ms",
        "pg_sleep",
    }  # fmt: skip
)
REFUSED_PREFIXES = ("read_", "copy_", "pragma_", "sniff_", "parquet_", "glob", "which_secret")


def check_select(parser: duckdb.DuckDBPyConnection, sql: str) -> str:
    """Return ``sql`` as the one SELECT it is, without a closing semicolon.

    Args:
        parser: any connection; it only parses.
        sql: what was typed.

    Raises:
        QueryError: it does not parse, is not one SELECT, or uses a function that is not allowed.
    """
    try:
        statements = parser.extract_statements(sql)
    except duckdb.Error as error:
        raise QueryError(_one_line(error)) from error
    if len(statements) != 1:
        raise QueryError(f"one SELECT at a time: found {len(statements)} statements")
    try:
        kind = statements[0].type
    except ValueError as error:  # DuckDB parses kinds of statements that its Python does not know
        raise QueryError("only SELECT can be asked of the store") from error
    if kind != duckdb.StatementType.SELECT:
        raise QueryError(f"only SELECT can be asked of the store, not {kind.name}")
    text = statements[0].query.strip().rstrip(";")
    answer = parser.execute("SELECT json_serialize_sql(?)", [text]).fetchall()[0][0]
    tree = json.loads(answer)
    if tree["error"]:
        raise QueryError(str(tree.get("error_message", "the query cannot be checked")))
    for node in _nodes(tree):
        _check_node(node)
    return text


def _check_node(node: dict[str, Any]) -> None:
    name = str(node.get("function_name", "")).lower()
    if name and (name in REFUSED_FUNCTIONS or name.startswith(REFUSED_PREFIXES)):
        raise QueryError(f"{name}() is not allowed: the store answers from its own tables only")
    if node.get("type") == "TABLE_FUNCTION":
        called = str(node["function"].get("function_name", "")).lower()
        if called not in TABLE_FUNCTIONS:
            allowed = ", ".join(sorted(TABLE_FUNCTIONS))
            raise QueryError(f"{called}() is not allowed in FROM; allowed are {allowed}")
    if node.get("type") == "BASE_TABLE":
        table = str(node.get("table_name", ""))
        if not all(c.isalnum() or c in "_ -" for c in table):
            raise QueryError(f"{table!r} is not a table of the store; files cannot be queried")


def _nodes(value: Any) -> Iterator[dict[str, Any]]:
    """Every object of a JSON tree."""
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, dict):
            yield item
            stack += item.values()
        elif isinstance(item, list):
            stack += item


def _one_line(error: BaseException) -> str:
    return str(error).split("\n\n")[0].strip()
