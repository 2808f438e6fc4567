"""Compare and what-if: the reference point of the hypervolume, another run's Conductor."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from pages_world import NAMES, SIZE, batch, make_world
from safetensors.numpy import save_file

from workbench.api.workbench import Workbench
from workbench.core.emphasis import weights_from_state
from workbench.pages import compare, compare_ask, compare_views, what_if
from workbench.pages.jobs import Jobs
from workbench.store.writer import RunWriter

D = 4
SIDES = ("maestro@before", "maestro@after")


@pytest.fixture(scope="module")
def wb(tmp_path_factory) -> Workbench:
    """Two short runs; the first step of one has hidden states, the other a saved Conductor."""
    wb = Workbench(make_world(tmp_path_factory.mktemp("compare") / "runs", steps=2))
    rows = batch(np.random.default_rng(0), 2, "train", 1, 3)
    hidden = np.random.default_rng(1).normal(size=(len(rows.completions), D)).astype(np.float16)
    with RunWriter(wb.launcher.path("maestro")) as writer:
        writer.rollouts(replace(rows, contexts=hidden))
    save_file(STATE, _folder(wb, "equal") / "conductor.safetensors")
    save_file(
        STATE | {"weight": np.zeros((5, 9))}, _folder(wb, "maestro") / "conductor.safetensors"
    )
    return wb


STATE = {
    "weight": np.random.default_rng(2).normal(size=(len(NAMES), D)),
    "bias": np.zeros(len(NAMES)),
    "log_temperature": np.zeros(()),
    "prompt_context": np.array(False),
    "normalize_hidden": np.array(False),
}


def _folder(wb: Workbench, run: str):
    path = wb.launcher.path(run) / "checkpoints" / "step-000002"
    path.mkdir(parents=True)
    (path / "trainer.json").write_text("{}")
    return path


def test_the_reference_point_is_the_declared_bounds_unless_another_is_asked_for(wb):
    found = wb.compare(SIDES)
    assert found.reference == dict.fromkeys(NAMES, 0.0), "all five declare 0"
    means = found.front.set_index("side")[list(NAMES)]
    np.testing.assert_allclose(found.volume["hypervolume"], means.prod(axis=1))
    assert (found.volume["low"] <= found.volume["hypervolume"]).all()
    assert (found.volume["hypervolume"] <= found.volume["high"]).all()
    against = wb.compare(SIDES, reference="maestro@before")
    assert against.reference == pytest.approx(means.loc["maestro@before"].to_dict())
    assert against.volume["hypervolume"].iloc[0] == 0
    worst = wb.compare(SIDES, reference="worst").reference
    spread = means.max() - means.min()
    assert worst == pytest.approx((means.min() - 0.1 * spread).to_dict())
    with pytest.raises(ValueError, match="'nobody' is no side"):
        wb.compare(SIDES, reference="nobody")
    with pytest.raises(ValueError, match="no value for perplexity, entropy"):
        wb.compare(SIDES, reference={"format": 0, "length": 0, "preference": 0})


def test_a_reference_point_in_an_address():
    assert compare_views.reference_of({}, NAMES) == (None, "")
    assert compare_views.reference_of({"at": "worst"}, NAMES) == ("worst", "")
    typed, problem = compare_views.reference_of({"ref": "0.1,0,0,0,-1"}, NAMES)
    assert (typed, problem) == (dict(zip(NAMES, (0.1, 0, 0, 0, -1), strict=True)), "")
    for text in ("1,2", "a,b,c,d,e", "nan,0,0,0,0"):
        assert compare_views.reference_of({"ref": text}, NAMES)[1]


def test_the_page_shows_the_point_and_says_what_is_wrong_with_one(wb):
    view = {"tab": "compare", "sides": ",".join(SIDES), "ref": "0.1,0,0,0,0"}
    tables = compare.show(Jobs(wb), wb, view, frozenset({"*"}))[4]
    assert 'data-value="0.1"' in tables and "as typed below" in tables
    tables = compare.show(Jobs(wb), wb, view | {"ref": "0.1"}, frozenset({"*"}))[4]
    assert "5 numbers are needed" in tables


def test_an_evaluation_that_is_stored_is_shown_instead_of_made_again(wb):
    jobs, view = Jobs(wb), {"sides": "equal@after"}
    values = {"run": "maestro", "checkpoint": "base", "split": "report"}
    said = compare_ask.evaluate(wb, jobs, view, {"values": values})
    assert said == "Stored already: maestro@before stands beside the others"
    assert view["sides"] == "equal@after,maestro@before"
    assert jobs.list() == []


def test_another_runs_conductor_can_be_asked(wb):
    """Its weights for the logged hidden states, and advantages from them."""
    view = {"prompt": "p1", "alt": "conductor:equal"}
    run = wb.resolve("maestro")
    step = wb.rollouts(run, split="train", step=2)
    other = what_if.alternative(wb, view, run, NAMES, step)
    assert other.problem == ""
    hidden = np.stack(wb.store.contexts(run, "train", (2, 2))["context"].to_list())
    assert hidden.shape == (6 * SIZE, D)
    np.testing.assert_allclose(other.result.weights, weights_from_state(STATE, hidden))
    whole = wb.whatif("maestro", conductor="equal")  # only step 2 has hidden states
    np.testing.assert_allclose(other.advantages, whole.advantages)


@pytest.mark.parametrize(
    ("alt", "step", "says"),
    [
        ("conductor:equal", 1, "none are logged for these rows"),
        ("conductor:maestro", 2, "need (N, D)"),
        ("conductor:nobody", 2, "nobody"),
    ],
)
def test_a_conductor_that_cannot_be_asked_says_why(wb, alt, step, says):
    run = wb.resolve("maestro")
    rows = wb.rollouts(run, split="train", step=step)
    other = what_if.alternative(wb, {"prompt": "p1", "alt": alt}, run, NAMES, rows)
    assert says in other.problem
    assert other.says == "the group's mean weights for every row"


def test_only_conductors_of_the_same_objectives_are_offered(wb):
    assert what_if.conductors(wb, NAMES) == ["maestro"]
    assert what_if.conductors(wb, NAMES[:2]) == []


def test_what_is_compared_by_itself_has_prompts_in_common():
    """An evaluation on other prompts (``base-calibration``) is on offer, and not chosen."""
    known = pd.DataFrame(
        {
            "run_id": ["a"] * 3 + ["b"],
            "name": ["new"] * 3 + ["old"],
            "phase": ["base-calibration", "before", "after", "after"],
            "split": ["calibration", "report", "report", "report"],
        }
    )
    assert compare.sides_of({}, known) == ["new@before", "new@after"]
    assert compare.sides_of({}, known[:1]) == ["new@base-calibration"]
    assert compare.sides_of({"sides": "old@after"}, known) == ["old@after"]
