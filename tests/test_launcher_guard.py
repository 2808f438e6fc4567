"""No path leaves the runs directory, nothing unlisted is imported, damage is shown and survived."""

import hashlib
import json
import sys
from pathlib import Path

import pytest

from workbench.config.io import ConfigError, load
from workbench.runs.launcher import Launcher
from workbench.runs.notify import post
from workbench.runs.rundir import UnknownRunError, create, free_name, run_dirs
from workbench.runs.spawn import beginning
from workbench.runs.validation import (
    check_allowed,
    check_launch,
    check_readable,
    files,
    functions,
    with_absolute_paths,
)

CHILD = ("/bin/true",)


def made(runs_dir, name, **changes):
    config = load({"name": name, **changes})
    return create(runs_dir, config, token=None, parent=None, cwd=runs_dir.parent)


@pytest.mark.parametrize("handle", ["..", "../x", "/etc", "a/b", ".", "", "x\0y", ".new-x", "é"])
def test_handles_that_are_paths_name_no_run(tmp_path, handle):
    made(tmp_path / "runs", "one")
    runs = Launcher(tmp_path / "runs", command=CHILD)
    for act in (runs.get, runs.stop, runs.delete, runs.resume, runs.request_stop):
        with pytest.raises(UnknownRunError):
            act(handle)


def test_a_link_is_no_run(tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "run.json").write_text('{"name": "outside"}')
    (outside / "precious").write_text("x")
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "linked").symlink_to(outside)
    runs = Launcher(tmp_path / "runs", command=CHILD)
    assert runs.list() == []
    for handle in ("linked", "outside"):
        with pytest.raises(UnknownRunError):
            runs.delete(handle)
    assert (outside / "precious").exists()


def test_near_names_are_listed(tmp_path):
    made(tmp_path, "etudes-conductor")
    with pytest.raises(UnknownRunError, match="near: etudes-conductor"):
        Launcher(tmp_path).get("etudes-condctor")


def test_damaged_files_leave_the_list_whole(tmp_path):
    runs = Launcher(tmp_path, command=CHILD)
    ids = [made(tmp_path, name) for name in "abc"]
    (tmp_path / ids[0] / "run.json").write_text("{half")
    (tmp_path / ids[1] / "state.json").write_bytes(b"\xff")
    (tmp_path / ids[2] / "state.json").unlink()
    (tmp_path / "stray.txt").write_text("x")
    (tmp_path / ".new-half").mkdir()
    infos = {info.run_id: info for info in runs.list()}
    assert set(infos) == set(ids)
    assert infos[ids[0]].message == "run.json is damaged"
    assert infos[ids[1]].status == "failed" and "damaged" in infos[ids[1]].message
    assert infos[ids[2]].status == "failed"
    for run_id in ids:
        runs.delete(run_id)
    assert list(run_dirs(tmp_path)) == []


def test_an_allow_list_covers_objectives_anchors_and_remote_code():
    config = load(
        "quick",
        [
            "objectives=[format, {name: vowels, function: 'mine.rewards:vowels'}]",
            "scalarizer.meta_reward=anchor",
            "scalarizer.anchor.source=os:system",
        ],
    )
    assert list(functions(config)) == [
        ("objectives.1.function", "mine.rewards:vowels"),
        ("scalarizer.anchor.source", "os:system"),
    ]
    check_allowed(config, None)
    check_allowed(config, ["mine.rewards:*", "os:system"])
    with pytest.raises(ConfigError, match="'os:system' may not be used: allowed are mine.*"):
        check_allowed(config, ["mine.*"])
    remote = load("quick", ["policy.trust_remote_code=true"])
    with pytest.raises(ConfigError, match="policy.trust_remote_code: code of models"):
        check_allowed(remote, [])
    check_allowed(load("quick"), [])


def test_every_file_that_a_configuration_names_is_known(tmp_path):
    config = with_absolute_paths(
        load(
            {
                "task": {"name": "file", "path": "a.jsonl", "eval_path": "hub:o/n"},
                "policy": {"model": str(tmp_path)},
                "objectives": [
                    {"name": "rm", "model": "owner/name", "lower": 0, "upper": 1},
                    {
                        "name": "ai",
                        "llm": {"url": "http://j/v1", "model": "m", "cache": "~/c.sqlite"},
                        "lower": 0,
                        "upper": 1,
                    },
                ],
                "logging": {"webhook": "http://inside.example/hook"},
            }
        )
    )
    assert list(files(config)) == [
        ("task.path", Path("a.jsonl").absolute()),
        ("policy.model", tmp_path),
        ("objectives.1.llm.cache", Path("~/c.sqlite").expanduser()),
    ]
    with pytest.raises(ConfigError, match=r"logging\.webhook: 'http://inside.*' may"):
        check_allowed(config, ["http://j/*"])
    check_allowed(config, ["http://j/*", "http://inside.example/*"])
    here = [("config", tmp_path / "runs" / ".." / "x.yaml")]
    check_readable(here, [tmp_path])
    with pytest.raises(ConfigError, match="config: .*may not be used"):
        check_readable(here, [tmp_path / "runs"])


def test_several_processes_share_completions_evenly(tmp_path):
    config = load("quick")  # 8 prompts x 8 completions
    assert check_launch(config) == {}
    assert check_launch(config, processes=4) == {"processes": 4}
    with pytest.raises(ConfigError, match="3 processes cannot share 64 completions"):
        check_launch(config, processes=3)
    with pytest.raises(ConfigError, match="processes: 0 is not allowed; at least 1"):
        check_launch(config, processes=0)
    with pytest.raises(ConfigError, match="accelerate_config: .* does not exist"):
        check_launch(config, accelerate_config=tmp_path / "none.yaml")


def test_the_launch_decides_the_beginning_of_the_command(tmp_path):
    python = sys.executable
    assert beginning({}) == [python, "-m", "workbench.train.child"]
    assert beginning({"processes": 2}) == [
        python, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2",
        "-m", "workbench.train.child",
    ]  # fmt: skip
    assert beginning({"processes": 2, "accelerate_config": "/x/fsdp.yaml"}) == [
        python, "-m", "accelerate.commands.launch", "--config_file", "/x/fsdp.yaml",
        "--num_processes", "2", "-m", "workbench.train.child",
    ]  # fmt: skip


def test_a_refused_configuration_makes_no_run(tmp_path):
    runs = Launcher(tmp_path / "runs", command=CHILD, allowed_functions=[])
    with pytest.raises(ConfigError, match="none is allowed here"):
        runs.start(load("quick", ["objectives=[{name: v, function: 'a:b'}]"]))
    with pytest.raises(ConfigError, match=r"task.path: '.*rows.jsonl' does not exist"):
        runs.start({"task": {"name": "file", "path": "rows.jsonl"}})
    with pytest.raises(ConfigError, match="policy.model: no directory"):
        runs.start({"policy": {"model": "./nowhere"}})
    assert not (tmp_path / "runs").exists()


def test_paths_no_longer_depend_on_where_the_command_was_given(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model").mkdir()
    config = load({"task": {"name": "file", "path": "rows.jsonl"}, "policy": {"model": "model"}})
    fixed = with_absolute_paths(config)
    assert fixed.task.path == str(tmp_path / "rows.jsonl")
    assert fixed.policy.model == str(tmp_path / "model")
    hub = with_absolute_paths(load({"policy": {"model": "org/name"}}))
    assert hub.policy.model == "org/name"


def test_data_files_are_fixed_by_their_hash(tmp_path):
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"prompt": "a"}\n')
    run_id = made(tmp_path / "runs", "one", task={"name": "file", "path": str(rows)})
    identity = json.loads((tmp_path / "runs" / run_id / "run.json").read_text())
    expected = hashlib.sha256(b'{"prompt": "a"}\n').hexdigest()
    assert identity["data_sha256"] == {"path": expected}
    written = (tmp_path / "runs" / run_id / "config.yaml").read_bytes()
    assert identity["config_sha256"] == hashlib.sha256(written).hexdigest()


def test_made_up_names_are_usable_names():
    assert free_name("my rows (1)", set()) == "my-rows-1"
    assert free_name("///", set()) == "run"
    assert free_name("a", {"a", "a-2"}) == "a-3"


def test_the_secret_of_a_webhook_is_never_told():
    for url in ("http://user:secret@localhost:1/secret?secret", "file:///secret"):
        assert "secret" not in str(post(url, {"status": "finished"}))
