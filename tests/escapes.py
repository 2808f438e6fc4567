"""Ways out of the query box, all of them refused: ``python tests/escapes.py`` tries and lists them.

Three kinds: what people have thought of, every table function that this DuckDB has (all but a few
harmless ones), and one statement of every kind that it can parse.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import duckdb
from store_batches import make_batch, make_run
from test_store_reader import ESCAPES

from workbench.store.errors import QueryError
from workbench.store.reader import Store
from workbench.store.sandbox import TABLE_FUNCTIONS
from workbench.store.writer import RunWriter

MORE = (
    "SELECT current_setting('allowed_paths')",
    "SELECT sleep_ms(60000)",
    "SELECT pg_sleep(60)",
    "SELECT nextval('x')",
    "SELECT getvariable('x')",
    "SELECT write_log('x')",
    "SELECT * FROM (SELECT * FROM read_text('/etc/hostname'))",
    "SELECT (WITH x AS (FROM read_csv('/etc/hostname')) SELECT count(*) FROM x)",
    "SELECT EXISTS (FROM glob('/*'))",
    "SELECT 1 WHERE 'x' IN (SELECT content FROM read_text('/etc/hostname'))",
    "SELECT 1 ORDER BY (SELECT content FROM read_text('/etc/hostname'))",
    "SELECT 1 LIMIT (SELECT length(content) FROM read_text('/etc/hostname'))",
    "SELECT * FROM rollouts, LATERAL read_text('/etc/hostname')",
    "SELECT * FROM range(1) t(i) JOIN glob('/*') ON true",
    "SELECT rank() OVER (ORDER BY (SELECT max(file) FROM glob('/*')))",
    "FROM READ_TEXT('/etc/hostname')",
    'FROM "read_text"(\'/etc/hostname\')',
    "FROM system.main.read_text('/etc/hostname')",
    "FROM main.glob('/*')",
    "FROM 's3://bucket/file.parquet'",
    "FROM 'https://example.org/x.csv'",
    "FROM '/etc/hostname.csv'",
    "FROM '../../etc/hostname.parquet'",
    "FROM \"C:\\x.csv\"",
    "WITH t AS (SELECT 1) DELETE FROM live.rollouts",
    "WITH t AS (SELECT 1) INSERT INTO live.rollouts BY NAME SELECT 'x' AS run_id",
    "SELECT 1 /* ; */ ; ATTACH '/tmp/escaped.duckdb'",
    "SELECT 1;;COPY (SELECT 1) TO '/tmp/escaped.csv'",
    "PREPARE v AS COPY (SELECT 1) TO '/tmp/escaped.csv'",
    "EXECUTE v",
    "BEGIN",
    "USE store",
    "SET VARIABLE x = 1",
    "SET temp_directory = '/tmp'",
    "SET allowed_directories = ['/']",
    "CREATE TEMP TABLE escaped AS SELECT 1",
    "CREATE SECRET (TYPE s3)",
    "CREATE OR REPLACE VIEW rollouts AS SELECT 1",
    "ALTER TABLE live.rollouts RENAME TO gone",
    "TRUNCATE live.rollouts",
    "VACUUM",
    "ANALYZE",
    "FORCE CHECKPOINT",
    "MERGE INTO live.runs USING (SELECT 1) ON false WHEN NOT MATCHED THEN INSERT VALUES (1,2,3)",
    "COMMENT ON TABLE live.runs IS 'x'",
    "UPDATE EXTENSIONS",
    "LOAD '/tmp/evil.duckdb_extension'",
    "INSTALL '/tmp/evil.duckdb_extension'",
    "COPY FROM DATABASE store TO memory",
    "SELECT * FROM pandas_scan(1, 2, 3)",
    "SELECT * FROM arrow_scan(1, 2, 3)",
)  # fmt: skip


def functions() -> Iterator[str]:
    """A call of every table function of this DuckDB that is not on the list of harmless ones."""
    with duckdb.connect() as con:
        names = con.sql(
            "SELECT DISTINCT function_name FROM duckdb_functions() "
            "WHERE function_type IN ('table', 'pragma') ORDER BY 1"
        ).fetchall()
    for (name,) in names:
        if name not in TABLE_FUNCTIONS:
            yield f"FROM {name}('/etc/hostname')"


def everything() -> list[str]:
    """Every escape."""
    return [*ESCAPES, *MORE, *functions()]


def refusal(store: Store, sql: str) -> str:
    """Why a query was refused; empty when it was answered."""
    place = str(store.runs_dir)
    sql = sql.replace("{root}", place).replace("{store}", f"{place}/workbench.duckdb")
    try:
        store.query(sql, seconds=5)
    except QueryError as error:
        return str(error).partition("\n")[0]
    return ""


def main() -> int:
    """Print every escape and what became of it; 1 when one came through."""
    with tempfile.TemporaryDirectory() as folder:
        with RunWriter(make_run(Path(folder))) as writer:
            writer.rollouts(make_batch(0))
        store = Store(folder)
        through = []
        for sql in everything():
            why = refusal(store, sql)
            through += [] if why else [sql]
            print(f"{sql[:78]!r:<82}{why[:90] or 'ANSWERED'}")
    print(f"{len(everything())} escapes tried, {len(through)} came through: {through or 'none'}")
    return int(bool(through))


if __name__ == "__main__":
    sys.exit(main())
