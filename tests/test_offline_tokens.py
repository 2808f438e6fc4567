"""Token ids of rows, the values of prompts, and what KTO and SFT make of the rewards."""

from dataclasses import replace

import numpy as np
import pytest
from offline_rows_tiny import dozen_model, frame
from tiny_models import tiny_tokenizer

from workbench.config.offline import RpoConfig
from workbench.train import offline_tokens as tokens
from workbench.train.offline_rows import RowsError
from workbench.train.offline_tokens import TokenRows
from workbench.train.offline_trl import balancing, desirable, selected
from workbench.train.scoring import prepare_scoring
from workbench.train.sequence_logprobs import row_logps
from workbench.train.text import Rendering

W = {f"w{i}": i + 3 for i in range(37)}


def encoded(
    table, encoder_decoder=False, chat=False, rendered=False, system_prompt=None, template=None
):
    return tokens.encode_rows(
        table,
        Rendering(tiny_tokenizer(chat), system_prompt, template or {}),
        encoder_decoder,
        rendered,
    )


def test_logged_token_ids_are_used_when_they_say_the_text():
    logged = [[W["w5"], 2], [W["w6"], W["w7"]]]
    table = frame(("w1 w2", "w5", 1.0), ("w1 w2", "w6 w7", 0.0), token_ids=logged)
    found, used = encoded(table)
    assert used and list(found["response_ids"]) == logged
    assert list(found["prompt_ids"]) == [[W["w1"], W["w2"]]] * 2


@pytest.mark.parametrize(
    "ids", [[[W["w9"], 2], [W["w6"]]], [[W["w5"], 2], None], [[W["w5"], 2], [999]]]
)
def test_other_tokenizers_ids_are_not(ids):
    # of another text, missing, outside of the vocabulary: the texts are tokenised instead
    table = frame(("w1", "w5", 1.0), ("w1", "w6", 0.0), token_ids=ids, truncated=[False, True])
    found, used = encoded(table)
    assert not used
    # an end token follows where the row was complete
    assert list(found["response_ids"]) == [[W["w5"], 2], [W["w6"]]]


def test_conversations_go_through_the_chat_template_and_rendered_ones_do_not():
    table = frame(("a", "w5", 1.0), ("b", "w6", 0.0))
    table["prompt"] = [[{"role": "user", "content": "w1"}], "w0 w1 <eos> w1"]
    found, _ = encoded(table, chat=True, rendered=True)
    assert found["prompt_ids"][0] == [W["w0"], W["w1"], 2, W["w1"]]
    assert found["prompt_ids"][1] == [W["w0"], W["w1"], 2, W["w1"]]


def test_prompts_are_those_that_were_sampled_from_where_they_were_logged():
    # what a tokenizer that cleans up spaces shows of them ("w1w2") is other tokens
    logged = {"prompt_token_ids": [[W["w1"], W["w2"]]] * 2, "token_ids": [[W["w5"], 2], [W["w6"]]]}
    table = frame(("w1w2", "w5", 1.0), ("w1w2", "w6", 0.0), **logged)
    found, exact = encoded(table, rendered=True)
    assert exact and list(found["prompt_ids"]) == logged["prompt_token_ids"]
    table["prompt_token_ids"] = None
    found, exact = encoded(table, rendered=True)
    assert not exact and found["prompt_ids"][0] == [1]


def test_rows_of_a_file_are_rendered_as_the_runs_prompts_are():
    table = frame(("a", "w5", 1.0))
    table["prompt"] = [[{"role": "user", "content": "w1"}]]
    found, _ = encoded(table, chat=True, system_prompt="w9")
    assert found["prompt_ids"][0] == [3, W["w9"], 2, 3, W["w1"], 2, W["w1"]]


ROWS = TokenRows(
    prompt_ids=[[1]] * 5,
    response_ids=[[3, 2], [4, 2], [5], [6, 6, 6, 2], [7, 2]],
    rewards=np.array([1.0, 0.0, -1.0, 2.0, 0.0]),
    groups=np.array([0, 0, 0, 1, 1]),
    logp_ref=np.log([0.5, 0.25, 0.25, 0.5, 0.25]),
    logp_behaviour=np.log([0.25, 0.25, 0.5, 0.5, 0.25]),
)


def test_values_by_hand():
    # tau 1: V = log mean e^r over each prompt's rows
    expected = [np.log((np.e + 1 + 1 / np.e) / 3)] * 3 + [np.log((np.e**2 + 1) / 2)] * 2
    found = tokens.with_values(ROWS, RpoConfig(tau=1.0))
    np.testing.assert_allclose(found.values, expected)
    # each term times pi_ref / pi_behaviour = 2, 1, 1/2 and 1, 1
    corrected = [np.log((2 * np.e + 1 + 0.5 / np.e) / 3)] * 3 + expected[3:]
    found = tokens.with_values(ROWS, RpoConfig(tau=1.0, behaviour_correction=True))
    np.testing.assert_allclose(found.values, corrected)
    # the authors': sum of pi_ref e^r, summed log-probabilities; tau 2 halves the exponent
    authors = RpoConfig(partition="authors", length_normalize=False, tau=2.0)
    z = 0.5 * np.exp(0.5) + 0.25 + 0.25 * np.exp(-0.5)
    assert tokens.with_values(ROWS, authors).values[0] == pytest.approx(2 * np.log(z))
    # averaged over tokens (lengths 2, 2, 1) the weights are no probabilities any more
    averaged = tokens.with_values(ROWS, RpoConfig(tau=1.0, partition="authors"))
    z = 0.5**0.5 * np.e + 0.25**0.5 + 0.25 / np.e
    assert averaged.values[0] == pytest.approx(np.log(z))


def test_the_correction_needs_behaviour_log_probabilities():
    with pytest.raises(RowsError, match="behaviour_logp"):
        tokens.with_values(replace(ROWS, logp_behaviour=None), RpoConfig(behaviour_correction=True))


def test_the_plan_is_whole_passes_in_new_orders():
    order = tokens.row_order(5, 12, seed=0)
    assert sorted(order[:5]) == sorted(order[5:10]) == list(range(5))
    assert list(order[:5]) != list(order[5:10])
    np.testing.assert_array_equal(order[:7], tokens.row_order(5, 7, seed=0))
    assert list(order) != list(tokens.row_order(5, 12, seed=1))


def test_reference_log_probabilities_are_kept_for_the_same_rows_and_model(tmp_path):
    model = dozen_model()
    path = tmp_path / "offline" / "reference.safetensors"
    key = tokens.reference_key(ROWS, model)
    assert tokens.cached_logps(path, key) is None
    tokens.cache_logps(path, key, ROWS.logp_ref)
    np.testing.assert_array_equal(tokens.cached_logps(path, key), ROWS.logp_ref)
    assert tokens.cached_logps(path, tokens.reference_key(ROWS, dozen_model(1))) is None
    other = replace(ROWS, response_ids=[[3, 2]] * 5)
    assert tokens.cached_logps(path, tokens.reference_key(other, model)) is None


def test_a_row_has_the_same_log_probability_alone_and_in_a_batch():
    model = dozen_model()
    prepare_scoring(model)
    prompts, responses = [[1, 2, 3], [4], [5, 6]], [[7], [8, 9, 10], [11, 1]]
    together = row_logps(model, prompts, responses, 0, 3)
    alone = [row_logps(model, [p], [r], 0, 1)[0] for p, r in zip(prompts, responses, strict=True)]
    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_desirable_rows():
    # prompt 0 has mean 0: only its first row is above; prompt 1 has mean 1
    np.testing.assert_array_equal(
        desirable(ROWS, "above_prompt_mean"), [True, False, False, True, False]
    )
    np.testing.assert_array_equal(desirable(ROWS, "positive"), [True, False, False, True, False])
    # a prompt of one row is compared with the mean of all, 0.4
    alone = replace(ROWS, groups=np.array([0, 0, 0, 1, 2]))
    np.testing.assert_array_equal(
        desirable(alone, "above_prompt_mean"), [True, False, False, True, False]
    )


def test_rows_to_imitate():
    tied = replace(ROWS, rewards=np.array([0.0, 1.0, 1.0, 2.0, 2.0]))
    np.testing.assert_array_equal(selected(tied, "best"), [1, 3])
    np.testing.assert_array_equal(selected(tied, "above_prompt_mean"), [1, 2, 3])
    np.testing.assert_array_equal(selected(tied, "all"), np.arange(5))


def test_balancing_gives_the_rarer_side_more():
    assert balancing(np.array([True, False, False, False])) == (3.0, 1.0)
    assert balancing(np.array([True, True, False])) == (1.0, 2.0)
