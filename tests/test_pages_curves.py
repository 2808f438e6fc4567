"""Long lines are drawn in bins of steps; whether they came at once or bit by bit is the same."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pages_world import make_world

from workbench.pages import live_cache, long_curves, runs, runs_view
from workbench.pages.app import build_app
from workbench.pages.gradio_patches import gr
from workbench.pages.long_curves import Growing, in_bins, shortened
from workbench.store.errors import StoreBusyError


def lines(steps: range | list[int]) -> pd.DataFrame:
    """Two lines: a is the step itself, b ten times that."""
    pairs = [(s, n, float(s * f)) for s in steps for n, f in (("a", 1), ("b", 10))]
    return pd.DataFrame(pairs, columns=["step", "name", "value"])


def test_a_bin_is_the_mean_of_its_steps_and_stands_at_the_last() -> None:
    """Bins of 2: steps 0, 1 -> 0.5 at 1; 2, 3 -> 2.5 at 3; 4 alone -> 4. b is ten times that."""
    frame = in_bins(lines(range(5)), 2)
    assert frame.columns.tolist() == ["step", "name", "value"]
    a, b = (frame[frame["name"] == name] for name in "ab")
    assert a[["step", "value"]].to_numpy().tolist() == [[1, 0.5], [3, 2.5], [4, 4.0]]
    assert b["value"].tolist() == [5.0, 25.0, 40.0]
    holes = pd.DataFrame({"step": [0, 1, 2, 3], "kl": [1.0, np.nan, np.nan, np.nan]})
    np.testing.assert_array_equal(in_bins(holes, 2)["kl"], [1.0, np.nan])


def test_a_whole_line_is_shortened_by_powers_of_two(monkeypatch) -> None:
    monkeypatch.setattr(long_curves, "MOST", 4)
    assert shortened(lines(range(4)))["step"].tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    short = shortened(lines(range(9)))  # 9 points, bins of 2 make 5, bins of 4 make 3
    assert short[short["name"] == "a"][["step", "value"]].to_numpy().tolist() == [
        [3, 1.5], [7, 5.5], [8, 8.0]
    ]  # fmt: skip
    assert shortened(lines([])).empty


def test_an_unfinished_bin_is_not_drawn_until_the_run_ends(monkeypatch) -> None:
    """At most 4 points: from step 4 on bins of 2, so that step 6 waits for step 7."""
    monkeypatch.setattr(long_curves, "MOST", 4)
    growing = Growing()
    growing.add(lines(range(4)), 3)
    assert growing.width == 1 and growing.frame["step"].nunique() == 4
    growing.add(lines([4, 5, 6]), 6)
    a = growing.frame[growing.frame["name"] == "a"]
    assert growing.width == 2 and growing.seen == 6
    assert a[["step", "value"]].to_numpy().tolist() == [[1, 0.5], [3, 2.5], [5, 4.5]]
    growing.end()
    assert growing.frame["step"].max() == 6


def test_a_point_of_a_sparse_line_waits_for_the_run_and_not_for_its_next(monkeypatch) -> None:
    """The judge is asked at steps 0 and 6; bins of 2: the one of step 6 is whole at step 7."""
    monkeypatch.setattr(long_curves, "MOST", 4)
    judge = Growing()
    judge.add(lines([0]), 5)
    judge.add(lines([6]), 6)
    assert judge.frame["step"].max() == 0
    judge.add(lines([]), 7)
    assert judge.frame["step"].max() == 6 and judge.width == 2


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.integers(1, 9), min_size=1, max_size=40),
    st.sampled_from([2, 4, 6]),
    st.booleans(),
)
def test_steps_that_come_in_pieces_draw_what_they_draw_at_once(pieces, most, gaps) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(long_curves, "MOST", most)
        slow, total = Growing(), sum(pieces)
        kept = [s for s in range(total) if not gaps or s % 3]
        done = 0
        for piece in pieces:
            slow.add(lines([s for s in kept if done <= s < done + piece]), done + piece - 1)
            done += piece
        quick = Growing()
        quick.add(lines(kept), total - 1)
        slow.end()
        quick.end()
        if not kept:
            assert slow.frame.empty and quick.frame.empty
            return
        order = ["name", "step"]
        one, other = (g.frame.sort_values(order, ignore_index=True) for g in (slow, quick))
        pd.testing.assert_frame_equal(one, other)
        assert one["step"].nunique() <= most and one["step"].max() == kept[-1]
        # every step counts once: equal bins of the line y = step keep its mean when all are whole
        if not gaps and total % slow.width == 0:
            assert one.loc[one["name"] == "a", "value"].mean() == pytest.approx((total - 1) / 2)


def test_each_part_is_extended_from_where_it_ended() -> None:
    """The judge comes later than the rewards of its step: it is not passed over."""
    rewards, judge = lines([0, 1]), lines([0, 1])[lambda f: f["name"] == "a"]
    empty = pd.DataFrame()
    curves = live_cache.Curves(rewards, judge.assign(name="judge"), empty, empty, 1)
    assert curves.ends == {"rewards": 1, "judge": 1, "health": -1, "weights": -1}
    health = pd.DataFrame({"step": [0], "entropy": 0.5, "flat_groups": 0.0, "truncated": 0.0})
    weights = pd.DataFrame({"step": [1], "kind": "fact", "objective": "a", "weight": 1.0})
    curves = live_cache.Curves(rewards, curves.judge, health, weights, 1)
    ends = {"rewards": 1, "judge": 0, "health": -1, "weights": 0}
    first, second, third = (e["extend"]["traces"] for e in runs_view.extensions(curves, ends))
    assert first == {"judge": {"x": [1], "y": [1.0]}}
    assert second["flat groups"] == {"x": [0], "y": [0.0]} and len(second) == 3
    assert third == {"fact/a": {"x": [1], "y": [1.0]}}


def test_a_picture_of_bins_says_so() -> None:
    frame = lines(range(8))
    nothing = pd.DataFrame()
    for width, words in ((1, "step"), (4, "step (a point is the mean of 4)")):
        curves = live_cache.Curves(frame, nothing, nothing, nothing, width)
        figure = runs_view.pictures(curves)[0]["figure"]
        assert figure["layout"]["xaxis"]["title"]["text"] == words


def test_a_look_at_a_busy_store_shows_nothing_and_forgets_nothing(tmp_path, monkeypatch) -> None:
    """The curves are read, then the log is not: the next look sends both."""
    router = build_app(make_world(tmp_path / "runs", steps=4)).router
    address, memory = {"view": {"tab": "runs", "run": "maestro"}}, {}

    def busy(*args: object) -> None:
        raise StoreBusyError("the store is being archived")

    with monkeypatch.context() as patch:
        patch.setattr(runs.log_view, "since", busy)
        answer = router.tick(address, memory)
    assert memory == {} and answer == [gr.skip()] * (2 + len(router.outputs))
    seen, _, *values = router.tick(address, memory)
    assert seen["ends"]["rewards"] == 3
    assert any("figure" in v for v in values if isinstance(v, dict))
