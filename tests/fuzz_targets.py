"""What is fuzzed: each target takes bytes and raises only where something is wrong.

A refusal (``ConfigError``, ``QueryError`` and the like) is an answer. Anything else that comes out
is a finding, and so is a configuration that does not come back, a list that loses its neighbours or
a handle that leaves the runs directory.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from store_batches import RUN, make_batch, make_run

from workbench.config import TaskConfig
from workbench.config.io import ConfigError, load, parse_text, validate
from workbench.config.text import dump
from workbench.config.yamlio import YamlError, parse
from workbench.runs.imports import rollout_tables
from workbench.runs.launcher import Launcher
from workbench.runs.rundir import UnknownRunError, resolve
from workbench.runs.validation import check_allowed, check_config
from workbench.store.errors import QueryError, StoreError
from workbench.store.quarantine import quarantined
from workbench.store.reader import Store
from workbench.store.writer import RunWriter
from workbench.tasks import load_task

GOOD = "20260101-000000-900d"


@cache
def folder() -> Path:
    """A place of this process."""
    return Path(tempfile.mkdtemp(prefix="fuzz-"))


@cache
def store() -> Store:
    """Two runs with rows; one of them is then damaged again and again."""
    root = folder() / "runs"
    for run in (RUN, GOOD):
        with RunWriter(make_run(root, run), flush_seconds=0) as writer:
            writer.rollouts(make_batch(0, contexts=None))
    return Store(root)


def text_of(data: bytes) -> str:
    return data.decode("utf-8", "replace")


def config(data: bytes) -> None:
    """A YAML file: refused in one line, or it comes back as it was."""
    try:
        found = parse_text(text_of(data))
    except ConfigError as error:
        assert "\n" not in str(error)
        return
    assert parse_text(dump(found)) == found


def yaml(data: bytes) -> None:
    """YAML by itself: what is read holds plain values only."""
    try:
        json.dumps(parse(text_of(data)), default=_never)
    except YamlError:
        pass


def _never(value: Any) -> str:
    raise AssertionError(f"{type(value)} came out of YAML")


def override(data: bytes) -> None:
    """``--set KEY=VALUE``."""
    try:
        load("quick", [text_of(data)])
    except ConfigError as error:
        assert "\n" not in str(error)


def api(data: bytes) -> None:
    """What a script sends to ``/start``: any JSON."""
    try:
        value = json.loads(data)
    except ValueError:
        return
    if not isinstance(value, dict):
        return
    try:
        found = validate(value)
        check_config(found)
        check_allowed(found, [])
    except ConfigError as error:
        assert "\n" not in str(error)


def handle(data: bytes) -> None:
    """A run's id or name as somebody gives it."""
    root = store().runs_dir
    try:
        path = resolve(root, text_of(data))
    except UnknownRunError:
        return
    assert path.parent == root and path.name in (RUN, GOOD)


def view(data: bytes) -> None:
    """The address that a browser sends."""
    from workbench.pages.page import parse_view

    try:
        raw = json.loads(data)
    except ValueError:
        raw = text_of(data)
    for key, value in parse_view(raw).items():
        assert isinstance(value, str) and 0 < len(value) <= 4000
        assert isinstance(key, str)


def query(data: bytes) -> None:
    """What somebody types into the query box: refused, or at most so many rows."""
    try:
        answer = store().query(text_of(data), limit=5, seconds=2)
    except (QueryError, UnicodeEncodeError):
        return
    assert len(answer.rows) <= 5


def _rows(data: bytes, suffix: str) -> None:
    file = folder() / f"rows{suffix}"
    file.write_bytes(data)
    try:
        task = load_task(TaskConfig(name="file", path=str(file)))
    except (ValueError, OSError) as error:
        assert str(error)
        return
    assert all(e.prompt for e in task.train)


def jsonl(data: bytes) -> None:
    """Prompts as JSON lines."""
    _rows(data, ".jsonl")


def csv(data: bytes) -> None:
    """Prompts as CSV."""
    _rows(data, ".csv")


def parquet(data: bytes) -> None:
    """Prompts as Parquet."""
    _rows(data, ".parquet")


def imported(data: bytes) -> None:
    """Rows to import as JSON lines."""
    file = folder() / "import.jsonl"
    file.write_bytes(data)
    try:
        rollout_tables(file)
    except (StoreError, ValueError, TypeError):
        pass  # what import_path turns into one line


def segment(data: bytes) -> None:
    """A segment of the damaged run: the other run's rows stay, and readers go on."""
    place = store().runs_dir / RUN / "segments" / "rollouts" / "s0001-000007-x.parquet"
    place.write_bytes(data)
    rows = store().sql("SELECT count(*) AS n FROM rollouts WHERE run_id = $run", {"run": GOOD})
    assert rows.n[0] == 8
    place.unlink(missing_ok=True)
    for old in quarantined(store().runs_dir):
        old.moved_to.unlink(missing_ok=True)


def run_files(data: bytes) -> None:
    """run.json, state.json and process.json of one run: the other one stays in every list."""
    root = store().runs_dir
    names = ("run.json", "state.json", "process.json")
    kept = {n: (root / RUN / n).read_bytes() for n in names if (root / RUN / n).exists()}
    which = data[0] % 3 if data else 0
    try:
        (root / RUN / names[which]).write_bytes(data[1:])
        listed = {info.run_id: info for info in Launcher(root).list()}
        assert listed[GOOD].name == f"name-{GOOD}" and RUN in listed
        for info in listed.values():
            json.dumps(info.as_dict(), allow_nan=True)
            assert isinstance(info.name, str) and isinstance(info.status, str)
        assert GOOD in set(store().runs().run_id)
    finally:
        for name in names:
            (root / RUN / name).unlink(missing_ok=True)
        for name, content in kept.items():
            (root / RUN / name).write_bytes(content)


TARGETS: dict[str, Callable[[bytes], None]] = {
    f.__name__: f
    for f in (config, yaml, override, api, handle, view, query, jsonl, csv, parquet, imported,
              segment, run_files)
}  # fmt: skip

ROW = {"prompt": "a", "completion": "b", "rewards": {"format": 0.5}, "step": 1, "kind": "x"}
SEEDS: dict[str, list[bytes]] = {
    "config": [b"steps: 3\nscalarizer: {name: conductor}", b"objectives: [format, {name: a}]"],
    "yaml": [b"a: {b: [1, 0x1f, .nan, '\\u00e9', null]}\n", b"--- !!python/object:os.system x"],
    "override": [b"scalarizer.emphasis=0.3", b"objectives.format.sign=-1", b"policy.lora.r=4"],
    "api": [b'{"steps": 3, "grpo": {"num_generations": 4}}', b'{"objectives": ["format"]}'],
    "handle": [RUN.encode(), b"../x", b"name-" + GOOD.encode()],
    "view": [b'{"tab": "runs", "run": "a", "step": 3}'],
    "query": [b"SELECT kind, avg(advantage) FROM rollouts GROUP BY ALL", b"FROM read_text('/x')"],
    "jsonl": [b'{"prompt": "a", "reference": "b", "kind": "c"}\n' * 12],
    "csv": [b"prompt,reference,kind\n" + b"".join(b"p%d,r,k\n" % i for i in range(12))],
    "parquet": [b"PAR1"],
    "imported": [json.dumps(ROW).encode() + b"\n" + json.dumps(ROW | {"rewards": 1}).encode()],
    "segment": [b"PAR1"],
    "run_files": [
        b"\x00" + json.dumps({"run_id": RUN, "name": "a", "created": 1.0, "kind": "x"}).encode(),
        b"\x00{}",
        b'\x00{"name": 3, "created": "x", "summary": [], "kind": null}',
        b'\x01{"status": 3, "step": "x", "heartbeat": "y"}',
        b'\x01{"status": "running"}',
        b'\x02{"pid": "x", "pid_created": 1.0, "pgid": []}',
        b'\x02{"pid": 99999999999999999999, "pid_created": 1.0}',
    ],
}
"""Where a fuzzer starts from; the suite replays all of them."""
