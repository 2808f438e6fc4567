"""No secret reaches a configuration, a log, the list of processes or a page; nothing unpickles."""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from workbench.api.workbench import Workbench
from workbench.config.credentials import found, resolve
from workbench.config.io import ConfigError, load
from workbench.runs.provenance import recipe
from workbench.runs.spawn import AUTH, spawn
from workbench.runs.validation import check_allowed, check_config
from workbench.store.state import write_state

ROOT = Path(__file__).parent.parent
KEY = "sk-" + "a1b2c3d4e5f6" * 3


@pytest.mark.parametrize(
    "sets",
    [
        [f"logging.webhook=https://user:{KEY}@example.org/x"],
        ["logging.webhook=https://hooks.example.org/services/T00000000/B00000000/XXXX1234abcd5678"],
        ["logging.webhook=https://example.org/hook?key=1"],
        [f"policy.system_prompt='use {KEY}'"],
        [f"objectives=[{{name: own, function: 'mine:own', params: {{api_key: {KEY}}}}}]"],
        ["objectives=[{name: own, function: 'mine:own', params: {nested: [{password: x}]}}]"],
        ["grpo.extra={hub_token: hf_abcdefghijklmnopqrstuvwx}"],
        ["task.columns={prompt: ghp_abcdefghijklmnopqrstuvwxyz0123456789}"],
    ],
)
def test_a_secret_in_a_configuration_is_refused_and_not_repeated(tmp_path, sets):
    runs = Workbench(tmp_path / "runs", command=("/bin/true",))
    with pytest.raises(ConfigError, match="write env:NAME") as refused:
        runs.start("quick", sets=sets)
    values = "".join(sets).partition("=")[2]
    for secret in (KEY, "XXXX1234abcd5678", "hf_abc", "ghp_abc"):
        assert secret not in values or secret not in str(refused.value)
    assert not (tmp_path / "runs").exists()


def test_a_named_variable_is_allowed_and_read_where_it_is_used(monkeypatch):
    sets = ["logging.webhook=env:HOOK", "grpo.extra={hub_token: 'env:HUB'}"]
    config = load("quick", [*sets, "policy.system_prompt='a plain text, 100 % harmless'"])
    check_config(config)
    monkeypatch.setenv("HOOK", "https://example.org/secret")
    assert resolve(config.logging.webhook) == "https://example.org/secret"
    monkeypatch.setenv("HUB", "x")
    assert resolve({"a": ["env:HUB", 3], "b": "env"}) == {"a": ["x", 3], "b": "env"}
    monkeypatch.delenv("HUB")
    with pytest.raises(ValueError, match="the environment has no HUB"):
        resolve("env:HUB")


@pytest.mark.parametrize(
    "sets",
    [
        "objectives=[{name: a, function: 'm:f', lower: 0, upper: 1, params: {device: 'env:HOME'}}]",
        "policy.system_prompt='env:HOME'",
        "grpo.extra={report_to: 'env:HOME'}",
    ],
)
def test_a_variable_is_read_only_where_a_secret_belongs(sets):
    with pytest.raises(ConfigError, match="'env:HOME': a variable is read only where a secret"):
        check_config(load("quick", [sets]))


def test_variables_are_on_the_allow_list_where_others_can_come_in():
    params = "params: {api_key: 'env:JUDGE_KEY'}"
    objective = f"{{name: a, function: 'm:f', lower: 0, upper: 1, {params}}}"
    config = load("quick", [f"objectives=[{objective}]"])
    check_config(config)
    check_allowed(config, None)
    check_allowed(config, ["m:*", "env:JUDGE_*"])
    with pytest.raises(ConfigError, match=r"params.api_key: 'env:JUDGE_KEY' may not be used"):
        check_allowed(config, ["m:*"])


def test_the_recipe_of_a_run_is_text_alone():
    """Names, versions and values out of a run's files become no line and steer no terminal."""
    identity = {
        "versions": {"torch\nrm -rf ~": "1\x1b[2J"},
        "git": {"commit": "a\rcurl x | sh"},
        "data_sha256": {"path\nrm": "b"},
    }
    config = load("quick", ['policy.system_prompt="it\'s\\e[2J\\nhere"'])
    made = recipe(identity, config)
    assert [line[:2] for line in made["lines"][:-1]] == ["# "] * 3
    assert all(c.isprintable() for line in made["lines"] for c in line)
    said = subprocess.run(["bash", "-c", f"printf '%s' {made['command'].split('--set ')[-1]}"],
                          capture_output=True, text=True, check=True).stdout  # fmt: skip
    (again,) = (s for s in [said] if s.startswith("policy.system_prompt="))
    assert load("quick", [again]).policy.system_prompt == config.policy.system_prompt


def test_presets_and_ordinary_settings_hold_nothing_secret():
    from workbench.config.io import PRESETS, to_dict

    for preset in PRESETS:
        assert list(found(to_dict(load(preset)))) == []
    ordinary = {"webhook": "http://127.0.0.1:8000/hook", "model": "Qwen/Qwen3-8B", "key": "value"}
    assert list(found(ordinary | {"tokenizer": "x", "token_entropies": "yes"})) == []


def test_settings_of_trl_open_no_back_door_where_code_is_limited():
    for extra in ("trust_remote_code: true", "push_to_hub: true", "model_init_kwargs: {a: 1}",
                  "hub_model_id: x", "deepspeed: file.json"):  # fmt: skip
        config = load("quick", [f"grpo.extra={{{extra}}}"])
        check_allowed(config, None)
        with pytest.raises(ConfigError, match="grpo.extra.*not allowed here"):
            check_allowed(config, [])
    check_allowed(load("quick", ["grpo.extra={delta: 0.3, use_liger_kernel: false}"]), [])


def test_passwords_of_the_app_are_not_in_the_list_of_processes_nor_in_its_runs(tmp_path):
    """``--auth`` on the command line moves into the environment, and from there to no child."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    line = [sys.executable, "-m", "workbench", "app", "--port", "0", "--auth", "ann:hunter2"]
    app = subprocess.Popen(
        [*line, "--runs-dir", str(tmp_path / "it's mine")], cwd=tmp_path, env=environment,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    try:
        said = app.stdout.readline()  # the first line is said by the second start
        words = psutil.Process(app.pid).cmdline()
        assert "workbench on" in said and not any("hunter2" in w for w in words)
        assert words[-1].endswith("it's mine") or "--runs-dir" in words
    finally:
        app.send_signal(signal.SIGKILL)
        app.wait()


def test_a_run_is_not_told_who_may_use_the_app(tmp_path, monkeypatch):
    monkeypatch.setenv(AUTH, "ann:hunter2")
    run_dir = tmp_path / "20260101-000000-abcd"
    run_dir.mkdir()
    (run_dir / "run.json").write_text(json.dumps({"name": "one"}))
    write_state(run_dir, status="queued")
    tell = "import os; print([v for v in os.environ.values() if 'hunter2' in v])"
    child = spawn(run_dir, [sys.executable, "-c", tell])
    child.wait(30)
    assert (run_dir / "log.txt").read_text() == "[]\n"


class Bomb:
    """Leaves a mark when somebody unpickles it."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return (Path.touch, (self.mark,))


def test_pickled_weights_are_never_opened(tmp_path):
    """A model directory whose only weights are a pickle is refused, and the pickle stays shut."""
    from tiny_models import save_tiny

    from workbench.config import PolicyConfig
    from workbench.objectives.preference import load_scorer
    from workbench.train.build import load_policy

    model, mark = save_tiny(tmp_path / "model"), tmp_path / "mark"
    for weights in model.glob("*.safetensors"):
        weights.unlink()
    for name in ("pytorch_model.bin", "model.bin", "training_args.bin", "optimizer.pt",
                 "scheduler.pt", "rng_state.pth"):  # fmt: skip
        (model / name).write_bytes(pickle.dumps(Bomb(mark)))
    with pytest.raises(OSError, match="safetensors|cannot be loaded"):
        load_policy(PolicyConfig(model=str(model)))
    with pytest.raises(OSError, match="safetensors|cannot be loaded"):
        load_scorer(str(model), 2, "cpu")
    assert not mark.exists()


def test_resuming_opens_no_pickle(tmp_path):
    """Pickles lie in the checkpoint under every name that transformers knows.

    Its own three, of optimiser, scheduler and random states, are read with ``weights_only``, which
    refuses what would run; all others are not looked at.
    """
    from test_trainer_checkpoint import SaveAt, run

    _, _ = run(tmp_path, "through", SaveAt(1, stop=True))
    saved, mark = tmp_path / "through" / "step-000001", tmp_path / "mark"
    for name in ("pytorch_model.bin", "training_args.bin", "optimizer.bin"):
        (saved / name).write_bytes(pickle.dumps(Bomb(mark)))
    _, rest = run(tmp_path, "through", SaveAt(2, stop=True), resume=saved)
    assert [b.step for b in rest.batches] == [1] and not mark.exists()
    for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth"):
        kept = (saved / name).read_bytes()
        (saved / name).write_bytes(pickle.dumps(Bomb(mark)))
        with pytest.raises(Exception, match="[Ww]eights.only|checksum|damaged"):
            run(tmp_path, "through", SaveAt(2, stop=True), resume=saved)
        (saved / name).write_bytes(kept)
    assert not mark.exists()


def test_the_failure_of_a_named_secret_is_told_without_it(tmp_path, monkeypatch):
    from workbench.runs.notify import post

    monkeypatch.setenv("HOOK", f"http://127.0.0.1:1/{KEY}")
    started = time.monotonic()
    problem = post(resolve("env:HOOK"), {"status": "finished"})
    assert problem and KEY not in problem and time.monotonic() - started < 30
