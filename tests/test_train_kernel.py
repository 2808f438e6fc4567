"""The kernel head inside a run: the log explains what trained, in audit, what-if and store."""

import numpy as np
import pytest

from workbench.analysis.logged_rows import LoggedRows, rows_from_frame
from workbench.analysis.whatif import audit_error, whatif
from workbench.config.io import validate
from workbench.config.scalarizers import Static
from workbench.core.alignment import normalize_scores
from workbench.core.diagnostics import step_metrics
from workbench.store.reader import Store
from workbench.store.writer import RunWriter
from workbench.train.weighting import Weighing
from workbench.types import RolloutBatch

NAMES, B, G, D = ("format", "length"), 6, 4, 5


def weighting(**anchor):
    return Weighing(
        validate(
            {
                "objectives": list(NAMES),
                "grpo": {"num_generations": G, "prompts_per_step": B},
                "scalarizer": {
                    "name": "conductor",
                    "meta_reward": "anchor",
                    "head": "kernel",
                    "anchor": {"source": "judge", "fraction": 0.34} | anchor,
                },
            }
        ),
        [(0.0, 1.0), (0.0, 1.0)],
        D,
    )


def steps(learner, count):
    """``count`` steps of a run: what was weighed, the contexts, the judged scores."""
    found = []
    for step in range(count):
        draw = np.random.default_rng(step)
        rewards, hidden = draw.random((B * G, 2)), draw.normal(size=(B * G, D))
        scores = rewards[:, 0] - rewards[:, 1]
        asked = np.full(B * G, np.nan)

        def ask(groups, scores=scores, asked=asked):
            answer = {}
            for g in (int(g) for g in groups):
                where = slice(g * G, (g + 1) * G)
                asked[where] = scores[where]
                answer[g] = scores[where]
            return answer

        weighed = learner.weigh(rewards, ["x"] * (B * G), G, step, hidden, ask=ask)
        learner.learn(weighed, {})
        found.append((weighed, hidden, asked))
    return found


def logged(done):
    """The steps as a store would give them back."""
    parts = [[], [], [], [], [], [], []]
    for step, (weighed, hidden, _) in enumerate(done):
        choice = weighed.choice
        rows = (
            weighed.rewards, choice.weights, weighed.advantages, hidden, choice.mask,
            np.full(B * G, np.nan) if choice.trusted is None else choice.trusted,
            np.full(B * G, np.nan) if choice.trusted is None else choice.trusted_share,
        )  # fmt: skip
        for part, row in zip(parts, rows, strict=True):
            part.append(row)
        assert weighed.scene.step == step
    rewards, weights, advantages, hidden, mask, judge, share = map(np.concatenate, parts)
    count = len(done)
    return LoggedRows(
        objectives=NAMES,
        rewards=rewards,
        weights=weights,
        advantages=advantages,
        groups=np.repeat(np.arange(count * B), G),
        batches=np.repeat(np.arange(count), B * G),
        contexts=hidden,
        mask=mask,
        judge=judge,
        judge_share=share,
    )


def test_the_log_explains_the_advantages_and_what_if_starts_from_them():
    learner = weighting()
    done = steps(learner, 12)
    rows = logged(done)
    assert rows.weights.min() < -0.1  # signed, as the score subtracts the second objective
    assert (rows.judge_share > 0).any()
    assert audit_error(rows) < 1e-12
    same = whatif(rows, weights=rows.weights)
    np.testing.assert_allclose(same.advantages, rows.advantages, atol=1e-12)
    equal = whatif(rows, scalarizer=Static())
    assert equal.sign_flips > 0.1
    last = slice(-B * G, None)
    now = learner.weigh(
        rows.rewards[last], ["x"] * (B * G), G, 12, rows.contexts[last], explore=False
    )
    asked = whatif(rows, conductor=learner.state())
    np.testing.assert_allclose(asked.weights[last], now.choice.weights, atol=1e-9)


def test_judged_rows_carry_the_score_that_was_used_shuffling_included():
    weighed, _, asked = steps(weighting(shuffle=True, gate=False), 1)[0]
    choice = weighed.choice
    judged = ~np.isnan(asked)
    assert judged.sum() == 2 * G
    used = choice.trusted[judged].reshape(-1, G)
    np.testing.assert_allclose(np.sort(used), np.sort(asked[judged].reshape(-1, G)))
    assert not np.array_equal(used.ravel(), asked[judged])
    expected = [normalize_scores(row) for row in used]
    np.testing.assert_allclose(weighed.advantages[judged].reshape(-1, G), expected, atol=1e-12)


def test_a_probe_neither_learns_nor_asks():
    learner = weighting()
    steps(learner, 2)
    before = learner.state()
    draw = np.random.default_rng(9)
    probe = learner.weigh(
        draw.random((B * G, 2)), ["x"] * (B * G), G, 2, draw.normal(size=(B * G, D)), explore=False
    )
    assert probe.choice.trusted is None and probe.choice.mask is None
    for key, value in learner.state().items():
        np.testing.assert_array_equal(value, before[key], err_msg=key)


def test_the_store_keeps_the_share_and_the_metrics_audit_it(tmp_path):
    weighed, hidden, _ = steps(weighting(), 3)[-1]
    choice = weighed.choice
    batch = RolloutBatch(
        step=2,
        split="train",
        objectives=NAMES,
        num_generations=G,
        prompts=["p"] * (B * G),
        prompt_ids=[str(i // G) for i in range(B * G)],
        kinds=["x"] * (B * G),
        completions=["c"] * (B * G),
        num_tokens=np.ones(B * G, dtype=np.int64),
        truncated=np.zeros(B * G, dtype=bool),
        rewards=weighed.rewards,
        weights=choice.weights,
        scalars=weighed.scalars,
        advantages=weighed.advantages,
        judge=choice.trusted,
        judge_share=choice.trusted_share,
        mask=choice.mask,
    )
    assert step_metrics(batch)["audit_error"] == 0.0
    run = tmp_path / "20260101-000000-aaaa"
    run.mkdir()
    with RunWriter(run) as writer:
        writer.rollouts(batch)
    frame = Store(tmp_path).sql("SELECT * FROM rollouts ORDER BY group_id, sample")
    rows = rows_from_frame(frame, NAMES)
    np.testing.assert_allclose(rows.judge_share, choice.trusted_share)
    assert audit_error(rows) < 1e-12


def test_ratings_reach_the_kernel_head():
    from workbench.train.ratings import Rated

    learner = weighting(source="ratings")
    draw = np.random.default_rng(1)
    rewards = draw.random((5, G, 2))
    rated = Rated(
        tuple("abcde"), draw.normal(size=(5, D)), rewards, rewards[..., 0] - rewards[..., 1]
    )
    learner.recall(rated)
    weighed = steps(learner, 1)[0][0]
    assert learner.scalarizer.spent == 5 * G
    assert weighed.choice.trusted is None
    with pytest.raises(ValueError, match="learns from none"):
        plain = validate({"objectives": list(NAMES)})
        Weighing(plain, [(0.0, 1.0)] * 2, D).recall(rated)
