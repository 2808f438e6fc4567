"""People's ratings as the anchor: from the store into the replay, once, and only where allowed."""

from pathlib import Path

import numpy as np
import pytest
from tiny_runs import EXAMPLES, Recorder, tiny_config, tiny_trainer

from workbench.analysis.queries import rollouts
from workbench.config.io import with_name
from workbench.core.alignment import normalize_scores
from workbench.core.anchor import AnchoredConductor
from workbench.runs import rundir
from workbench.store.annotations import annotate
from workbench.store.reader import Store
from workbench.store.writer import RunWriter
from workbench.train import ratings
from workbench.train.ratings import Ratings

ANCHOR = {
    "name": "conductor",
    "meta_reward": "anchor",
    "anchor": {"source": "ratings", "gate": False},
}


@pytest.fixture
def rated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A finished run of two steps; somebody voted on one group and rated two rows of another."""
    monkeypatch.setattr(ratings, "POLL_SECONDS", 0.0)
    runs = tmp_path / "runs"
    config = with_name(tiny_config(tmp_path), "earlier")
    runs.mkdir()
    run_id = rundir.create(runs, config, token=None, parent=None, cwd=tmp_path)
    with RunWriter(runs / run_id) as writer:
        tiny_trainer(tmp_path, writer).train()
        writer.flush()
    rows = rollouts(Store(runs), run_id).sort_values(["step", "group_id", "sample"])
    groups = [group for _, group in rows.groupby(["step", "group_id"], sort=True)]
    where = [
        {"split": "train", "step": int(g["step"].iloc[0]), "group_id": g["group_id"].iloc[0]}
        for g in groups
    ]
    annotate(runs, run_id, "vote", rater="ann", sample=2, **where[0])
    annotate(runs, run_id, "vote", rater="bob", sample=2, **where[0])
    annotate(runs, run_id, "vote", rater="cy", sample=1, **where[0])
    annotate(runs, run_id, "rating", rater="ann", sample=0, score=0.25, **where[5])
    annotate(runs, run_id, "rating", rater="ann", sample=3, score=1.0, **where[5])
    return runs, run_id, groups, where


def reader(tmp_path: Path, prompts=tuple(e.prompt_id for e in EXAMPLES), limit=256, **changes):
    return Ratings(
        tmp_path / "runs", tiny_config(tmp_path, scalarizer=ANCHOR, **changes), prompts, limit
    )


def test_votes_and_ratings_become_judged_groups(tmp_path: Path, rated) -> None:
    runs, run_id, groups, where = rated
    source = reader(tmp_path)
    found = source.news()
    assert found is not None and source.news() is None  # nothing new since
    assert found.keys == tuple(
        f"{run_id}/{w['step']}/{w['group_id']}" for w in (where[0], where[5])
    )
    # three voters: two for sample 2, one for sample 1
    np.testing.assert_allclose(found.scores[0], [0.0, 1 / 3, 2 / 3, 0.0])
    np.testing.assert_allclose(found.scores[1], [0.25, np.nan, np.nan, 1.0])
    contexts = Store(runs).contexts(run_id)
    for index, place in enumerate((0, 5)):
        mine = contexts[
            (contexts["step"] == where[place]["step"])
            & (contexts["group_id"] == where[place]["group_id"])
        ]
        expected = np.stack([np.asarray(c, dtype=float) for c in mine["context"]]).mean(axis=0)
        np.testing.assert_allclose(found.contexts[index], expected)
        logged = [dict(r) for r in groups[place]["rewards"]]
        rewards = [[r["short"], r["low_words"]] for r in logged]
        np.testing.assert_allclose(found.rewards[index], np.array(rewards, dtype=float))


def test_what_this_run_could_not_have_read_is_passed_over_and_said(tmp_path: Path, rated) -> None:
    _, _, groups, _ = rated
    prompt = groups[0]["prompt_id"].iloc[0]
    others = [e.prompt_id for e in EXAMPLES if e.prompt_id != prompt]
    held_out = reader(tmp_path, others)
    assert all(prompt != g["prompt_id"].iloc[0] for g in groups[5:6])
    assert len(held_out.read().keys) == 1
    assert "1 rated groups" in held_out.describe()
    assert "1 of prompts that are not trained on here" in held_out.describe()
    larger = reader(tmp_path, grpo={"num_generations": 2})
    assert larger.read().keys == () and larger.passed_over == {"of another size": 2}
    assert "none yet" in larger.describe()
    assert len(reader(tmp_path, limit=1).read().keys) == 1


def test_a_run_learns_from_ratings_and_from_votes_that_arrive(tmp_path: Path, rated) -> None:
    runs, run_id, groups, where = rated
    recorder = Recorder()
    trainer = tiny_trainer(tmp_path, recorder, scalarizer=ANCHOR, steps=1)
    learner = trainer.weighing.scalarizer
    assert isinstance(learner, AnchoredConductor)
    trainer.train()
    assert len(learner.replay) == 2 and learner.spent == 6  # four voted rows, two rated ones
    np.testing.assert_allclose(learner.replay[1][2], normalize_scores([0.25, np.nan, np.nan, 1.0]))
    assert recorder.updates[-1][1]["replay_groups"] == 2.0
    assert np.isnan(recorder.batches[-1].judge).all()  # nobody was asked
    annotate(runs, run_id, "vote", rater="ann", sample=0, **where[6])
    annotate(runs, run_id, "vote", rater="dee", sample=2, **where[0])  # one more for an old group
    news = trainer.anchors.rated()
    assert news is not None
    gains = len(learner.gains)
    trainer.weighing.recall(news)
    assert len(learner.replay) == 3 and len(learner.gains) == gains + 1 and learner.spent == 10
    assert trainer.anchors.rated() is None
    again = AnchoredConductor(
        trainer.config.scalarizer, learner.objectives, len(learner.moments.mean), 4
    )
    again.load(learner.state())
    assert again.rated == learner.rated and len(again.replay) == 3
