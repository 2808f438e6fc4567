"""What-if: logged rows under other weights, by ids, without torch."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from workbench.analysis.logged_rows import LoggedRows, rows_from_frame
from workbench.analysis.whatif import audit_error, whatif
from workbench.config import scalarizers as configs
from workbench.core.advantages import aggregate
from workbench.core.scalarizers import ScalarizerInput, build_scalarizer

NAMES = ("a", "b", "c")
NAN = float("nan")


def rng(seed=0):
    return np.random.default_rng(seed)


def logged(batches=3, groups=2, g=4, seed=0, **changes):
    """Rows of a run with random weights, in order: batch by batch, group by group."""
    n = batches * groups * g
    draw = rng(seed)
    rewards, weights = draw.random((n, 3)), draw.dirichlet(np.ones(3), n)
    rewards[draw.random(rewards.shape) < 0.1] = NAN
    batch = np.arange(n) // (groups * g)
    advantages = np.concatenate(
        [aggregate(rewards[batch == b], weights[batch == b], g)[1] for b in range(batches)]
    )
    values = {
        "objectives": NAMES,
        "rewards": rewards,
        "weights": weights,
        "advantages": advantages,
        "groups": np.arange(n) // g,
        "batches": batch,
        "kinds": ["x", "y"] * (n // 2),
    }
    return LoggedRows(**(values | changes))


def mix(rows, seed=1):
    """The same rows in another order."""
    order = rng(seed).permutation(len(rows.rewards))
    return order, LoggedRows(
        rows.objectives,
        rows.rewards[order],
        rows.weights[order],
        rows.advantages[order],
        rows.groups[order],
        rows.batches[order],
        [rows.kinds[i] for i in order],
    )


def test_the_logged_weights_give_the_logged_advantages():
    rows = logged()
    result = whatif(rows, weights=rows.weights)
    np.testing.assert_allclose(result.advantages, rows.advantages, atol=1e-12)
    assert result.sign_flips == 0 and result.rank_correlation == pytest.approx(1)
    assert audit_error(rows) < 1e-12
    assert audit_error(logged(advantages=rows.advantages + 0.1)) == pytest.approx(0.1)


def test_literal():
    # one pair; a says first, b says second: turning the weight around turns both signs
    rows = LoggedRows(
        ("a", "b"),
        np.array([[1.0, 0.0], [0.0, 1.0]]),
        np.array([[1.0, 0.0], [1.0, 0.0]]),
        np.array([0.7, -0.7]),
        np.array([0, 0]),
        np.array([0, 0]),
    )
    result = whatif(rows, weights={"b": 2.0})
    a = 0.5 / (1 / np.sqrt(2) + 1e-4)
    np.testing.assert_allclose(result.advantages, [-a, a])
    np.testing.assert_array_equal(result.scalars, [0.0, 1.0])
    assert result.summary() == {"rows": 2.0, "rank_correlation": -1.0, "sign_flips": 1.0}
    top = result.top(1)
    assert top["row"].tolist()[0] in (0, 1) and top["flipped"].all() and len(top) == 1
    assert result.mean_weights().loc["all"].to_dict() == {
        "a before": 1.0, "b before": 0.0, "a": 0.0, "b": 1.0,
    }  # fmt: skip


CONFIGS = {
    "static": configs.Static(weights={"a": 1.0, "b": 2.0}),
    "single": configs.Single(objective="c"),
    "oracle": configs.Oracle(by_kind={"x": {"a": 1.0}}),
    "saw": configs.Saw(),
    "dvao": configs.Dvao(),
    "gd2po": configs.Gd2po(),
    "ctwa": configs.Ctwa(rate=1.0),
    "sa_mrpo": configs.SaMrpo(),
    "hypervolume": configs.Hypervolume(),
}


@pytest.mark.parametrize("aggregation", ["sum_then_normalize", "normalize_then_sum"])
@pytest.mark.parametrize("name", sorted(CONFIGS))
def test_rows_in_any_order_get_what_the_trainer_would_have_computed(name, aggregation):
    rows, config = logged(), CONFIGS[name]
    scalarizer, expected = build_scalarizer(config, NAMES), []
    bounds = np.zeros(3), np.ones(3)
    for batch in range(3):
        own = rows.batches == batch
        r = rows.rewards[own]
        kinds = [k for k, mine in zip(rows.kinds, own, strict=True) if mine]
        scene = ScalarizerInput(r, r, *bounds, kinds=kinds, num_generations=4, step=batch)
        choice = scalarizer.choose(scene, rng())
        advantages = aggregate(r, choice.weights, 4, aggregation, mask=choice.mask)[1]
        expected.append(advantages)
        scalarizer.learn(scene, choice, advantages, {})
    order, mixed = mix(rows)
    got = whatif(mixed, config, aggregation=aggregation, lower=bounds[0], upper=bounds[1])
    np.testing.assert_allclose(got.advantages, np.concatenate(expected)[order], atol=1e-9)
    np.testing.assert_allclose(got.weights.sum(axis=1), 1)


def test_groups_of_different_sizes():
    small, large = logged(g=2, seed=3), logged(g=5, seed=4)
    rows = LoggedRows(
        NAMES,
        np.concatenate([small.rewards, large.rewards]),
        np.concatenate([small.weights, large.weights]),
        np.concatenate([small.advantages, large.advantages]),
        np.concatenate([small.groups, large.groups + small.groups.max() + 1]),
        np.concatenate([small.batches, large.batches + small.batches.max() + 1]),
    )
    for config in (configs.Saw(), configs.Dvao(), configs.Random()):
        together = whatif(rows, config)
        assert together.advantages.shape == (len(rows.rewards),)
        if config.name != "random":
            apart = [whatif(part, config).advantages for part in (small, large)]
            np.testing.assert_allclose(together.advantages, np.concatenate(apart), atol=1e-12)


def test_a_policy_step_that_lost_rows_still_works():
    rows = logged()
    kept = np.arange(len(rows.rewards)) != 5
    part = LoggedRows(
        NAMES,
        rows.rewards[kept],
        rows.weights[kept],
        rows.advantages[kept],
        rows.groups[kept],
        rows.batches[kept],
    )
    result = whatif(part, configs.Saw())
    untouched = rows.batches[kept] > 0
    whole = whatif(rows, configs.Saw()).advantages[kept]
    np.testing.assert_allclose(result.advantages[untouched], whole[untouched], atol=1e-12)


def test_another_runs_conductor_answers_for_logged_contexts():
    rows = logged(contexts=rng(5).normal(size=(24, 6)))
    run = build_scalarizer(configs.Conductor(update_every=1, learning_rate=0.5), NAMES, 6)
    one_batch = ScalarizerInput(
        rows.rewards[:8], rows.rewards[:8], np.zeros(3), np.ones(3), ["x"] * 8, 4, 0,
        hidden=rows.contexts[:8],
    )  # fmt: skip
    run.learn(one_batch, run.choose(one_batch, rng()), rng(6).normal(size=8), {})
    state = run.state()
    result = whatif(rows, conductor=state)
    expected = run.choose(one_batch, rng(), explore=False).weights
    np.testing.assert_allclose(result.weights[:8], expected, rtol=1e-12)
    with pytest.raises(ValueError, match="contexts: none are logged"):
        whatif(logged(), conductor=state)


def test_every_weighting_is_on_the_scale_of_the_logged_mask():
    """A group that was held back to a tenth stays so, whoever chooses the weights."""
    draw = rng(2)
    contexts = draw.standard_normal((24, 5))
    held = np.repeat([0.1, 1.0, 1.0, 1.0, 1.0, 1.0], 4)
    state = build_scalarizer(configs.Conductor(), NAMES, 5).state()
    for how in (
        {"weights": {"a": 1.0}}, {"scalarizer": configs.Saw()}, {"conductor": state},
    ):  # fmt: skip
        whole = whatif(logged(contexts=contexts), **how).advantages
        part = whatif(logged(contexts=contexts, mask=held), **how).advantages
        np.testing.assert_allclose(part, held * whole, atol=1e-12)


def test_signed_weights_are_asked_for_where_the_runs_own_are_signed():
    signed = logged(weights=rng().standard_normal((24, 3)))
    result = whatif(signed, weights={"a": 1.0, "b": -1.0})
    np.testing.assert_array_equal(result.weights[0], [1.0, -1.0, 0.0])
    with pytest.raises(ValueError, match="b is -1; allowed are numbers from 0"):
        whatif(logged(), weights={"a": 1.0, "b": -1.0})


def frame(rows, **columns):
    def maps(matrix):
        return [dict(zip(NAMES, row, strict=True)) for row in matrix.tolist()]

    return pd.DataFrame(
        {
            "run_id": "r",
            "split": "train",
            "step": rows.batches,
            "group_id": [f"train-{b}-{g}" for b, g in zip(rows.batches, rows.groups, strict=True)],
            "kind": rows.kinds,
            "rewards": maps(rows.rewards),
            "weights": maps(rows.weights),
            "advantage": rows.advantages,
        }
        | columns
    )


def test_rows_from_the_rollouts_view():
    rows = logged()
    got = rows_from_frame(frame(rows).sample(frac=1, random_state=0), NAMES)
    assert audit_error(got) < 1e-12
    assert whatif(got, configs.Saw()).sign_flips == pytest.approx(
        whatif(rows, configs.Saw()).sign_flips
    )
    with pytest.raises(ValueError, match=r"columns \['weights'\] missing"):
        rows_from_frame(frame(rows).drop(columns="weights"), NAMES)


def test_same_group_names_in_two_runs_are_two_groups():
    rows = logged()
    both = pd.concat([frame(rows), frame(rows, run_id="s")])
    got = rows_from_frame(both, NAMES)
    assert len(set(got.groups)) == 2 * len(set(rows.groups))
    assert len(set(got.batches)) == 6 and audit_error(got) < 1e-12


@pytest.mark.parametrize("aggregation", ["sum_then_normalize", "normalize_then_sum"])
def test_scaled_rewards_and_the_kl_penalty_are_read(aggregation):
    rows = logged()
    penalty = rng().random(24)
    parts = [
        aggregate(2 * rows.rewards[b], rows.weights[b], 4, aggregation, penalty=penalty[b])
        for b in (rows.batches == i for i in range(3))
    ]
    scalars, advantages = (np.concatenate(p) for p in zip(*parts, strict=True))
    scaled = [dict(zip(NAMES, row, strict=True)) for row in (2 * rows.rewards).tolist()]
    logged_frame = frame(rows, scaled=scaled, scalar=scalars, advantage=advantages)
    got = rows_from_frame(logged_frame, NAMES, True)
    np.testing.assert_allclose(got.penalty, penalty, atol=1e-12)
    np.testing.assert_array_equal(got.raw, rows.rewards)
    assert audit_error(got, aggregation) < 1e-9


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: whatif(logged()), "exactly one of scalarizer, weights, conductor"),
        (lambda: whatif(logged(), configs.Saw(), weights={"a": 1.0}), "exactly one"),
        (lambda: whatif(logged(), weights={"z": 1.0}), r"\['z'\] unknown"),
        (lambda: whatif(logged(), weights=np.ones(2)), r"shape \(24, 2\)"),
        (lambda: whatif(logged(), configs.Conductor()), "name the run whose Conductor"),
        (lambda: logged(weights=np.ones((24, 2))), r"weights: shape \(24, 2\) is not \(24, 3\)"),
        (lambda: logged(kinds=["x"]), "kinds: 1 for 24 rows"),
    ],
)
def test_refusals(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_hundred_thousand_rows_without_torch():
    code = """
import sys, numpy as np
from workbench.config import scalarizers as c
from workbench.analysis.logged_rows import LoggedRows
from workbench.analysis.whatif import whatif
n = 100_000
r = np.random.default_rng(0).random((n, 5)); w = np.full((n, 5), 0.2)
a = r.sum(axis=1) - 2.5
rows = LoggedRows(tuple("abcde"), r, w, a, np.arange(n) // 8, np.arange(n) // 64)
for config in (c.Saw(), c.Dvao(), c.Static(weights={"a": 1.0})):
    result = whatif(rows, config)
    assert np.isfinite(result.advantages).all() and 0 < result.sign_flips < 1
    assert len(result.top(7)) == 7 and 0 < result.rank_correlation < 1
assert not {"torch", "trl", "transformers"} & set(sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
