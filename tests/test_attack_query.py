"""The query box against every table function and kind of statement; the first list of escapes
stands in ``test_store_reader``. ``make escapes`` prints them all with their refusals."""  # noqa: D205, D209

from __future__ import annotations

import pytest
from escapes import MORE, everything, functions, refusal
from store_batches import make_batch, make_run

from workbench.store.errors import QueryError
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


def test_a_query_that_eats_memory_or_time_is_ended(store):
    for sql in (
        "SELECT repeat('x', 1000000000000)",
        "WITH RECURSIVE r AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM r) SELECT max(i) FROM r",
        "SELECT count(*) FROM range(100000) a, range(100000) b, range(100000) c",
    ):
        with pytest.raises(QueryError):
            store.query(sql, seconds=0.3)
    assert store.sql("SELECT count(*) AS n FROM rollouts").n[0] == 8
