"""Sweeps: what may vary, a grid and a draw through real child processes, stopping, going on."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from workbench import Workbench
from workbench.__main__ import main
from workbench.config.io import ConfigError, load
from workbench.pages import sweep_view
from workbench.runs import rundir, sweep_driver
from workbench.runs.locks import LockedError, held
from workbench.runs.rundir import ENDED
from workbench.runs.sweep_driver import Driver
from workbench.runs.sweep_plan import (
    PRUNERS,
    SAMPLERS,
    Axis,
    SweepError,
    SweepPlan,
    split_values,
)

CHILD = (sys.executable, str(Path(__file__).with_name("sweep_child.py")))
BASE = {"steps": 12, "scalarizer": {"name": "conductor"}, "objectives": ["format", "length"]}


@pytest.fixture
def wb(tmp_path: Path) -> Workbench:
    return Workbench(tmp_path / "runs", limit=None, command=CHILD)


def plan(*sets: str, **more: Any) -> SweepPlan:
    more = {"seeds": [0], "jobs": 2} | more
    return SweepPlan.make("s", BASE, sets, more.pop("seeds"), **more)


def run(wb: Workbench, made: SweepPlan, **more: Any) -> Any:
    made.save(wb.runs_dir)
    return Driver(wb.launcher, made, lambda text: None, **more).run()


def test_values_are_split_outside_of_brackets() -> None:
    assert split_values("0.1, 0.3") == ["0.1", "0.3"]
    assert split_values("[a,b],[c]") == ["[a,b]", "[c]"]
    assert split_values("{a: 1, b: 2}") == ["{a: 1, b: 2}"]
    assert split_values("'a,b',c") == ["'a,b'", "c"]


def test_ranges_of_numbers() -> None:
    assert Axis.parse("a=1e-5..1e-3:log") == Axis("a", (), 1e-5, 1e-3, True, False)
    assert Axis.parse("a=2..16").integer and not Axis.parse("a=0..1.5").integer
    assert Axis.parse("a=-1..1") == Axis("a", (), -1, 1, False, True)
    assert Axis.parse("a=x..y").values == ("x..y",)


def test_a_grid_is_counted_and_made_into_configurations() -> None:
    made = plan("scalarizer.emphasis=0.1,0.3,0.5", "grpo.learning_rate=1e-4,1e-3", seeds=[0, 7])
    assert made.count == 12
    values = {"scalarizer.emphasis": "0.3", "grpo.learning_rate": "1e-3"}
    config = made.config(values, 7, 4)
    assert (config.name, config.seed, config.steps) == ("s-004", 7, 12)
    assert (config.scalarizer.emphasis, config.grpo.learning_rate) == (0.3, 1e-3)
    chosen = plan("scalarizer.name=static,saw", "reward_scaling=none,rank", "steps=5")
    assert [axis.key for axis in chosen.axes] == ["scalarizer.name", "reward_scaling"]
    config = chosen.config({"scalarizer.name": "saw", "reward_scaling": "rank"}, 0, 0)
    assert (config.scalarizer.name, config.reward_scaling, config.steps) == ("saw", "rank", 5)


@pytest.mark.parametrize(
    ("sets", "more", "message"),
    [
        (["steps"], {}, "expected key=value, key=a,b,c or key=low..high"),
        (["seed=1,2"], {}, "use --name and --seeds"),
        (["scalarizer.emphasis=0.9..0.1"], {"random": 2}, "from a lower to a higher"),
        (["scalarizer.emphasis=0..1:log"], {"random": 2}, "must lie above 0"),
        (["scalarizer.emphasis=0.1..1"], {}, "say with --random N"),
        (["steps=4"], {}, "nothing varies"),
        (["steps=4,5", "steps=6,7"], {}, "names a key twice"),
        (["steps=4,5"], {"seeds": [1, 1]}, "none twice"),
        (["steps=4,5"], {"jobs": 0}, "--jobs 0: must be at least 1"),
        (["steps=4,5"], {"metric": "loss"}, "'headline', or SPLIT/NAME"),
        (["steps=4,5"], {"random": 20_000}, "20,000 trials; at most 10,000"),
        (["steps=4,5"], {"sampler": "cma"}, "--sampler 'cma': allowed are grid, random, tpe"),
        (["steps=4,5"], {"sampler": "tpe"}, "with --random N one of random, tpe draws"),
        (["steps=4,5"], {"random": 2, "sampler": "grid"}, "--sampler grid: a grid tries"),
        (["steps=4,5"], {"pruner": "x"}, "allowed are none, median, halving, hyperband"),
    ],
)
def test_a_sweep_that_cannot_be_meant_is_refused(sets: Any, more: Any, message: str) -> None:
    with pytest.raises(SweepError, match=message):
        plan(*sets, **more)


def test_every_value_is_checked_before_anything_starts() -> None:
    with pytest.raises(ConfigError, match=r"scalarizer\.emphasis.*7"):
        plan("scalarizer.emphasis=0.1,7")
    with pytest.raises(ConfigError, match=r"scalarizer\.emphasis"):
        plan("scalarizer.emphasis=0.1..7.5", random=3)
    with pytest.raises(ConfigError, match="stepz"):
        plan("stepz=1,2")


def test_a_grid_over_two_seeds_is_run_ranked_and_drawn(wb: Workbench, monkeypatch: Any) -> None:
    monkeypatch.setenv("FAKE_ROWS", "1")
    trials = run(wb, plan("scalarizer.emphasis=0.1,0.4", seeds=[0, 1], jobs=2))
    assert [t.status for t in trials] == ["finished"] * 4
    tried = [(t.values["scalarizer.emphasis"], t.seed) for t in trials]
    assert tried == [("0.1", 0), ("0.4", 0), ("0.1", 1), ("0.4", 1)]
    assert {wb.state(t.run_id)["name"] for t in trials} == {f"s-{i:03d}" for i in range(4)}
    found = wb.sweep("s")
    assert wb.sweeps() == ["s"] and len(found.trials) == 4
    best = found.best
    assert list(best["scalarizer.emphasis"]) == ["0.4", "0.1"] and list(best["seeds"]) == [2, 2]
    # judge after training: 1 - |emphasis - 0.4| + 0.01 seed, over seeds 0 and 1
    assert list(best["value"]) == pytest.approx([1.005, 0.705])
    assert best["reward/format"][0] == pytest.approx(0.4)
    lines = found.figure("parallel").data[0]
    assert [d["label"] for d in lines.dimensions] == [
        "emphasis", "seed", "judge", "format", "length", "value",
    ]  # fmt: skip
    assert len(lines.dimensions[0]["values"]) == 4
    points = found.figure("pareto", x="length", y="format")
    assert len(points.data[0].x) == 2  # format + length = 1: nobody is dominated
    with pytest.raises(ValueError, match="objective 'wit' unknown; there are format, length"):
        found.figure("pareto", x="wit")
    with pytest.raises(ValueError, match="there are parallel, pareto"):
        found.figure("pie")

    card, lines, front = sweep_view.show(wb, {"sx": "length"})
    assert "Sweep s" in card and "finished" in card
    assert lines["figure"]["data"][0]["type"] == "parcoords"
    assert front["figure"]["layout"]["xaxis"]["title"]["text"].startswith("length")
    assert sweep_view.show(Workbench(wb.runs_dir.parent / "none"), {}) == ["", None, None]


@pytest.mark.slow
def test_a_draw_gives_all_seeds_the_same_point(wb: Workbench, monkeypatch: Any) -> None:
    monkeypatch.setenv("FAKE_ROWS", "1")
    made = plan("scalarizer.emphasis=0.01..0.79:log", seeds=[3, 4], random=2, metric="train/reward")
    trials = run(wb, made)
    points = [t.values["scalarizer.emphasis"] for t in trials]
    assert points[:2] == points[2:] and len(set(points)) == 2
    assert all(0.01 <= p <= 0.79 for p in points)
    assert [t.seed for t in trials] == [3, 3, 4, 4]
    for trial in trials:  # reward is twice the judge
        judge = 1 - abs(trial.values["scalarizer.emphasis"] - 0.4) + 0.01 * trial.seed
        assert trial.value == pytest.approx(2 * judge)


@pytest.mark.slow
def test_a_trial_below_the_median_is_stopped_early(wb: Workbench, monkeypatch: Any) -> None:
    monkeypatch.setenv("FAKE_ROWS", "1")
    made = plan("scalarizer.emphasis=0.3,0.4,0.5,0.45,0.9", jobs=2, early_stop=True)
    trials = {t.values["scalarizer.emphasis"]: t for t in run(wb, made)}
    assert trials["0.9"].status == "pruned" and wb.state(trials["0.9"].run_id)["step"] < 12
    assert trials["0.9"].run_id not in set(wb.sweep("s").best.get("run_id", ()))
    assert {t.status for e, t in trials.items() if e != "0.9"} == {"finished"}
    assert 0 < trials["0.9"].value < 0.5  # what it had reached: no mean of seeds counts it


@pytest.mark.slow
def test_a_failed_trial_does_not_end_the_others_but_failing_ones_only_do(
    wb: Workbench, monkeypatch: Any
) -> None:
    monkeypatch.setenv("FAKE_BROKEN", "0.3")
    monkeypatch.setenv("FAKE_ROWS", "1")
    trials = run(wb, plan("scalarizer.emphasis=0.3,0.4"))
    assert sorted(t.status for t in trials) == ["failed", "finished"]
    made = SweepPlan.make("t", BASE, ["scalarizer.emphasis=0.3"], [0, 1, 2, 3], jobs=1)
    with pytest.raises(SweepError, match="first 3 trials all failed.*not with this one"):
        run(wb, made)


def test_a_driver_that_was_told_to_stop_is_continued(wb: Workbench, monkeypatch: Any) -> None:
    monkeypatch.setenv("FAKE_STEP", "0.1")
    made = plan("scalarizer.emphasis=0.3,0.4,0.5")
    began = time.monotonic()
    trials = run(wb, made, wants_stop=lambda: time.monotonic() - began > 1.0)
    assert len(trials) == 2 and {t.status for t in trials} == {"stopped"}
    assert all(wb.state(t.run_id)["status"] in ENDED for t in trials)
    with pytest.raises(SweepError, match="exists; choose another name, or --continue"):
        made.save(wb.runs_dir)
    monkeypatch.setenv("FAKE_STEP", "0.01")
    again = Driver(wb.launcher, SweepPlan.read(wb.runs_dir, "s"), lambda text: None).run()
    assert [t.run_id for t in again[:2]] == [t.run_id for t in trials]
    assert [t.status for t in again] == ["finished"] * 3
    assert {t.values["scalarizer.emphasis"] for t in again} == {"0.3", "0.4", "0.5"}


def test_the_command_runs_a_sweep_and_shows_it(tmp_path: Path, monkeypatch: Any, capsys: Any):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("workbench.runs.spawn.CHILD", CHILD[1:])
    (tmp_path / "base.yaml").write_text(json.dumps(BASE))
    words = ["sweep", "base.yaml", "--set", "scalarizer.emphasis=0.2,0.4", "--name", "s"]
    assert main([*words, "--print"]) == 0
    assert "2 trials, 2 at once" in capsys.readouterr().out
    monkeypatch.setenv("FAKE_ROWS", "1")
    assert main(words) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == "2 finished" and printed[1].split()[:2] == [
        "scalarizer.emphasis",
        "headline",
    ]
    assert printed[2].split()[0] == "0.4"
    assert main(["sweep", "--show", "s", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["counts"] == {"finished": 2} and len(shown["trials"]) == 2
    assert main(["sweep", "--show", "none"]) == 1
    assert "no sweep 'none'; there are ['s']" in capsys.readouterr().err
    assert main(words) == 1 and "exists" in capsys.readouterr().err


def test_python_starts_a_sweep_in_a_process_of_its_own(wb: Workbench, monkeypatch: Any) -> None:
    with pytest.raises(ConfigError, match="may not be used"):
        limited = Workbench(wb.runs_dir, allowed_functions=[])
        objective = "[{name: a, function: 'm:f'}]"
        limited.start_sweep(BASE, [f"objectives=[length],{objective}"], name="s")
    started: list[list[str]] = []
    monkeypatch.setattr("subprocess.Popen", lambda command, **_: started.append(command))
    found = wb.start_sweep(BASE, ["scalarizer.emphasis=0.2,0.4"], name="s", seeds=[0, 1])
    assert started[0][1:6] == ["-m", "workbench", "sweep", "--continue", "s"]
    assert found.plan.count == 4 and found.trials.empty and found.best.empty


def test_every_sampler_and_pruner_that_a_plan_may_name_exists() -> None:
    assert tuple(sweep_driver.SAMPLERS) == SAMPLERS and tuple(sweep_driver.PRUNERS) == PRUNERS
    for make in sweep_driver.PRUNERS.values():
        make(1)


def test_tpe_draws_near_what_did_well(wb: Workbench) -> None:
    """Of 30 draws of one number in 0..1, worth 1 - |x - 0.4|, the later ones lie nearer to 0.4."""
    made = plan("scalarizer.emphasis=0.0..1.0", random=60, sampler="tpe")
    made.save(wb.runs_dir)
    driver = Driver(wb.launcher, made, lambda text: None)
    apart = []
    for trial in itertools.islice(driver._next_trials(), 30):
        apart.append(abs(trial.values["scalarizer.emphasis"] - 0.4))
        trial.value, trial.status = 1 - apart[-1], "finished"
        driver._tell(trial)
    assert sum(apart[-10:]) < sum(apart[:10]) / 2


def test_a_driver_killed_before_or_after_a_start_notes_what_the_run_was_trained_with(
    wb: Workbench, monkeypatch: Any
) -> None:
    """Of two draws the first was noted and never started, the second started and never noted."""
    made = plan("scalarizer.emphasis=0.01..0.79:log", random=3, jobs=1)
    folder = made.save(wb.runs_dir)
    config = made.config({"scalarizer.emphasis": 0.25}, 0, 1)
    run_id = wb.start(config, token="sweep s 1")
    noted = [{"number": n, "values": {"scalarizer.emphasis": 0.5}, "seed": 0} for n in (0, 1)]
    (folder / "trials.json").write_text(json.dumps(noted))
    first, second, third = Driver(wb.launcher, made, lambda text: None).run()
    assert (second.run_id, second.values) == (run_id, {"scalarizer.emphasis": 0.25})
    for trial in (first, second, third):
        really = rundir.read_config(wb.launcher.path(trial.run_id)).scalarizer.emphasis
        assert trial.values["scalarizer.emphasis"] == really
    assert first.values["scalarizer.emphasis"] == 0.5
    assert {t.status for t in (first, second, third)} == {"finished"}
    assert len(list(rundir.run_dirs(wb.runs_dir))) == 3


def test_values_are_read_back_from_a_configuration() -> None:
    made = plan("scalarizer.emphasis=0.1,0.30", "objectives=[format],[format, length]", "steps=4,9")
    values = {"scalarizer.emphasis": "0.30", "objectives": "[format, length]", "steps": "9"}
    assert made.values_of(made.config(values, 3, 0)) == values
    with pytest.raises(SweepError, match=r"has scalarizer.emphasis 0.5: sweep 's' has 0.1, 0.30"):
        made.values_of(load(BASE))


def test_a_second_driver_of_a_sweep_is_refused_by_name(wb: Workbench) -> None:
    made = plan("scalarizer.emphasis=0.3,0.4")
    folder = made.save(wb.runs_dir)
    with (
        held(folder / sweep_driver.LOCK),
        pytest.raises(LockedError, match=rf"sweep 's' is held by process {os.getpid()} \("),
    ):
        Driver(wb.launcher, made, lambda text: None).run()
    assert list(rundir.run_dirs(wb.runs_dir)) == []


def test_a_trial_that_was_deleted_has_failed(wb: Workbench, monkeypatch: Any) -> None:
    monkeypatch.setenv("FAKE_STEP", "0.2")
    made = plan("scalarizer.emphasis=0.3,0.4")
    began = time.monotonic()
    gone, other = run(wb, made, wants_stop=lambda: time.monotonic() - began > 0.5)
    wb.delete(gone.run_id)
    monkeypatch.setenv("FAKE_STEP", "0.01")
    again = Driver(wb.launcher, made, lambda text: None).run()
    assert [t.status for t in again] == ["failed", "finished"]


@pytest.mark.slow
def test_a_driver_that_is_killed_again_and_again_tells_what_was_trained(
    tmp_path: Path, monkeypatch: Any
) -> None:
    """Killed at twenty random moments and continued; every note agrees with its run in the end."""
    monkeypatch.setenv("FAKE_STEP", "0.02")
    monkeypatch.setenv("FAKE_ROWS", "1")
    tests = Path(__file__).parent
    monkeypatch.setenv("PYTHONPATH", f"{tests.parent}:{tests}")
    made = plan("scalarizer.emphasis=0.01..0.79:log", seeds=[0, 1], random=6, pruner="median")
    folder = made.save(tmp_path / "runs")
    code = (
        "from workbench.runs.launcher import Launcher; from workbench.runs.sweep_driver import *\n"
        f"runs = Launcher({str(tmp_path / 'runs')!r}, command={CHILD!r})\n"
        "Driver(runs, SweepPlan.read(runs.runs_dir, 's')).run()"
    )
    rng = random.Random(0)
    for _ in range(20):
        driver = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.DEVNULL)
        with contextlib.suppress(subprocess.TimeoutExpired):
            driver.wait(rng.uniform(1.5, 4.0))
        driver.kill()
        driver.wait()
    wb = Workbench(tmp_path / "runs", limit=None, command=CHILD)
    trials = Driver(wb.launcher, made, lambda text: None).run()
    assert {t.status for t in trials} <= {"finished", "pruned"} and len(trials) == 12
    assert len({t.run_id for t in trials}) == 12 == len(list(rundir.run_dirs(wb.runs_dir)))
    for trial in trials:
        config = rundir.read_config(wb.launcher.path(trial.run_id))
        assert trial.values == {"scalarizer.emphasis": config.scalarizer.emphasis}
        assert (trial.seed, config.name) == (config.seed, f"s-{trial.number:03d}")
    assert [t.values for t in trials[:6]] == [t.values for t in trials[6:]]
    assert json.loads((folder / "trials.json").read_text()) == [vars(t) for t in trials]
