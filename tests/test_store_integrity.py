"""Nothing changed, nothing hidden: flipped bits, failing reads, odd names and files of others."""

from __future__ import annotations

import errno
import gzip
import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from store_batches import RUN, fill, make_batch, make_run, plain_count

from workbench.api.workbench import Workbench
from workbench.pages.app import Router
from workbench.runs.imports import import_path
from workbench.store import manifest, segments
from workbench.store.annotations import annotate, tombstone
from workbench.store.archive import archive
from workbench.store.cache import LiveCache
from workbench.store.catalog import OWN_FOLDER, create_store, ensure_store, store_path
from workbench.store.doctor import examine
from workbench.store.encode import encode_rollouts, objective_maps
from workbench.store.errors import StoreError, StoreWarning
from workbench.store.export import export
from workbench.store.migrations import bring_up
from workbench.store.quarantine import quarantined
from workbench.store.reader import Store
from workbench.store.segments import encode_segment, why_damaged
from workbench.store.state import read_state, write_atomically, write_state
from workbench.store.sums import check_sums

OTHER = "20260101-000000-beef"


def rows_of(runs_dir: Path) -> list[list[object]]:
    return Store(runs_dir).sql("FROM rollouts ORDER BY ALL").astype(str).values.tolist()


def flipped(data: bytes, bit: int) -> bytes:
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


# -- flipped bits ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """One segment of every table that a run writes, as bytes by path."""
    root = tmp_path_factory.mktemp("flips")
    run_dir = make_run(root)
    fill(run_dir, range(1))
    annotate(root, RUN, "note", text="workbench_checksum")
    return {p: p.read_bytes() for p in sorted(run_dir.glob("segments/*/*.parquet"))}


def test_no_flipped_bit_passes_for_a_whole_segment(written):
    rng = random.Random(0)
    assert len(written) == 5 and all(why_damaged(data) is None for data in written.values())
    for data in written.values():
        for bit in rng.sample(range(8 * len(data)), 300):
            assert why_damaged(flipped(data, bit)) is not None, bit
    # the checksum's own name, and the version that says that there must be one, bit by bit
    data = next(iter(written.values()))
    for word in (segments.CHECKSUM, b"workbench_schema"):
        at = data.rfind(word)
        for bit in range(8 * at, 8 * (at + len(word) + 20)):
            assert why_damaged(flipped(data, bit)) is not None, (word, bit)


def flip_and_ask(written, count: int, seed: int) -> None:
    rng = random.Random(seed)
    root = next(iter(written)).parents[3]
    views = {p.parent.name: p.parent.name for p in written}
    before = {
        v: Store(root).sql(f"FROM {v} ORDER BY ALL").astype(str).values.tolist() for v in views
    }
    for _ in range(count):
        path, data = rng.choice(list(written.items()))
        fresh = path.with_name(f"{path.name[:-8]}-{rng.random()}.parquet")
        path.unlink()
        fresh.write_bytes(flipped(data, rng.randrange(8 * len(data))))
        view = path.parent.name
        with pytest.warns(StoreWarning, match=fresh.name):
            left = Store(root).sql(f"FROM {view}")
        assert len(left) == 0 and any(fresh.name in n for n in Store(root).notices)
        shutil.rmtree(root / RUN / "quarantine")
        path.write_bytes(data)
        seen = Store(root).sql(f"FROM {view} ORDER BY ALL").astype(str).values.tolist()
        assert seen == before[view]


def test_flipped_bits_are_told_to_whoever_asks(written):
    flip_and_ask(written, 12, seed=1)


@pytest.mark.slow
def test_many_flipped_bits_are_told_to_whoever_asks(written):
    flip_and_ask(written, 1500, seed=2)


def test_a_flipped_bit_never_becomes_a_native_row(tmp_path):
    run_dir = make_run(tmp_path)
    fill(run_dir, range(3))
    path = sorted((run_dir / "segments" / "rollouts").iterdir())[1]
    path.write_bytes(flipped(path.read_bytes(), 4000))
    report = archive(tmp_path, RUN)
    assert path.name in str(report)
    assert plain_count(tmp_path, "archive.rollouts") == 16
    (found,) = quarantined(tmp_path)
    assert "checksum" in found.reason and found.moved_to.exists()
    assert not examine(tmp_path).healthy


def test_what_was_set_aside_is_told_by_everything_that_reads_the_store(tmp_path):
    run_dir = make_run(tmp_path)
    fill(run_dir, range(2))
    path = sorted((run_dir / "segments" / "rollouts").iterdir())[0]
    path.write_bytes(b"")
    examine(tmp_path)  # another process than those below would do it as well
    code = (
        f"import workbench; print(len(workbench.Workbench({str(tmp_path)!r}).sql('FROM rollouts')))"
    )
    notebook = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert notebook.stdout == "8\n" and path.name in notebook.stderr, notebook.stderr
    command = [sys.executable, "-m", "workbench", "query", "SELECT count(*) AS n FROM rollouts"]
    done = subprocess.run(
        [*command, "--runs-dir", str(tmp_path), "--json"], capture_output=True, text=True
    )
    assert json.loads(done.stdout) == [{"n": 8}]
    assert done.stderr.startswith("note: ") and path.name in done.stderr
    wb = Workbench(tmp_path)
    assert any(path.name in text for text in wb.notices)
    assert path.name in Router(wb, {})._notices()  # above every page


def test_a_segment_that_was_set_aside_though_whole_comes_back(tmp_path):
    run_dir = make_run(tmp_path)
    fill(run_dir, range(2))
    (path, *_) = sorted((run_dir / "segments" / "rollouts").iterdir())
    aside = run_dir / "quarantine" / "rollouts" / path.name
    aside.parent.mkdir(parents=True)
    path.rename(aside)
    aside.with_suffix(".txt").write_text("too many open files")
    health = examine(tmp_path, mend=True)
    assert health.healthy and any("back in its place" in m for m in health.mended)
    assert plain_count(tmp_path, "rollouts") == 16 and quarantined(tmp_path) == []


def test_older_segments_have_no_checksum_and_are_decoded_whole(tmp_path):
    folder = make_run(tmp_path) / "segments" / "rollouts"
    folder.mkdir(parents=True)
    rows, _ = encode_rollouts(make_batch(0), RUN, 1, 0.0)
    old = rows.replace_schema_metadata({"workbench_schema": "3"})
    pq.write_table(old, folder / "s0001-000000-old.parquet")
    assert len(rows_of(tmp_path)) == 8
    new = rows.replace_schema_metadata({"workbench_schema": "4"})
    pq.write_table(new, folder / "s0001-000001-cut.parquet")
    with pytest.warns(StoreWarning, match="checksum is missing"):
        assert len(rows_of(tmp_path)) == 8


def test_a_name_twice_in_one_map_is_damage_of_its_segment_only(tmp_path):
    run_dir = make_run(tmp_path)
    fill(run_dir, range(1))
    rows, _ = encode_rollouts(make_batch(1), RUN, 1, 0.0)
    twice = pa.MapArray.from_arrays(
        pa.array([2 * i for i in range(9)], pa.int32()),
        pa.array(["a", "a"] * 8),
        pa.array([0.5, 0.25] * 8),
    )
    at = rows.schema.get_field_index("rewards")
    bad = rows.set_column(at, "rewards", twice).replace_schema_metadata(None)
    pq.write_table(bad, run_dir / "segments" / "rollouts" / "s0001-000005-old.parquet")
    with pytest.warns(StoreWarning, match="occurs twice"):
        assert len(rows_of(tmp_path)) == 8
    with pytest.raises(ValueError, match="occurs twice"):
        objective_maps(np.zeros((1, 2)), ["a", "a"], 1)


# -- reads that fail -------------------------------------------------------------------------------

ERRORS = [errno.EMFILE, errno.EIO, errno.ESTALE, errno.EACCES, errno.ENOMEM]


def failing(monkeypatch, target: object, name: str, code: int, times: float):
    """Let calls fail with an error of the system, the first ``times`` of them."""
    real, left = getattr(target, name), [times]

    def fail(*args: object, **named: object) -> object:
        if left[0] > 0:
            left[0] -= 1
            raise OSError(code, os.strerror(code))
        return real(*args, **named)

    monkeypatch.setattr(target, name, fail)
    monkeypatch.setattr(segments, "READ_PAUSE", 0.001)
    monkeypatch.setattr(manifest, "READ_PAUSE", 0.001)


@pytest.mark.parametrize("code", ERRORS)
def test_a_read_that_fails_once_is_tried_again(tmp_path, monkeypatch, code):
    fill(make_run(tmp_path), range(3))
    failing(monkeypatch, Path, "read_bytes", code, 1)
    assert len(rows_of(tmp_path)) == 24 and Store(tmp_path).notices == []
    failing(monkeypatch, os, "scandir", code, 1)
    fill(make_run(tmp_path, OTHER), range(1))
    assert len(rows_of(tmp_path)) == 32 and quarantined(tmp_path) == []


@pytest.mark.parametrize("code", [errno.EMFILE, errno.EACCES])
@pytest.mark.filterwarnings("ignore::workbench.store.errors.StoreWarning")
def test_a_read_that_goes_on_failing_is_told_and_nothing_is_moved(tmp_path, monkeypatch, code):
    run_dir = make_run(tmp_path)
    fill(run_dir, range(3))
    files = sorted((run_dir / "segments" / "rollouts").iterdir())
    monkeypatch.setattr("workbench.store.cache.RETRY_SECONDS", 0.0)
    with monkeypatch.context() as broken:
        failing(broken, Path, "read_bytes", code, 3)
        with pytest.warns(StoreWarning, match=f"{files[0].name} cannot be read"):
            assert len(rows_of(tmp_path)) == 16
    assert len(rows_of(tmp_path)) == 24 and Store(tmp_path).notices == []
    with monkeypatch.context() as broken:
        failing(broken, Path, "read_bytes", code, float("inf"))
        report = archive(tmp_path, RUN)
        assert report.segments == 0 and "cannot be read now" in str(report)
        assert not examine(tmp_path).healthy
    assert all(f.exists() for f in files) and quarantined(tmp_path) == []
    assert archive(tmp_path, RUN).rows == 30 and examine(tmp_path).healthy


def test_duckdb_that_cannot_open_a_segment_is_asked_again(tmp_path, monkeypatch):
    fill(make_run(tmp_path), range(2))
    real, left = LiveCache._read, [2]

    def read(self, table, numbers):
        if left[0]:
            left[0] -= 1
            raise duckdb.IOException("IO Error: Cannot open file: Too many open files")
        return real(self, table, numbers)

    monkeypatch.setattr(LiveCache, "_read", read)
    assert len(rows_of(tmp_path)) == 16
    assert quarantined(tmp_path) == [] and Store(tmp_path).notices == []


# -- odd files and names ---------------------------------------------------------------------------

ODD_FILES = {
    "half an emoji": b'{"run_id": "x", "name": "cut \\ud83d", "cwd": "/tmp/\\udcff"}',
    "no number": b'{"name": "n", "schema": "four", "created": "yesterday", "seed": [1]}',
    "nul": b'{"name": "a\\u0000b", "summary": {"objectives": "none"}}',
    "not a number": b'{"name": "n", "created": NaN, "summary": [NaN, Infinity]}',
    "a list": b"[1, 2]",
    "too deep": b"[" * 100_000,
    "nothing": b"",
    "no text": b"\xff\xfe\x00",
}
"""The first four are JSON objects that say strange things, the others are no JSON objects."""


@pytest.mark.filterwarnings("ignore::workbench.store.errors.StoreWarning")
def test_odd_files_of_some_runs_touch_no_other(tmp_path):
    fill(make_run(tmp_path), range(1))
    damaged, readable = set(), set()
    for number, content in enumerate(ODD_FILES.values()):
        for file in ("run.json", "state.json"):
            run_dir = make_run(tmp_path, f"20260101-000000-{number}{file[0]}")
            (run_dir / "segments").mkdir()
            shutil.copytree(
                tmp_path / RUN / "segments" / "metrics", run_dir / "segments" / "metrics"
            )
            (run_dir / file).write_bytes(content)
            (readable if number < 4 else damaged).add(str(run_dir / file))
    for _ in range(2):
        shown = Store(tmp_path).runs()
        # a run without a readable run.json is not listed; all others are
        assert len(shown) == 1 + len(readable) + len(damaged) // 2 and "cut ?" in set(shown.name)
        counted = Store(tmp_path).sql("SELECT count(*) AS n FROM metrics").n[0]
        assert counted == 17 == plain_count(tmp_path, "metrics")
        notices, problems = Store(tmp_path).notices, examine(tmp_path).problems
        for path in damaged:
            assert any(n.startswith(path) for n in notices)
            file, run = Path(path).name, Path(path).parent.name
            assert any(run in p and f"{file} is damaged" in p for p in problems)
        assert not any(path in n for n in notices for path in readable)
        archive(tmp_path)
    for path in damaged | readable:
        assert isinstance(read_state(Path(path).parent), dict)


@pytest.mark.filterwarnings("ignore::workbench.store.errors.StoreWarning")
def test_a_directory_whose_name_is_no_text_is_passed_over_and_named(tmp_path):
    fill(make_run(tmp_path), range(1))
    odd = os.fsencode(tmp_path) + b"/2026\xff-run"
    os.makedirs(odd + b"/segments/metrics")
    assert len(rows_of(tmp_path)) == 8
    assert any("2026\\udcff-run" in n for n in Store(tmp_path).notices)
    assert archive(tmp_path, RUN).rows == 10
    assert any("UTF-8" in p for p in examine(tmp_path).problems)
    with pytest.raises(StoreError, match="no UTF-8 text"):
        Store(Path(os.fsdecode(odd)))


def test_half_an_emoji_is_written_as_a_question_mark(tmp_path):
    run_dir = make_run(tmp_path)
    annotate(tmp_path, RUN, "note", text="cut \ud83d", rater="\ud83d")
    write_state(run_dir, message="it broke at \ud83d")
    assert Store(tmp_path).sql("SELECT text, rater FROM annotations").values.tolist() == [
        ["cut ?", "?"]
    ]
    assert Store(tmp_path).runs().message.tolist() == ["it broke at ?"]


def test_files_get_the_rights_that_the_user_gives_new_files(tmp_path):
    before = os.umask(0o027)
    try:
        write_atomically(tmp_path / "a", b"x")
        os.umask(0o077)
        write_atomically(tmp_path / "b", b"x")
    finally:
        os.umask(before)
    modes = [os.stat(tmp_path / name).st_mode & 0o777 for name in ("a", "b")]
    assert modes == [0o640, 0o600]


# -- a store that is being made --------------------------------------------------------------------

SMALL_DISK = """
import resource, signal, sys
from pathlib import Path
from workbench.store.catalog import create_store, ensure_own_folder, ensure_store
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
root = Path(sys.argv[1])
root.mkdir()
ensure_own_folder(root)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), -1))
print(ensure_store(root))
"""


@pytest.mark.parametrize("size", [1_000, 13_000, 60_000, 200_000])
def test_a_full_disk_leaves_no_half_store(tmp_path, size):
    root = tmp_path / "runs"
    command = [sys.executable, "-c", SMALL_DISK, str(root), str(size)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert "no store could be made" in done.stdout, done.stderr
    assert [p.name for p in root.iterdir()] == [OWN_FOLDER]
    fill(make_run(root), range(1))
    assert len(rows_of(root)) == 8 and plain_count(root, "rollouts") == 8


def test_an_empty_store_file_that_a_full_disk_left_is_made_anew(tmp_path):
    fill(make_run(tmp_path), range(1))
    create_store(tmp_path)
    store_path(tmp_path).unlink()
    duckdb.connect(str(store_path(tmp_path))).close()
    assert len(rows_of(tmp_path)) == 8 and plain_count(tmp_path, "rollouts") == 8


TRAINER = """
import sys
from pathlib import Path
from store_batches import make_batch
from workbench.store.catalog import ensure_store
from workbench.store.writer import RunWriter
run_dir = Path(sys.argv[1])
with RunWriter(run_dir, flush_seconds=0) as writer:
    assert ensure_store(run_dir.parent) is None
    for step in range(3):
        writer.rollouts(make_batch(step))
        writer.flush()
        print(step, flush=True)
        sys.stdin.readline()
"""


def test_a_bare_client_reads_along_from_the_first_step(tmp_path):
    run_dir = make_run(tmp_path / "runs")
    env = os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), os.getcwd()])}
    trainer = subprocess.Popen(
        [sys.executable, "-c", TRAINER, str(run_dir)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=env,
    )
    for step in range(3):
        assert trainer.stdout.readline() == f"{step}\n"
        assert plain_count(tmp_path / "runs", "rollouts") == 8 * (step + 1)
        trainer.stdin.write("\n")
        trainer.stdin.flush()
    assert trainer.wait() == 0


def test_a_run_makes_the_store_before_it_loads_anything(tmp_path, monkeypatch):
    from workbench.config.io import load
    from workbench.runs import rundir
    from workbench.train import process

    config = load({"name": "first", "steps": 1})
    run_id = rundir.create(tmp_path, config, token=None, parent=None, cwd=Path.cwd())

    def load_task(_: object) -> None:
        assert plain_count(tmp_path, "runs") == 1
        raise KeyboardInterrupt

    monkeypatch.setattr(process, "load_task", load_task)
    monkeypatch.setattr(process.StopRequest, "__init__", lambda self, run_dir: None)
    one = process.Child(tmp_path / run_id, resume=False)
    with pytest.raises(KeyboardInterrupt):
        one.run()
    one.writer.close()


def test_no_store_is_no_reason_not_to_train(tmp_path):
    (tmp_path / "file").write_text("")
    assert "no store could be made" in str(ensure_store(tmp_path / "file"))


# -- files of others -------------------------------------------------------------------------------


def everything_in(root: Path) -> dict[str, bytes | None]:
    return {str(p): p.read_bytes() if p.is_file() else None for p in root.rglob("*")}


@pytest.mark.filterwarnings("ignore::workbench.store.errors.StoreWarning")
@pytest.mark.parametrize("kind", ["today's", "older", "none"])
def test_a_store_of_others_is_read_and_not_changed(tmp_path, kind):
    theirs, mine = tmp_path / "theirs", tmp_path / "mine"
    fill(make_run(theirs), range(3))
    if kind == "today's":
        archive(theirs, RUN)
    if kind == "older":
        packed = Path(__file__).with_name("store_schema2.duckdb.gz")
        store_path(theirs).write_bytes(gzip.decompress(packed.read_bytes()))
    fill(theirs / RUN, range(3, 5))
    damaged = sorted((theirs / RUN / "segments" / "rollouts").iterdir())[0]
    damaged.write_bytes(b"PAR1 and so on PAR1")
    before = everything_in(theirs)
    found = import_path(mine, theirs)
    assert RUN in found and len(found) == (2 if kind == "older" else 1)
    assert everything_in(theirs) == before
    steps = Store(mine).sql(
        "SELECT count(DISTINCT step) AS n FROM rollouts WHERE run_id = ?", [RUN]
    )
    assert steps.n[0] == 4


EVIL = "x\"; COPY (SELECT 1) TO '{}'; --"


def test_names_out_of_a_store_are_never_run(tmp_path):
    packed = Path(__file__).with_name("store_schema2.duckdb.gz")
    theirs, mark = tmp_path / "theirs", tmp_path / "mark"
    theirs.mkdir()
    store_path(theirs).write_bytes(gzip.decompress(packed.read_bytes()))
    name = EVIL.format(mark).replace('"', '""')
    with duckdb.connect(str(store_path(theirs))) as con:
        con.execute(f'CREATE SCHEMA "{name}"')
        con.execute(f'CREATE VIEW "{name}"."{name}" AS SELECT 1')
        con.execute(f'CREATE VIEW "{name}" AS SELECT 1')
    shutil.copytree(theirs, tmp_path / "own")
    assert len(import_path(tmp_path / "mine", theirs)) == 1
    archive(tmp_path / "own")
    assert Store(tmp_path / "own").sql("SELECT count(*) AS n FROM rollouts").n[0] == 12
    assert not mark.exists()


def test_a_view_in_the_place_of_a_table_is_refused(tmp_path):
    fill(make_run(tmp_path), range(1))
    archive(tmp_path, RUN)
    secret = tmp_path / "secret.csv"
    secret.write_text("a\n1\n")
    with duckdb.connect(str(store_path(tmp_path))) as con:
        con.execute("DROP TABLE archive.warnings")
        con.execute(f"CREATE VIEW archive.warnings AS FROM read_csv('{secret}')")
    for ask in (lambda: Store(tmp_path).sql("FROM warnings"), lambda: archive(tmp_path, RUN)):
        with pytest.raises(StoreError, match="no store of a workbench: .*archive.warnings"):
            ask()


def test_nothing_but_a_segment_is_deleted_by_a_name_out_of_the_store(tmp_path):
    fill(make_run(tmp_path / "runs"), range(2))
    archive(tmp_path / "runs", RUN)
    fill(tmp_path / "runs" / RUN, range(2, 3))
    kept = tmp_path / "precious.parquet"
    kept.write_text("")
    inside = tmp_path / "runs" / RUN / "run.json"
    linked = tmp_path / "runs" / "linked"
    linked.symlink_to(tmp_path)
    (tmp_path / "segments" / "rollouts").mkdir(parents=True)
    (tmp_path / "segments" / "rollouts" / "s1.parquet").write_text("")
    names = [
        ("../..", "rollouts", "precious.parquet"),
        (RUN, "..", "../run.json"),
        (RUN, "rollouts", "../../run.json"),
        (str(tmp_path), "rollouts", str(kept)),
        ("linked", "rollouts", "s1.parquet"),
        (RUN, "no_such_table", "s1.parquet"),
    ]
    with duckdb.connect(str(store_path(tmp_path / "runs"))) as con:
        con.executemany("INSERT INTO archive.segments VALUES (?, ?, ?)", names)
    report = archive(tmp_path / "runs", RUN)
    assert sum("no segment, left alone" in m for m in report.messages) == len(names)
    assert (
        kept.exists() and inside.exists() and (tmp_path / "segments/rollouts/s1.parquet").exists()
    )
    assert plain_count(tmp_path / "runs", "archive.segments") == 0


def test_bring_up_refuses_a_file_of_something_else(tmp_path):
    path = tmp_path / "workbench.duckdb"
    with duckdb.connect(str(path)) as con:
        con.execute("CREATE TABLE other AS SELECT 1 AS a")
        with pytest.raises(StoreError, match="no store of a workbench"):
            bring_up(con, tmp_path, path)
    with pytest.raises(StoreError, match="no store of a workbench"):
        Store(tmp_path)


# -- what killed processes leave -------------------------------------------------------------------

KILLED_IMPORT = """
import os, signal, sys
from workbench.runs.imports import import_path
from workbench.store import imports
def killed(*_, **__): os.kill(os.getpid(), signal.SIGKILL)
imports.write_state = killed
import_path(sys.argv[1], sys.argv[2], "again")
"""


def test_a_killed_import_is_named_cleared_and_possible_again(tmp_path):
    runs, rows = tmp_path / "runs", tmp_path / "rows.jsonl"
    rows.write_text('{"prompt": "p", "completion": "c", "rewards": {"a": 1.0}}\n')
    fill(make_run(runs), range(1))
    command = [sys.executable, "-c", KILLED_IMPORT, str(runs), str(rows)]
    assert subprocess.run(command).returncode == -9
    (left,) = runs.glob(".import-*")
    (run,) = import_path(runs, rows, "again")
    os.utime(left, (0, 0))
    assert any(str(left) in p for p in examine(runs).problems)
    assert examine(runs, mend=True).healthy and not left.exists()
    assert run in set(Store(runs).runs().run_id)


def test_killed_deletions_and_temporary_files_are_named_and_cleared(tmp_path):
    fill(make_run(tmp_path), range(1))
    gone = make_run(tmp_path, OTHER)
    write_state(gone, status="finished")
    tombstone(tmp_path, OTHER)  # killed here: the directory is still there
    left = [
        tmp_path / ".deleted-20260101-000000-0001" / "checkpoints",
        tmp_path / ".new-20260101-000000-0002",
        tmp_path / ".workbench.duckdb.abc123.tmp",
        tmp_path / RUN / ".state.json.abc123.tmp",
        tmp_path / RUN / "segments" / "metrics" / ".s0001-000000-ab.parquet.abcd.tmp",
    ]
    for path in left:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir() if "." not in path.name[1:] else path.write_text("")
    health = examine(tmp_path)
    assert len(health.problems) == 6 and any(OTHER in p for p in health.problems)
    assert examine(tmp_path, mend=True).healthy
    assert not any(p.exists() for p in left) and not gone.exists()
    assert len(rows_of(tmp_path)) == 8


def test_a_deleted_run_that_is_imported_again_is_seen(tmp_path):
    fill(make_run(tmp_path / "runs"), range(1))
    export(tmp_path / "runs", [RUN], tmp_path / "kept.duckdb", "duckdb")
    tombstone(tmp_path / "runs", RUN)
    shutil.rmtree(tmp_path / "runs" / RUN)
    archive(tmp_path / "runs")
    (run,) = import_path(tmp_path / "runs", tmp_path / "kept.duckdb")
    assert run != RUN and Store(tmp_path / "runs").runs().run_id.tolist() == [run]
    assert len(rows_of(tmp_path / "runs")) == 8


def test_bytes_of_a_segment_are_the_same_to_every_reader(tmp_path):
    rows, _ = encode_rollouts(make_batch(0), RUN, 1, 0.0)
    path = tmp_path / "s.parquet"
    path.write_bytes(encode_segment(rows))
    assert pq.read_table(path).equals(rows.cast(pq.read_table(path).schema))
    assert duckdb.sql(f"SELECT count(*) FROM '{path}'").fetchall() == [(8,)]


@pytest.mark.parametrize("format", ["parquet", "csv", "jsonl"])
def test_a_changed_file_of_an_export_is_noticed(tmp_path, format):
    fill(make_run(tmp_path / "runs"), range(1))
    files = export(tmp_path / "runs", [RUN], tmp_path / "out", format)
    assert tmp_path / "out" / "SHA256SUMS" in files
    check_sums(tmp_path / "out")
    path = tmp_path / "out" / f"rollouts.{format}"
    path.write_bytes(flipped(path.read_bytes(), 4000))
    with pytest.raises(StoreError, match=f"rollouts.{format} was changed"):
        check_sums(tmp_path / "out")
    (tmp_path / "out" / "SHA256SUMS").unlink()
    check_sums(tmp_path / "out")
