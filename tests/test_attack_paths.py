"""No path leaves the runs directory: files that came from elsewhere, links inside a run."""

from __future__ import annotations

import json
import shutil

import duckdb
import pytest
from store_batches import RUN, make_batch, make_run

from workbench.api.workbench import Workbench
from workbench.config.io import ConfigError, load
from workbench.runs.imports import import_path
from workbench.runs.launcher import Launcher
from workbench.runs.rundir import LauncherError, create
from workbench.store.archive import archive
from workbench.store.errors import StoreError
from workbench.store.export import export
from workbench.store.reader import Store
from workbench.store.retention import _inside
from workbench.store.writer import RunWriter


def published(root, run=RUN, steps=1):
    run_dir = make_run(root, run)
    with RunWriter(run_dir) as writer:
        for step in range(steps):
            writer.rollouts(make_batch(step, contexts=None))
    return run_dir


def exported(tmp_path):
    published(tmp_path / "source")
    (file,) = export(tmp_path / "source", [RUN], tmp_path / "evil.duckdb", "duckdb")
    return file


@pytest.mark.parametrize(
    "identity", ["../../escaped", "/tmp/escaped", "..", ".hidden", "a/b", "a\0b", "x" * 101, ""]
)
def test_an_imported_run_cannot_choose_where_it_lies(tmp_path, identity):
    file = exported(tmp_path)
    with duckdb.connect(str(file)) as con:
        for table in ("runs", "rollouts"):
            con.execute(f"UPDATE {table} SET run_id = ?", [identity.replace("\0", "\\0")])
    with pytest.raises(StoreError, match="cannot be the id of a run"):
        import_path(tmp_path / "deep" / "runs", file)
    assert not [p for p in tmp_path.rglob("*") if "escaped" in p.name or "import-" in p.name]


def test_a_view_in_an_imported_file_reads_nothing_of_this_machine(tmp_path):
    file = exported(tmp_path)
    (tmp_path / "secret.txt").write_text("secret")
    with duckdb.connect(str(file)) as con:
        con.execute("ALTER TABLE runs RENAME TO kept")
        con.execute(
            "CREATE VIEW runs AS SELECT * REPLACE ((SELECT content FROM "
            f"read_text('{tmp_path}/secret.txt')) AS name) FROM kept"
        )
    with pytest.raises(StoreError, match="is not an export of a workbench"):
        import_path(tmp_path / "runs", file)


def test_a_configuration_that_is_a_link_stays_where_it_is(tmp_path):
    run_dir = published(tmp_path / "source")
    (tmp_path / "secret.txt").write_text("hunter2")
    (run_dir / "config.yaml").symlink_to(tmp_path / "secret.txt")
    Store(tmp_path / "source")
    (run,) = import_path(tmp_path / "runs", tmp_path / "source")
    assert "hunter2" not in (tmp_path / "runs" / run / "config.yaml").read_text()


def test_what_came_in_can_be_looked_at_but_runs_nothing(tmp_path):
    """A configuration names functions and models: somebody else's must not choose ours."""
    file = exported(tmp_path)
    with duckdb.connect(str(file)) as con:
        config = "policy: {model: /elsewhere, trust_remote_code: true}"
        con.execute("UPDATE runs SET config = ?, status = 'stopped'", [config])
    runs_dir = tmp_path / "runs"
    (run,) = import_path(runs_dir, file)
    wb = Workbench(runs_dir, command=("/bin/false",))
    for act in (wb.resume, wb.evaluate):
        with pytest.raises(LauncherError, match="was imported: only its rows are here"):
            act(run)


def test_a_run_that_names_unlisted_code_is_neither_resumed_nor_evaluated(tmp_path):
    config = load("quick", ["name=own", "objectives=[{name: v, function: 'os:system'}]"])
    run = create(tmp_path, config, token=None, parent=None, cwd=tmp_path)
    Launcher(tmp_path).stop(run)  # it was queued
    wb = Workbench(tmp_path, command=("/bin/false",), allowed_functions=["mine.*"])
    for act in (wb.resume, wb.evaluate):
        with pytest.raises(ConfigError, match="'os:system' may not be used"):
            act(run)


@pytest.mark.parametrize("level", ["segments", "rollouts", "file"])
def test_rows_behind_a_link_are_neither_read_nor_deleted(tmp_path, level):
    """The archiver deletes what it has moved: never what lies elsewhere."""
    outside = published(tmp_path / "elsewhere")
    run_dir = make_run(tmp_path / "runs")
    source, target = outside / "segments", run_dir / "segments"
    shutil.rmtree(target, ignore_errors=True)
    if level == "segments":
        target.symlink_to(source)
    elif level == "rollouts":
        target.mkdir()
        (target / "rollouts").symlink_to(source / "rollouts")
    else:
        (target / "rollouts").mkdir(parents=True)
        for file in (source / "rollouts").iterdir():
            (target / "rollouts" / file.name).symlink_to(file)
    before = sorted((source / "rollouts").iterdir())
    assert Store(tmp_path / "runs").sql("SELECT count(*) AS n FROM rollouts").n[0] == 0
    archive(tmp_path / "runs")
    assert sorted((source / "rollouts").iterdir()) == before != []


def test_deleting_a_run_leaves_what_its_links_lead_to(tmp_path):
    run = create(tmp_path / "runs", load({"name": "one"}), token=None, parent=None, cwd=tmp_path)
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "file").write_text("x")
    (tmp_path / "runs" / run / "checkpoints").symlink_to(tmp_path / "precious")
    runs = Launcher(tmp_path / "runs")
    runs.stop(run)
    runs.delete(run)
    assert (tmp_path / "precious" / "file").read_text() == "x"


def test_no_checkpoint_outside_the_run_is_ever_removed(tmp_path):
    run_dir = tmp_path / "run"
    (run_dir / "checkpoints" / "step-000001").mkdir(parents=True)
    (tmp_path / "step-000002").mkdir()
    (run_dir / "checkpoints" / "step-000003").symlink_to(tmp_path / "step-000002")
    assert _inside(run_dir, "checkpoints/step-000001")
    for path in ("../step-000002", str(tmp_path / "step-000002"), "checkpoints/step-000003",
                 "checkpoints/../checkpoints", "checkpoints", ".", "", None):  # fmt: skip
        assert not _inside(run_dir, path), path


@pytest.mark.parametrize("step", ["../../elsewhere", "/etc", "..", "1; rm -rf /"])
def test_a_page_evaluates_only_checkpoints_of_the_run(tmp_path, step):
    from workbench.pages.compare_ask import evaluate
    from workbench.pages.page import ActionError

    with pytest.raises(ActionError, match="allowed are last, best, base or a step"):
        evaluate(Workbench(tmp_path), None, {}, {"values": {"run": "one", "checkpoint": step}})


def test_import_and_export_overwrite_nothing(tmp_path):
    file = exported(tmp_path)
    with pytest.raises(StoreError, match="exists; choose another place"):
        export(tmp_path / "source", [RUN], file, "duckdb")
    import_path(tmp_path / "runs", file)
    with pytest.raises(StoreError, match="is here already"):
        import_path(tmp_path / "runs", file)
    identity = json.loads((tmp_path / "runs" / RUN / "run.json").read_text())
    assert identity["config_assumed"] and "imported" in identity
