"""The command line as people use it: real processes, a child that publishes made-up rows."""

import json
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

import workbench.runs.spawn
from workbench.__main__ import COMMANDS, build_parser, command, main
from workbench.runs.launcher import Launcher

ROOT = Path(__file__).parent.parent
CHILD = Path(__file__).with_name("cli_child.py")
SHORT = ["--set", "steps=8"]

# `python -m workbench` with another child: what a run publishes is not what is tested here
ENTRY = f"""
import sys
import workbench.runs.spawn
workbench.runs.spawn.CHILD = ({str(CHILD)!r},)
from workbench.__main__ import main
sys.exit(main())
"""


@dataclass
class Done:
    """What a command printed."""

    stdout: str
    stderr: str


@pytest.fixture
def cli(tmp_path, monkeypatch, capsys):
    """Run a command in an empty directory: in this process, or as one of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setattr(workbench.runs.spawn, "CHILD", (str(CHILD),))

    def call(*words, check=0):
        capsys.readouterr()
        status = main(list(words))
        done = Done(*capsys.readouterr())
        assert status == check, done.stderr
        return done

    def background(*words):
        pipe = subprocess.PIPE
        command = [sys.executable, "-c", ENTRY, *words]
        return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True)

    call.background = background
    yield call
    for info in Launcher(tmp_path / "runs").list():
        Launcher(tmp_path / "runs").stop(info.run_id, now=True)


def wait_for(condition, seconds=60.0):
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.05)
    return found


def test_a_run_from_start_to_deletion(cli, tmp_path):
    done = cli("run", "quick", *SHORT, "--name", "one", "--json")
    outcome = json.loads(done.stdout)
    assert outcome["status"] == "finished" and outcome["name"] == "one"
    # 8 steps of 2 prompts x 4 completions
    assert (outcome["step"], outcome["rollouts"]) == (8, 64)
    # judge = score + 0.05 for stories + 0.01 i, i = 0..5: 0.4 + 0.025 + 0.025 before
    assert outcome["judge_before"] == pytest.approx(0.45)
    assert outcome["judge_after"] == pytest.approx(0.65)
    assert outcome["per_family"]["story"]["judge_after"] == pytest.approx(0.675)
    assert outcome["weights"] == pytest.approx(dict.fromkeys(outcome["weights"], 0.2))
    assert sum(outcome["per_family"]["fact"]["weights"].values()) == pytest.approx(1)
    assert outcome["seconds"] > 0
    assert "one  finished  step 8/8" in done.stderr

    listed = json.loads(cli("list", "--json").stdout)
    assert [(r["name"], r["status"], r["step"]) for r in listed] == [("one", "finished", 8)]
    assert "finished" in cli("list").stdout

    shown = json.loads(cli("show", "one", "--json").stdout)
    assert shown["run_id"] == outcome["run_id"] and shown["warnings"][0]["code"] == "collapse"
    text = cli("show", outcome["run_id"]).stdout
    assert "held-out judge" in text and "The Conductor collapsed. Raise entropy_coef." in text

    recipe = cli("show", "one", "--reproduce").stdout.splitlines()
    assert recipe[-1] == "python -m workbench run quick --set steps=8"
    assert any(line.startswith("# trl 1.") for line in recipe)
    assert "steps: 8" in cli("show", "one", "--config").stdout

    rows = json.loads(cli("query", "select count(*) as n from rollouts", "--json").stdout)
    assert rows == [{"n": 64 + 2 * 8}]  # and two probes of 8
    assert cli("query", "select 1 as a, '=1+1' as b", "--csv").stdout == "a,b\n1,'=1+1\n"

    cli("archive", "one")
    rows = json.loads(cli("query", "select count(*) as n from rollouts", "--json").stdout)
    assert rows == [{"n": 80}]
    assert "store" in cli("doctor").stdout
    assert json.loads(cli("doctor", "--json").stdout)["rollouts"] == 80
    written = json.loads(cli("export", "one", "--format", "duckdb", "--json").stdout)
    assert [Path(f).name for f in written] == ["one.duckdb"]
    [there] = json.loads(cli("import", "one.duckdb", "--runs-dir", "other", "--json").stdout)
    assert there == outcome["run_id"]
    there = json.loads(cli("show", "one", "--runs-dir", "other", "--json").stdout)
    assert there["judge_after"] == outcome["judge_after"]
    assert cli("export", "one", "--format", "duckdb", check=1).stderr.endswith(
        "one.duckdb exists; choose another place or remove it\n"
    )

    twice = cli("run", "quick", "--name", "one", check=1)
    assert twice.stderr == "workbench run: the name 'one' is taken; choose another\n"
    again = cli("run", "quick", "--name", "one", "--reuse", "--json")
    assert json.loads(again.stdout)["run_id"] == outcome["run_id"]

    cli("delete", "one")
    assert json.loads(cli("list", "--json").stdout) == []
    assert json.loads(cli("query", "from rollouts", "--json").stdout) == []


def test_a_query_answers_while_a_run_writes(cli, tmp_path):
    run = cli.background("run", "quick", "--set", "steps=100000", "--name", "live")
    wait_for(lambda: Launcher(tmp_path / "runs").list() and _step(tmp_path) > 3)
    first = json.loads(cli("query", "select count(*) as n from rollouts", "--json").stdout)[0]["n"]
    assert first > 0
    wait_for(lambda: _step(tmp_path) > 20)
    second = json.loads(cli("query", "select count(*) as n from rollouts", "--json").stdout)[0]["n"]
    assert second > first
    stopped = cli("stop", "live")
    assert stopped.stderr.splitlines()[-1] == "live: stopped"
    assert run.wait(60) == 0
    resumed = cli("resume", "live", "--detach", "--json")
    assert json.loads(resumed.stdout)["run_id"]
    wait_for(lambda: _status(tmp_path) == "running")
    cli("stop", "live", "--now")
    assert _status(tmp_path) == "stopped"


def _step(tmp_path):
    return Launcher(tmp_path / "runs").get("live").step


def _status(tmp_path):
    return Launcher(tmp_path / "runs").get("live").status


def test_ctrl_c_asks_the_run_to_stop_and_waits(cli, tmp_path):
    run = cli.background("run", "quick", "--set", "steps=100000", "--name", "live")
    wait_for(lambda: (tmp_path / "runs").is_dir() and Launcher(tmp_path / "runs").list())
    wait_for(lambda: _step(tmp_path) > 3)
    run.send_signal(signal.SIGINT)
    out, err = run.communicate(timeout=60)
    assert run.returncode == 130
    assert "asked to stop after the current step" in err
    assert "live (" in out and "stopped, step" in out
    assert _status(tmp_path) == "stopped"


def test_a_second_ctrl_c_kills_a_run_that_does_not_hear(cli, tmp_path, monkeypatch):
    monkeypatch.setenv("FAKE_MODE", "deaf")
    run = cli.background("run", "quick", "--set", "steps=100000", "--name", "live")
    wait_for(lambda: (tmp_path / "runs").is_dir() and Launcher(tmp_path / "runs").list())
    wait_for(lambda: _step(tmp_path) > 3)
    run.send_signal(signal.SIGINT)
    wait_for(lambda: _status(tmp_path) == "stopping")
    run.send_signal(signal.SIGINT)
    _, err = run.communicate(timeout=60)
    assert run.returncode == 130
    assert "killing its process group" in err
    assert _status(tmp_path) == "stopped"


def test_a_failed_run_says_why_and_ends_with_status_1(cli, monkeypatch):
    monkeypatch.setenv("FAKE_MODE", "fail")
    done = cli("run", "quick", *SHORT, "--name", "bad", "--json", check=1)
    assert json.loads(done.stdout)["status"] == "failed"
    assert done.stderr.splitlines()[-1] == (
        "run 'bad' failed: ValueError: objective 'vowels' raised in row 3"
    )


def test_detach_and_print(cli, tmp_path):
    run_id = cli("run", "--set", "steps=2", "quick", "--detach").stdout.strip()
    assert (tmp_path / "runs" / run_id / "run.json").exists()
    text = cli("run", "quick", *SHORT, "--print").stdout
    assert "# Policy updates. A resumed run continues the same plan.\nsteps: 8" in text


def test_looking_back_at_two_runs(cli):
    cli("run", "quick", *SHORT, "--name", "a", "--json")
    cli("run", "quick", *SHORT, "seed=1", "--name", "b", "--json")
    found = json.loads(cli("whatif", "a", "--scalarizer", "saw", "--json").stdout)
    assert found["rows"] == 64 and 0 <= found["sign_flips"] <= 1 and len(found["top"]) == 5
    # the very weights that were used change nothing; one objective alone changes much
    alone = json.loads(cli("whatif", "a", "--weights", "format=1", "--json").stdout)
    assert alone["rank_correlation"] < 0.9
    assert "change sign" in cli("whatif", "a", "--scalarizer", "static").stdout
    both = json.loads(cli("compare", "a", "b", "a@before", "--json").stdout)
    judges = {
        r["side"]: r["mean"] for r in both["means"] if (r["name"], r["kind"]) == ("judge", "all")
    }
    assert judges == pytest.approx({"a": 0.65, "b": 0.65, "a@before": 0.45})
    assert {r["key"] for r in both["config"]} == {"name", "seed"}
    assert "Pareto front" in cli("compare", "a", "b").stdout


REFUSED = [
    (["run", "quik"], "run: quik: no such file, and no preset: did you mean 'quick'?"),
    (["run"], "run: name a YAML file or a preset: quick, etudes, paper"),
    (["run", "quick", "--set", "grpo.top_p=2"], "run: grpo.top_p: 2 is not allowed; it must be"),
    (["run", "quick", "--set", "lr=2"], "run: lr: unknown key; allowed are name, seed"),
    (["run", "quick", "--name", "../x"], "run: name: '../x' is not allowed"),
    (
        ["run", "quick", "--set", "objectives=[frmat]"],
        "run: objectives.0.name: 'frmat' is no built",
    ),
    (["run", "paper"], "run: task.path: "),
    (["show", "nothing"], "show: no run 'nothing': "),
    (["stop", "../etc"], "stop: no run '../etc'"),
    (["resume", "x"], "resume: no run 'x'"),
    (["delete", "x"], "delete: no run 'x'"),
    (["query", "delete from runs"], "query: "),
    (["query", "select * from read_text('/etc/passwd')"], "query: "),
    (["query", "selec 1"], "query: "),
    (["query", "select 1", "--limit", "0"], "query: --limit 0: at least 1"),
    (["schema", "nope"], "schema: no view 'nope'; there are deleted_runs, runs, rollouts"),
    (["whatif", "x", "--scalarizer", "saw"], "whatif: no run 'x'"),
    (["compare", "x", "y"], "compare: no run 'x'"),
    (["export", "x"], "export: no run 'x'"),
    (["import", "nowhere.jsonl"], "import: "),
    (["evaluate", "x"], "evaluate: no run 'x'"),
    (["app", "--host", "0.0.0.0"], "app: host '0.0.0.0' is open to others: give --auth"),
    (["nothing"], "argument COMMAND: invalid choice: 'nothing'"),
    (["list", "--nothing"], "unrecognized arguments: --nothing"),
]


@pytest.mark.parametrize(("words", "message"), REFUSED, ids=[" ".join(w)[:40] for w, _ in REFUSED])
def test_bad_input_is_one_clear_line(words, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    try:
        status = main(words)
    except SystemExit as ended:
        status = ended.code
    out, err = capsys.readouterr()
    lines = [line for line in err.splitlines() if not line.startswith("workbench on ")]
    assert status != 0
    assert len(lines) == 1 and message in lines[0], err


def test_every_command_takes_a_runs_directory_and_explains_itself(capsys):
    text = build_parser().format_help()
    for name, (_, said) in COMMANDS.items():
        assert re.search(rf"^    {name}\s+{re.escape(said)}", text, re.MULTILINE)
        with pytest.raises(SystemExit):
            build_parser(name).parse_args([name, "--help"])
        assert ("--runs-dir" in capsys.readouterr().out) == command(name).runs_dir


def test_schema_gives_every_column_a_meaning(cli):
    rows = json.loads(cli("schema", "--json").stdout)
    assert {"runs", "rollouts", "rollout_objectives", "annotations"} <= {r["view"] for r in rows}
    assert all(row["comment"] for row in rows)
    assert "advantage" in cli("schema", "rollouts").stdout
