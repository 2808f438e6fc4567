"""What the pages ask the store, against the same rows counted in pandas."""

import io
import time
from base64 import b64decode

import numpy as np
import pandas as pd
import pytest
from pages_world import NAMES, SIZE, STEPS, batch, make_world
from store_batches import make_batch, make_run

from workbench.analysis import agreement, queries, votes
from workbench.analysis.groups import PAGE_SIZE, BadFilter, GroupFilter, groups
from workbench.api.workbench import Workbench
from workbench.pages import export, inspect, live_cache, runs_view
from workbench.pages.app import PAGES
from workbench.store.writer import RunWriter


@pytest.fixture(scope="module")
def wb(world) -> Workbench:
    return Workbench(world)


@pytest.fixture(scope="module")
def run(wb) -> str:
    return wb.resolve("maestro")


@pytest.fixture(scope="module")
def rows(wb, run) -> pd.DataFrame:
    return wb.rollouts(run, split="train")


def test_objectives_keep_their_order(wb, run):
    assert queries.objectives(wb.store, run) == list(NAMES)
    assert queries.objectives(wb.store, "20260101-000000-0000") == []


TRAIN = GroupFilter(split="train")


def test_groups_are_paged_and_counted(wb, run):
    first = groups(wb.store, run, TRAIN)
    second = groups(wb.store, run, TRAIN, offset=PAGE_SIZE)
    assert len(first) == len(second) == PAGE_SIZE
    assert not set(first["group_id"]) & set(second["group_id"])
    assert first["total"].iloc[0] == STEPS * 6
    assert first["step"].is_monotonic_decreasing
    assert groups(wb.store, run, TRAIN, offset=10_000).empty
    with pytest.raises(ValueError, match="-1"):
        groups(wb.store, run, offset=-1)


def test_what_is_said_of_a_group(wb, run, rows):
    first = groups(wb.store, run, TRAIN).iloc[0]
    mine = rows[rows["group_id"] == first["group_id"]]
    wanted = queries.matrix(mine["weights"], NAMES).mean(axis=0)
    np.testing.assert_allclose([first["weights"][name] for name in NAMES], wanted)
    assert first["weight_spread"] == pytest.approx(np.ptp(wanted))
    assert first["completions"] == SIZE
    assert abs(first["advantage"]) == mine["advantage"].abs().max()


@pytest.mark.parametrize("descending", [True, False])
@pytest.mark.parametrize(
    "sort", ["weight_spread", "scalar", "advantage", "disagreement", "judge", "reward:length"]
)
def test_orders(wb, run, sort, descending):
    """What is not known (a judge that was not asked) stands last either way."""
    how = {"sort": sort, "descending": descending, "limit": 500}
    column = "reward" if sort == "reward:length" else sort
    values = groups(wb.store, run, GroupFilter(), **how)[column]
    values = values.abs() if sort == "advantage" else values
    known = values.dropna().tolist()
    assert known == sorted(known, reverse=descending) and len(known) > 1
    assert values.isna().is_monotonic_increasing


def test_the_judge_order_starts_where_advantage_and_judge_disagree(wb, run, rows):
    first = groups(wb.store, run, TRAIN, sort="disagreement").iloc[0]
    correlation = (
        rows.dropna(subset=["judge"])
        .groupby("group_id")[["advantage", "judge"]]
        .apply(lambda g: np.corrcoef(g["advantage"], g["judge"])[0, 1])
    )
    assert first["disagreement"] == pytest.approx(1 - correlation.min())


@pytest.mark.parametrize("sort", ["best", "reward:no-such", "reward", ""])
def test_an_unknown_order_is_refused_with_what_there_is(wb, run, sort):
    with pytest.raises(ValueError, match=f"sort '{sort}' unknown; allowed are .*reward:format"):
        groups(wb.store, run, sort=sort)


def test_what_does_not_apply_takes_no_part(tmp_path):
    """Group 0 has rewards 1 and nothing (mean 1), group 1 nothing at all: it stands last."""
    rewards = np.full((8, 3), np.nan)
    rewards[0, 0] = 1.0
    scalars = np.array([1.0, *[np.nan] * 7])
    run_dir = make_run(tmp_path)
    with RunWriter(run_dir) as writer:
        writer.rollouts(make_batch(0, rewards=rewards, scalars=scalars))
    store = Workbench(tmp_path).store
    name = queries.objectives(store, run_dir.name)[0]
    for descending in (True, False):
        how = {"descending": descending}
        assert groups(store, run_dir.name, sort="scalar", **how)["scalar"].iloc[0] == 1.0
        assert groups(store, run_dir.name, sort=f"reward:{name}", **how)["reward"].iloc[0] == 1.0


def test_search_finds_prompts_and_completions(wb, run, rows):
    found = groups(wb.store, run, GroupFilter(split="train", text="HEN"))
    wanted = rows[rows["completion"].str.contains("hen") | rows["prompt"].str.contains("hen")][
        "group_id"
    ].nunique()
    assert found["total"].iloc[0] == wanted
    assert len(groups(wb.store, run, GroupFilter(text="%' OR 1=1 --"))) == 0


@pytest.mark.parametrize(
    ("where", "mask"),
    [
        ("format < 0.4", lambda r: r["rewards"].map(lambda m: dict(m)["format"]) < 0.4),
        ("judge >= 0.9", lambda r: r["judge"] >= 0.9),
        ("advantage > 2", lambda r: r["advantage"] > 2),
    ],
)
def test_reward_ranges(wb, run, rows, where, mask):
    found = groups(wb.store, run, GroupFilter(split="train", where=where))
    wanted = rows[mask(rows).fillna(False).astype(bool)]["group_id"].nunique()
    assert (found["total"].iloc[0] if len(found) else 0) == wanted > 0


@pytest.mark.parametrize(
    ("where", "part"),
    [("sweet < 1", "'sweet' is unknown"), ("format", "is no comparison"),
     ("format < 1e", "is no number"), ("'; drop table x < 3", "is unknown")],
)  # fmt: skip
def test_a_range_that_cannot_be_read(wb, run, where, part):
    with pytest.raises(BadFilter, match=part):
        groups(wb.store, run, GroupFilter(split="train", where=where))


def test_the_map_shows_each_prompt_where_it_was_last_seen(wb, run):
    points = queries.weight_map(wb.store, run, "train")
    assert sorted(points["prompt_id"]) == [f"p{i}" for i in range(6)]
    assert set(points["step"]) == {STEPS - 1}
    np.testing.assert_allclose(points[list(NAMES)].sum(axis=1), 1.0)


def test_flat_groups_are_those_of_the_diagnostics(tmp_path):
    """Of four groups one is flat on every objective; what a mask holds back is not flat."""
    run_dir = make_run(tmp_path)
    rewards = np.tile([[0.1, 0.2, 0.3], [0.4, 0.2, 0.3]], (8, 1))
    rewards[12:] = 0.5
    mask = np.repeat([0.0, 0.0, 1.0, 1.0], 4)
    with RunWriter(run_dir) as writer:
        writer.rollouts(make_batch(0, rows=16, rewards=rewards, mask=mask))
        writer.rollouts(make_batch(1, rows=16, rewards=np.full((16, 3), 0.5)))
    health = queries.step_health(Workbench(tmp_path).store, run_dir.name).set_index("step")
    assert health["flat_groups"].tolist() == [0.25, 1.0]


def test_health_of_a_step(wb, run, rows):
    health = queries.step_health(wb.store, run).set_index("step")
    assert health.loc[3, "flat_groups"] == pytest.approx(1 / 6)
    assert health.loc[4, "flat_groups"] == 0
    mine = rows[rows["step"] == 5]
    policy = queries.matrix(mine["policy"], NAMES)
    entropy = -(policy * np.log(np.where(policy > 0, policy, 1))).sum(axis=1) / np.log(5)
    assert health.loc[5, "entropy"] == pytest.approx(entropy.mean())
    assert health.loc[5, "truncated"] == pytest.approx(mine["truncated"].mean())


def test_curves_since_a_step_are_only_what_is_new(wb, run):
    whole = queries.reward_curves(wb.store, run)
    new = queries.reward_curves(wb.store, run, since=20)
    assert set(new["step"]) == {21, 22, 23}
    extension = runs_view.extension(new)["extend"]["traces"]
    assert extension["format"]["x"] == [21, 22, 23]
    old = whole[(whole["name"] == "format") & (whole["step"] > 20)].sort_values("step")
    assert extension["format"]["y"] == pytest.approx(old["value"].tolist())


def test_an_export_has_one_column_an_objective_and_no_formula(wb, world):
    flat, _ = inspect.shown_rows(wb, {"run": "maestro", "prompt": "p0", "step": "3"})
    assert [f"rewards.{n}" for n in NAMES] == [c for c in flat if c.startswith("rewards.")]
    assert flat["what_if"].notna().all()
    flat.loc[flat.index[0], "completion"] = "=cmd()"
    text = export.as_csv(flat).decode()
    assert "'=cmd()" in text
    assert len(text.splitlines()) == SIZE + 1


@pytest.mark.parametrize(
    ("tab", "wanted"),
    [("runs", lambda wb: len(wb.runs())),
     ("compare", lambda wb: len(wb.compare(["maestro@before", "maestro@after"]).means)),
     ("rate", lambda wb: len(wb.annotations("maestro"))),
     ("inspect", lambda wb: SIZE)],
)  # fmt: skip
def test_every_page_gives_its_rows_away(wb, tab, wanted):
    view = {"tab": tab, "run": "maestro", "prompt": "p0", "step": "3",
            "sides": "maestro@before,maestro@after"}  # fmt: skip
    page = PAGES[tab](wb)
    parquet = export.packed(page.rows(wb, dict(view)), "parquet")
    rows = pd.read_parquet(io.BytesIO(b64decode(parquet["data"])))
    assert len(rows) == wanted(wb)
    csv = b64decode(export.packed(page.rows(wb, dict(view)), "csv")["data"]).decode()
    assert len(csv.splitlines()) == len(rows) + 1
    assert parquet["name"].endswith(".parquet") and "@" not in parquet["name"]
    with pytest.raises(ValueError, match="allowed are csv, parquet"):
        export.packed(page.rows(wb, dict(view)), "xls")


def test_the_order_of_completions_hides_their_origin_and_stays(wb, run, rows):
    group = rows[rows["group_id"] == rows["group_id"].iloc[0]]
    once, again = votes.shuffled(group, "ann"), votes.shuffled(group, "ann")
    assert once["sample"].tolist() == again["sample"].tolist()
    others = [votes.shuffled(group, f"rater{i}")["sample"].tolist() for i in range(5)]
    assert len({tuple(o) for o in others}) > 1
    assert sorted(once["sample"]) == list(range(SIZE))


def test_groups_worth_a_vote_are_not_all_alike(wb, run):
    queue = votes.candidates(wb.store, run)
    assert queue["conflict"].is_monotonic_decreasing
    assert queue["conflict"].iloc[0] > 0.5


def test_agreement_is_counted_on_what_both_saw():
    """Ann and Bob share g1 (same pick) and g2 (different): 1 of 2."""
    votes = agreement.picks(
        pd.DataFrame(
            {
                "type": ["vote"] * 5,
                "rater": ["ann", "ann", "bob", "bob", "ann"],
                "group_id": ["g1", "g2", "g1", "g2", "g1"],
                "sample": [0, 1, 2, 0, 2],
                "time": [1, 2, 3, 4, 5],  # ann changed her mind on g1: 0, then 2
            }
        )
    )
    pairs = agreement.between_raters(votes)
    assert pairs.to_dict("records") == [{"who": "ann and bob", "n": 2, "same": 0.5}]
    rollouts = pd.DataFrame(
        {"group_id": ["g1", "g1", "g2"], "sample": [0, 2, 1], "judge": [0.1, 0.9, None]}
    )
    judged = agreement.with_scores(votes, rollouts, "judge")
    assert judged.to_dict("records") == [
        {"who": "ann", "n": 1, "same": 1.0}, {"who": "bob", "n": 1, "same": 1.0}
    ]  # fmt: skip


def test_the_feed_reads_a_live_run_once_and_only_what_is_new(tmp_path, monkeypatch):
    """Ten tabs ask at once: the store is asked once, and the second time only for new steps."""
    wb = Workbench(make_world(tmp_path / "runs", steps=4))
    run = {**wb.state("maestro"), "status": "running"}
    asked = []
    whole = queries.reward_curves
    monkeypatch.setattr(
        queries, "reward_curves", lambda w, r, since: asked.append(since) or whole(w, r, since)
    )
    watched = live_cache.Feed(wb)
    first = [watched.curves(run) for _ in range(10)]
    assert asked == [-1]
    assert first[0].ends == {"rewards": 3, "judge": 0, "health": 3, "weights": 3}
    with RunWriter(wb.runs_dir / run["run_id"]) as writer:
        writer.rollouts(batch(np.random.default_rng(0), 4, "train", 1, 5))
    monkeypatch.setattr(live_cache, "FRESH", 0.0)
    time.sleep(0.01)
    curves = watched.curves(run)
    assert asked == [-1, 3]
    assert curves.ends["rewards"] == 4 and curves.width == 1
    steps = curves.rewards[curves.rewards["name"] == "format"]["step"].tolist()
    assert steps == [0, 1, 2, 3, 4]
