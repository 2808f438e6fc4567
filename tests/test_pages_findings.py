"""The sentence under a group, each case from arrays that can be checked by hand."""

import numpy as np
import pytest

from workbench.config.io import load
from workbench.core.group_findings import Group, contributions, findings

NAN = np.nan


def group(
    rewards, weights, advantages, judge=None, truncated=None, policy=None, mask=None, **more
) -> Group:
    rows = len(advantages)
    return Group(
        objectives=("format", "length"),
        rewards=np.array(rewards, dtype=float),
        weights=np.array(weights, dtype=float),
        advantages=np.array(advantages, dtype=float),
        judge=np.array([NAN] * rows if judge is None else judge, dtype=float),
        truncated=np.array([False] * rows if truncated is None else truncated),
        policy=None if policy is None else np.array(policy, dtype=float),
        mask=None if mask is None else np.array(mask, dtype=float),
        **more,
    )


HALF = [[0.5, 0.5]] * 4


def test_flat_on_every_objective():
    found = findings(group([[1, 0.3]] * 4, HALF, [0, 0, 0, 0]))
    assert found[0].message == "This group teaches nothing: every objective is flat."
    assert found[0].level == "bad"


def test_flat_because_every_weight_sits_on_a_flat_objective():
    found = findings(group([[1, 0], [1, 1], [1, 0], [1, 1]], [[1, 0]] * 4, [0, 0, 0, 0]))
    assert found[0].message == "This group teaches nothing: all weight sits on flat objectives."
    assert "length" in found[0].text


def test_flat_only_after_weighting():
    """0.5 * 1 + 0.5 * 0 = 0.5 * 0 + 0.5 * 1: the differences cancel."""
    found = findings(group([[1, 0], [0, 1], [1, 0], [0, 1]], HALF, [0, 0, 0, 0]))
    assert found[0].message == "This group teaches nothing: it is flat only after weighting."


def test_the_row_that_the_judge_likes_was_pushed_down():
    """Row 3 has judge 1 and the lowest advantage; length puts it 0.5 * (0 - 0.6) = 0.3 below."""
    found = findings(
        group(
            [[0.5, 0.8], [0.5, 0.8], [0.5, 0.0], [0.5, 0.8]],
            HALF,
            [0.5, 0.5, -1.5, 0.5],
            judge=[0.2, 0.4, 1.0, 0.3],
        )
    )
    first = found[0]
    assert first.message == "Advantage disagrees with the judge on this prompt."
    assert first.row == 2
    assert first.objective == "length"
    assert "Row 3" in first.text
    assert "pushed down hardest (−1.5)" in first.text
    assert "length has weight 0.5 here and puts that row 0.3 below its group" in first.text


def test_contributions_sum_to_the_distance_from_the_mean():
    g = group([[1, 0], [0, 1]], [[0.25, 0.75], [0.5, 0.5]], [-1, 1])
    # weighted: row 1 [.25, 0], row 2 [0, .5]; means [.125, .25]
    np.testing.assert_allclose(
        contributions(g.rewards, g.weights), [[0.125, -0.25], [-0.125, 0.25]]
    )


def test_signs_that_come_from_the_draw():
    """Under the shared weights (0.5, 0.5) rows are 0.5, 0.5, 0.4, 0.6; the draw turns two signs."""
    found = findings(
        group(
            [[0.9, 0.1], [0.9, 0.1], [0.7, 0.1], [0.9, 0.3]],
            [[0.9, 0.1], [0.1, 0.9], [0.9, 0.1], [0.1, 0.9]],
            [1.0, -0.6, 0.6, -1.0],
        )
    )
    assert found[0].message == "2 of 4 signs come from the drawn emphasis, not from the text."


def test_weights_that_collapsed():
    found = findings(
        group(
            [[1, 0], [0, 1], [1, 0], [0, 1]],
            [[1, 0]] * 4,
            [1, -1, 1, -1],
            policy=[[0.999, 0.001]] * 4,
        )
    )
    assert found[0].message == "The weights have collapsed onto format."


def test_completions_that_were_cut_off():
    found = findings(
        group(
            [[1, 0], [0, 0.2], [1, 0], [0, 0.1]],
            HALF,
            [1, -1, 1, -1],
            truncated=[True, True, False, True],
        )
    )
    assert any(f.message == "3 of 4 completions hit the token limit." for f in found)


def test_a_healthy_group_says_what_decides():
    """format differs by 1, length by 0.2 at equal weights: format decides 5/6 = 83 %."""
    found = findings(
        group(
            [[1, 0.2], [0, 0.0], [1, 0.2], [0, 0.0]],
            HALF,
            [1, -1, 1, -1],
            judge=[0.9, 0.1, 0.8, 0.2],
        )
    )
    assert [f.level for f in found] == ["ok"]
    assert found[0].message == "Advantage agrees with the judge on this prompt."
    assert found[0].text == "format decides most here: 83 % of what separates the rows."


def test_a_reward_that_does_not_apply_counts_for_nothing():
    g = group([[NAN, 1], [0.5, 0]], [[0.5, 0.5]] * 2, [1, -1])
    np.testing.assert_allclose(
        contributions(g.rewards, g.weights), [[-0.125, 0.25], [0.125, -0.25]]
    )


VARIED = [[1, 0], [0, 0.2], [1, 0.4], [0, 0.1]]


def test_a_group_that_is_held_back_is_not_called_flat():
    found = findings(group(VARIED, HALF, [0, 0, 0, 0], mask=[0, 0, 0, 0]))
    assert [f.message for f in found] == ["This group is held back to 0 % of its advantages."]
    assert "none of the judged groups had been like it" in found[0].text
    half = findings(group(VARIED, HALF, [0.5, -0.5, 0.5, -0.5], mask=[0.5] * 4))
    assert half[0].message == "This group is held back to 50 % of its advantages."
    for share in (1.0, 0.8):
        whole = findings(group(VARIED, HALF, [1, -1, 1, -1], mask=[share] * 4))
        assert whole[0].message == "Nothing stands out."


def test_rows_that_a_scalarizer_takes_out_are_counted():
    found = findings(group(VARIED, HALF, [0.9, 0, 0.9, -1.8], mask=[1, 0, 1, 1]))
    assert found[0].message == "1 of 4 rows are left out."


def test_flat_is_said_though_weights_of_its_own_give_each_row_an_advantage():
    """Every objective is flat; 0.9 * 1 and 0.1 * 1 differ by the weights alone."""
    found = findings(group([[1, 0]] * 2, [[0.9, 0.1], [0.1, 0.9]], [0.7, -0.7]))
    assert found[0].code == "flat_all" and "difference of their weights alone" in found[0].text


def test_copies_are_found():
    """Seven of eight share 10 of 10 or 9 of 10 words; the eighth shares 2 of 9."""
    same = "the snow is white and the crow is black today"
    texts = [same, same.upper(), *[same] * 4, same.replace("today", "now"), "the hen and the sky"]
    varied = [[i / 8, 0] for i in range(8)]
    g = group(varied, HALF * 2, [1, -1] * 4, completions=texts)
    (found,) = [f for f in findings(g) if f.code == "alike"]
    assert found.message == "7 of 8 completions are nearly the same text."
    different = [f"{i} {i + 1} {i + 2}" for i in range(0, 80, 10)]
    assert findings(group(varied, HALF * 2, [1, -1] * 4, completions=different))[0].level == "ok"


def test_a_gap_of_noise_is_found_where_deviations_divide():
    """0.5 * 0.02 = 0.01 of a span of 0.5 * 1 + 0.5 * 1 = 1."""
    rewards = [[0.5, 0.3]] * 3 + [[0.48, 0.3]]
    g = group(rewards, HALF, [0.5, 0.5, 0.5, -1.5], span=np.array([1.0, 1.0]))
    (found,) = findings(g)
    assert found.message == "A reward gap of 0.01 became an advantage of −1.5."
    assert "grpo.scale_rewards" in found.advice
    none = load({"objectives": ["format", "length"], "grpo": {"scale_rewards": "none"}})
    assert findings(g, none)[0].level == "ok"
    near = group(rewards, HALF, [0.5, 0.5, 0.5, -1.5], span=np.array([0.02, 0.0]))
    assert findings(near)[0].level == "ok"  # the whole step differs by no more


def config(**scalarizer):
    return load({"objectives": ["format", "length"], "scalarizer": scalarizer})


ANCHORED = {"name": "conductor", "meta_reward": "anchor", "anchor": {"source": "judge"}}
AGAINST = ([[0.5, 0.8], [0.5, 0.0]], [[0.5, 0.5]] * 2, [0.7, -0.7])


@pytest.mark.parametrize(
    ("scalarizer", "said", "unsaid"),
    [
        ({"name": "conductor"}, ["emphasis", "center_objectives", "meta_reward: anchor"],
         ["fraction"]),
        (ANCHORED, ["anchor.fraction"], ["emphasis", "center_objectives", "meta_reward"]),
        ({"name": "static"}, ["scalarizer.name: conductor"], ["emphasis", "center_objectives"]),
        ({"name": "conductor", "mode": "continuous", "context": "prompt"}, ["meta_reward: anchor"],
         ["emphasis", "center_objectives"]),
    ],
)  # fmt: skip
def test_advice_knows_the_configuration(scalarizer, said, unsaid):
    found = findings(group(*AGAINST, judge=[0.1, 0.9]), config(**scalarizer))[0]
    assert found.code == "against_judge"
    assert all(word in found.advice for word in said)
    assert not any(word in found.advice for word in unsaid), found.advice


def test_weights_that_were_chosen_by_hand_have_not_collapsed():
    one = group([[1, 0], [0, 1]], [[1, 0]] * 2, [1, -1])
    assert findings(one, config(name="single", objective="format"))[0].level == "ok"
    assert findings(one, config(**ANCHORED))[0].code == "collapse"


def test_signed_weights_are_no_collapse():
    """Sizes 0.5 and 0.5: entropy 1, whatever the signs."""
    g = group([[1, 0], [0, 1], [1, 1], [0, 0]], [[0.5, -0.5]] * 4, [1, -1, 0, 0])
    assert [f.code for f in findings(g)] == ["ok"]
