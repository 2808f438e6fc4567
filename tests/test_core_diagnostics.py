"""Diagnostics as pure functions, their metrics per step, and the words that come of them."""

import math

import numpy as np
import pytest

from workbench.config.io import load
from workbench.core import diagnostics as d
from workbench.core.advantages import aggregate
from workbench.core.diagnostics import step_metrics
from workbench.core.findings import Finding, warnings_from
from workbench.types import RolloutBatch

NAN = float("nan")


def test_emphasis_entropy_literal():
    policy = np.array([[0.5, 0.5, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0], [0.25] * 4])
    np.testing.assert_allclose(d.emphasis_entropy(policy), [0.5, 0.0, 1.0])
    np.testing.assert_array_equal(d.emphasis_entropy(np.ones((2, 1))), [0.0, 0.0])
    signed = np.array([[-0.5, 0.5, NAN], [2.0, NAN, NAN], [0.0, 0.0, 0.0]])
    np.testing.assert_allclose(d.emphasis_entropy(signed), [1.0, 0.0, NAN])


def test_collapsed_share_counts_prompts():
    sure, open_ = [0.999, 0.001], [0.5, 0.5]
    # one prompt collapsed, one whose rows are collapsed in half only, one open
    policy = np.array([sure, sure, sure, open_, open_, open_])
    assert d.collapsed_share(policy, 2) == pytest.approx(1 / 3)


def test_self_favouring_is_the_mean_correlation():
    rewards = np.array([[0.0, 5.0], [1.0, 5.0], [2.0, 5.0]])
    towards = np.array([[0.2, 0.8], [0.5, 0.5], [0.8, 0.2]])
    assert d.self_favouring(towards, rewards) == pytest.approx(1.0)  # the flat one has no say
    assert d.self_favouring(1 - towards, rewards) == pytest.approx(-1.0)
    assert d.self_favouring(np.full((3, 2), 0.5), rewards) == 0.0
    both = np.array([[0.0, 1.0], [1.0, 0.0], [2.0, 1.0]])
    expected = (1.0 + np.corrcoef(towards[:, 1], both[:, 1])[0, 1]) / 2
    assert d.self_favouring(towards, both) == pytest.approx(expected)
    with_nan = np.vstack([rewards, [NAN, 5.0]])
    assert d.self_favouring(np.vstack([towards, [0.0, 1.0]]), with_nan) == pytest.approx(1.0)


def test_the_three_kinds_of_degenerate_group():
    rewards = np.array(
        [
            [0.5, 0.1], [0.5, 0.1],  # flat on every objective
            [0.5, 0.0], [0.5, 1.0],  # all weight on the flat objective
            [0.0, 1.0], [1.0, 0.0],  # objectives cancel under equal weights
            [0.0, 0.0], [1.0, 1.0],  # fine
            [0.5, NAN], [0.5, NAN],  # flat, the other does not apply
        ]
    )  # fmt: skip
    weights = np.full((10, 2), 0.5)
    weights[2:4] = [1.0, 0.0]
    pairs = np.arange(10) // 2
    codes = d.degenerate_groups(rewards, weights, pairs)
    assert [d.DEGENERATE[c] for c in codes] == [
        "flat_all", "flat_emphasised", "flat_weighted", "no", "flat_all",
    ]  # fmt: skip
    decoupled = d.degenerate_groups(rewards, weights, pairs, "normalize_then_sum")
    assert decoupled.tolist() == codes.tolist()
    order = [3, 7, 0, 9, 1, 2, 5, 8, 4, 6]  # rows may stand in any order
    mixed = d.degenerate_groups(rewards[order], weights[order], pairs[order])
    assert mixed.tolist() == codes.tolist()


def test_a_flat_group_with_weights_of_its_own_per_row_is_flat_all():
    """Its scalars differ, but by weighting noise alone."""
    rewards = np.array([[1.0, 0.0], [1.0, 0.0]])
    weights = np.array([[0.9, 0.1], [0.1, 0.9]])
    assert np.ptp(aggregate(rewards, weights, 2)[0]) > 0.5
    assert d.degenerate_groups(rewards, weights, np.zeros(2, int)).tolist() == [1]


@pytest.mark.parametrize("aggregation", ["sum_then_normalize", "normalize_then_sum"])
def test_audit_finds_what_was_changed(aggregation):
    rng = np.random.default_rng(0)
    rewards, weights = rng.random((8, 3)), rng.dirichlet(np.ones(3), 8)
    penalty, mask = rng.random(8), np.r_[0.0, np.ones(7)]
    _, used = aggregate(rewards, weights, 4, aggregation, "batch", penalty, mask)
    assert d.audit(rewards, weights, used, 4, aggregation, "batch", penalty, mask) == 0.0
    used[3] += 0.25
    assert d.audit(rewards, weights, used, 4, aggregation, "batch", penalty, mask) == pytest.approx(
        0.25
    )


def test_trend_is_welchs_t_of_the_last_third():
    series = np.r_[np.tile([0.0, 1.0], 4), np.zeros(8), np.tile([2.0, 3.0], 4)]
    variance = 2 / 7  # of 0, 1, 0, 1, ...: 8 * 0.25 / 7
    assert d.trend(series) == pytest.approx(2 / math.sqrt(2 * variance / 8), rel=1e-6)
    assert d.trend(series[::-1]) == pytest.approx(-d.trend(series))
    assert d.trend([1.0, 2.0, 3.0]) == 0.0


def test_reward_hacking_needs_a_rise_and_a_fall():
    rng = np.random.default_rng(0)
    t = np.linspace(0, 1, 30)
    noise = rng.normal(0, 0.05, (30, 3))
    objectives = np.stack([t, -t, np.zeros(30)], axis=1) + noise
    falling, rising = -t + noise[:, 0], t + noise[:, 1]
    assert d.reward_hacking(objectives, falling).tolist() == [0]
    assert d.reward_hacking(objectives, rising).tolist() == []
    sparse = np.where(np.arange(30) % 2 == 0, falling, NAN)
    assert d.reward_hacking(objectives, sparse).tolist() == [0]


def test_by_kind_and_token_limit():
    assert d.by_kind([1.0, 3.0, NAN, 5.0], ["x", "x", "y", "y"]) == {"x": 2.0, "y": 5.0}
    tokens = np.arange(1, 101)
    assert d.suggest_token_limit(tokens, np.zeros(100, bool), 200) == math.ceil(1.1 * 99.01)
    assert d.suggest_token_limit(tokens, tokens > 50, 50) == 100


# -- metrics and words ----------------------------------------------------------------------------


def make_batch(**changes):
    rng = np.random.default_rng(0)
    rewards, weights = rng.random((4, 2)), np.full((4, 2), 0.5)
    scalars, advantages = aggregate(rewards, weights, 2)
    values = {
        "step": 3,
        "split": "train",
        "objectives": ("a", "b"),
        "num_generations": 2,
        "prompts": [""] * 4,
        "prompt_ids": ["p", "p", "q", "q"],
        "kinds": ["x", "x", "y", "y"],
        "completions": [""] * 4,
        "num_tokens": np.array([1, 3, 5, 7]),
        "truncated": np.array([False, False, False, True]),
        "rewards": rewards,
        "weights": weights,
        "scalars": scalars,
        "advantages": advantages,
        "policy": np.array([[0.5, 0.5]] * 2 + [[1.0, 0.0]] * 2),
        "kl": np.array([0.1, 0.3, NAN, 0.5]),
        "judge": np.array([NAN, NAN, 0.25, 0.75]),
    }
    return RolloutBatch(**(values | changes))


def test_step_metrics_literal():
    batch = make_batch()
    got = step_metrics(batch)
    expected = {
        "length": 4.0, "length/x": 2.0, "length/y": 6.0,
        "truncated": 0.25, "truncated/x": 0.0, "truncated/y": 0.5,
        "kl": 0.3, "kl/x": 0.2, "kl/y": 0.5,
        "emphasis_entropy": 0.5, "emphasis_entropy/x": 1.0, "emphasis_entropy/y": 0.0,
        "collapsed_prompts": 0.5, "degenerate": 0.0, "audit_error": 0.0, "judge": 0.5,
        "self_favouring": 0.0, "objective/a": batch.rewards[:, 0].mean(),
    }  # fmt: skip
    for name, value in expected.items():
        assert got[name] == pytest.approx(value), name


def test_step_metrics_audit_what_was_weighted():
    batch = make_batch()
    assert step_metrics(make_batch(rewards=batch.rewards * 2))["audit_error"] > 0
    scaled = make_batch(rewards=batch.rewards * 2, scaled=batch.rewards)
    assert step_metrics(scaled)["audit_error"] == 0
    assert "judge" not in step_metrics(make_batch(judge=None, policy=None, kl=None))


QUIET = {"collapsed_prompts": 0.0, "degenerate": 0.1, "truncated": 0.0, "audit_error": 0.0}


def codes(history, **kwargs):
    return [finding.code for finding in warnings_from(history, **kwargs)]


def test_a_healthy_run_says_nothing():
    assert codes([QUIET] * 30) == [] == codes([])


def test_an_audit_failure_is_said_at_once_and_stays():
    assert codes([QUIET | {"audit_error": 0.01}]) == ["audit"]
    assert codes([QUIET | {"audit_error": NAN}]) == ["audit"]
    assert codes([QUIET | {"audit_error": 0.01}] + [QUIET] * 20) == ["audit"]


@pytest.mark.parametrize(
    ("metrics", "code", "word"),
    [
        ({"collapsed_prompts": 0.8}, "collapse", "entropy_coef"),
        ({"truncated": 0.4}, "truncation", "max_completion_length"),
        ({"degenerate": 0.7, "degenerate/flat_all": 0.6}, "degenerate", "temperature"),
        ({"degenerate": 0.7, "degenerate/flat_emphasised": 0.6}, "degenerate", "min_weight"),
        ({"degenerate": 0.7, "degenerate/flat_weighted": 0.6}, "degenerate", "normalize_then_sum"),
    ],
)
def test_findings_name_what_to_try(metrics, code, word):
    bad = QUIET | metrics
    assert codes([bad] * 9) == []  # too early to tell
    (finding,) = warnings_from([bad] * 10)
    assert finding.code == code and word in finding.advice and finding.message.endswith(".")
    assert codes([bad] * 20 + [QUIET] * 10) == []  # it passed


def test_reward_hacking_names_the_objectives():
    rng = np.random.default_rng(0)
    history = [
        QUIET | {"objective/length": t / 30 + rng.normal(0, 0.02), "objective/format": 0.5,
                 "judge": 1 - t / 30 + rng.normal(0, 0.02)}
        for t in range(30)
    ]  # fmt: skip
    (finding,) = warnings_from(history)
    assert isinstance(finding, Finding) and finding.code == "reward_hacking"
    assert finding.message.startswith("length rise while the judge falls")
    assert codes(history, trusted="anchor_agreement") == []


def test_a_run_is_not_told_what_cannot_matter():
    bad = [QUIET | {"collapsed_prompts": 0.8}] * 10
    anchor = {"name": "conductor", "meta_reward": "anchor", "anchor": {"source": "judge"}}
    (finding,) = warnings_from(bad, config=load({"scalarizer": anchor}))
    assert "scalarizer.anchor.entropy_coef" in finding.advice
    assert "emphasis" not in finding.advice and "meta_reward" not in finding.advice
