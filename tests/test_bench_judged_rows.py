"""Learners on judged rows: their budget, which rows an update sees, what it minimises."""

import math

import numpy as np
import pytest
import torch

from workbench.bench import cells, judged_rows, methods, runner


def rows(scores, reference=None):
    scores = np.asarray(scores, dtype=float)
    size = scores.shape[1]
    return judged_rows.Judged(
        prompts=[[1]] * len(scores),
        responses=[[[i] for i in range(size)]] * len(scores),
        scores=scores,
        reference=np.zeros_like(scores) if reference is None else np.asarray(reference),
    )


def test_every_trainer_of_the_table_has_a_body():
    assert {m.trainer for m in methods.METHODS.values()} <= set(runner.BODIES)
    learners = {t.removeprefix("judged-") for t in runner.BODIES if t.startswith("judged-")}
    assert learners == set(judged_rows.LOSSES)


def test_a_cell_spends_what_an_anchor_of_the_same_run_would():
    made = cells.cell("judged-sft", methods.METHODS["judged-sft"], 0, cells.FULL)
    assert judged_rows.budget(made.config) == 40 * 8 // 8
    plain = cells.cell("equal", methods.METHODS["equal"], 0, cells.FULL)
    with pytest.raises(ValueError, match=r"scalarizer\.anchor: missing"):
        judged_rows.budget(plain.config)


SCORES = [[0.1, 0.9, 0.5, 0.0], [0.3, 0.2, 0.8, 0.4], [0.5, 0.5, 0.5, 0.5]]


def test_which_rows_an_update_sees():
    judged = rows(SCORES)
    sft = judged_rows.places_of("sft", judged, 6, 1, 0)[0]
    assert sorted(sft) == [1, 1, 6, 6, 8, 8]  # the best of each group, the first of equals, twice
    dpo = judged_rows.places_of("dpo", judged, 8, 1, 0)[0]
    pairs = {tuple(dpo[i : i + 2]) for i in range(0, 8, 2)}
    assert pairs == {(1, 3), (6, 5)}  # best, worst; a group of equals has no pair
    for learner in ("pg", "rpo", "dro"):
        seen = judged_rows.places_of(learner, judged, 8, 3, 0)
        assert [len(update) for update in seen] == [8, 8, 8]
        assert sorted(sum(seen, [])) == sorted(list(range(12)) * 2)  # every group before any again
    with pytest.raises(ValueError, match="no judged group has two different scores"):
        judged_rows.places_of("dpo", rows([[1.0, 1.0]]), 4, 1, 0)


def value(learner, logps, judged, places, lengths=None, values=None):
    groups, where = np.divmod(np.array(places), judged.scores.shape[1])
    tensor = torch.tensor(logps, dtype=torch.float64, requires_grad=True)
    size = torch.ones(len(logps)) if lengths is None else torch.tensor(lengths)
    loss = judged_rows.LOSSES[learner](tensor, size, values, judged, groups, where)
    loss.backward()
    return float(loss.detach()), tensor.grad.numpy()


def test_sft_is_the_cross_entropy_per_token():
    loss, slope = value("sft", [-2.0, -6.0], rows(SCORES), [1, 6], lengths=[1.0, 3.0])
    assert loss == pytest.approx(8 / 4)
    np.testing.assert_allclose(slope, [-0.25, -0.25])


def test_the_policy_gradient_pushes_by_the_standardised_score():
    judged = rows([[0.0, 1.0]])
    v = 0.5 / (math.sqrt(0.5) + 1e-4)
    loss, slope = value("pg", [-1.0, -3.0], judged, [0, 1])
    assert loss == pytest.approx(-(v * 1.0 - v * 3.0) / 2)
    np.testing.assert_allclose(slope, [v / 2, -v / 2], rtol=1e-6)


def test_dpo_compares_with_the_reference():
    judged = rows([[0.0, 1.0]], reference=[[-1.0, -3.0]])
    loss, slope = value("dpo", [-2.0, -2.5], judged, [1, 0])  # best first
    margin = 0.1 * ((-2.0 + 3.0) - (-2.5 + 1.0))
    assert loss == pytest.approx(math.log1p(math.exp(-margin)), rel=1e-6)
    assert slope[0] < 0 < slope[1]


def test_rpo_and_dro_at_their_optimum_have_no_slope():
    judged = rows([[0.0, 1.0]])  # standardised over all rows: -1, 1
    z = math.log((math.exp(-1.0) + math.exp(1.0)) / 2)
    best = [-1.0 - z, 1.0 - z]
    np.testing.assert_allclose(value("rpo", best, judged, [0, 1])[1], 0, atol=1e-6)
    values = torch.full((2,), z)
    np.testing.assert_allclose(value("dro", best, judged, [0, 1], values=values)[1], 0, atol=1e-6)
