"""The query box against every table function and kind of statement; the first list of escapes
stands in ``test_store_reader``. ``make escapes`` prints them all with their refusals."""  # noqa: D205, D209

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys

import pytest
from escapes import MORE, everything, functions, refusal
from store_batches import make_batch, make_run

from workbench.store.errors import QueryError
from workbench.store.query_process import process_for
from workbench.store.reader import Store
from workbench.store.writer import RunWriter


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    root = tmp_path_factory.mktemp("escapes")
    with RunWriter(make_run(root)) as writer:
        writer.rollouts(make_batch(0, contexts=None))
    return Store(root)


def test_no_escape_is_answered(store):
    answered = [sql for sql in (*MORE, *functions()) if not refusal(store, sql)]
    assert answered == []
    assert len(everything()) > 180
    assert store.sql("SELECT count(*) AS n FROM rollouts").n[0] == 8


GREEDY = {
    "one string": "SELECT repeat('x', 1000000000000)",
    "many strings": "SELECT list(repeat('x', 1000000)) FROM range(100000)",
    "a list": "SELECT list_sort(range(1000000000))",
    "recursion": "WITH RECURSIVE r AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM r) "
    "SELECT max(i) FROM r",
    "rows": "SELECT count(*) FROM range(100000) a, range(100000) b, range(100000) c",
    "one call": "SELECT damerau_levenshtein(repeat('ab', 40000), repeat('ba', 40000))",
    "one long call": "SELECT levenshtein(repeat('ab', 100000), repeat('ba', 100000))",
    "parsing": "SELECT 1" + " UNION ALL SELECT 1" * 20_000,
    "brackets": "SELECT " + "(" * 20_000 + "1" + ")" * 20_000,
    "the answer": "SELECT repeat('x', 100000) FROM range(9000)",
}


@pytest.mark.parametrize("sql", GREEDY.values(), ids=GREEDY)
def test_a_query_that_eats_memory_or_time_is_ended(store, sql):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(QueryError):
        store.query(sql, seconds=1)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 100_000  # kilobytes: whatever it ate, this process did not
    assert store.query("SELECT count(*) AS n FROM rollouts").rows.n[0] == 8


def test_the_command_is_ended_too(store):
    command = [sys.executable, "-m", "workbench", "query", "--runs-dir", str(store.runs_dir)]
    done = subprocess.run([*command, GREEDY["a list"]], capture_output=True, text=True)
    assert done.returncode == 1 and done.stdout == "" and done.stderr.count("\n") == 1
    assert "memory" in done.stderr


def test_a_child_that_dies_is_replaced_and_ends_with_its_parent(store):
    process = process_for(store.runs_dir)
    store.query("SELECT 1")
    first = process._child.pid
    os.kill(first, signal.SIGKILL)
    process._child.wait()
    assert store.query("SELECT 2 AS n").rows.n[0] == 2
    second = process._child
    assert second.pid != first
    second.stdin.close()  # what the end of this process does
    assert second.wait(timeout=30) == 0
