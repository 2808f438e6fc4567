"""The scoring pass against plain forwards of one row at a time."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from tiny_models import tiny_model

from workbench.train.scoring import backbone, prepare_scoring, score

EOS = 2
PROMPTS = [[5, 6, 7], [8], [9, 10, 11, 12, 13], [5, 6]]
COMPLETIONS = [[20, 21, EOS], [22, 23, 24, 25], [EOS], [30]]
ANSWERS = [[14, 15], None, [16], [17, 18, 19]]
FAMILIES = ("llama", "qwen3", "gpt2")


def prepared(family: str, temperature: float = 1.0) -> torch.nn.Module:
    model = tiny_model(family)
    prepare_scoring(model, temperature)
    return model


def scored(model: torch.nn.Module, **kwargs: object):  # type: ignore[no-untyped-def]
    return score(model, PROMPTS, COMPLETIONS, eos_ids=[EOS], max_completion_length=4, **kwargs)


def plain_logps(model: torch.nn.Module, tokens: list[int], start: int) -> np.ndarray:
    """log p(token t | tokens before t) for t >= start, from one unpadded row."""
    with torch.no_grad():
        logits = model(torch.tensor([tokens])).logits[0].double()
    picked = logits.log_softmax(-1)[:-1].gather(-1, torch.tensor(tokens)[1:, None])[:, 0]
    return picked[start - 1 :].numpy()


@pytest.mark.parametrize("family", FAMILIES)
def test_rows_score_alike_alone_and_in_a_padded_batch(family: str) -> None:
    model = prepared(family)
    batch = scored(model, answer_ids=ANSWERS)
    for i in range(len(PROMPTS)):
        with torch.no_grad():
            ids = torch.tensor([PROMPTS[i] + COMPLETIONS[i]])
            alone = backbone(model)(ids).last_hidden_state[0, -1].numpy()
        np.testing.assert_allclose(batch.hidden[i], alone, atol=1e-5)
        expected = plain_logps(model, PROMPTS[i] + COMPLETIONS[i], len(PROMPTS[i]))
        np.testing.assert_allclose(batch.token_logps[i], expected, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("attention", ["sdpa", "eager", "rows"])
def test_an_answer_follows_the_text_and_not_the_end_token(
    family: str, attention: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = prepared(family)
    if attention == "rows":
        monkeypatch.setattr("workbench.train.scoring.BRANCHING_ATTENTION", ())
    else:
        model.set_attn_implementation(attention)
    answers = scored(model, answer_ids=ANSWERS).answer_logps
    assert answers is not None and answers[1] is None
    for i in (0, 2, 3):
        text = PROMPTS[i] + [t for t in COMPLETIONS[i] if t != EOS]
        expected = plain_logps(model, text + ANSWERS[i], len(text))
        np.testing.assert_allclose(answers[i], expected, atol=1e-5)


def test_entropy_and_temperature_are_those_of_the_sampling_distribution() -> None:
    model = prepared("llama", temperature=0.5)
    batch = scored(model)
    with torch.no_grad():
        logits = model(torch.tensor([PROMPTS[1] + COMPLETIONS[1]])).logits[0].double() / 0.5
    probabilities = logits.softmax(-1)[:-1]
    entropy = -(probabilities * probabilities.log()).sum(-1).numpy()
    np.testing.assert_allclose(batch.token_entropies[1], entropy, atol=1e-5)
    chosen = probabilities.log().gather(-1, torch.tensor(COMPLETIONS[1])[:, None])[:, 0].numpy()
    np.testing.assert_allclose(batch.token_logps[1], chosen, atol=1e-5)
    assert batch.behaviour_logp[1] == pytest.approx(chosen.sum(), abs=1e-4)


def test_truncation_and_empty_completions() -> None:
    model = prepared("llama")
    scores = score(
        model,
        [[5, 6], [5, 6]],
        [[], [20, EOS]],
        eos_ids=[EOS],
        max_completion_length=4,
        answer_ids=[[14], None],
    )
    assert scores.truncated.tolist() == [True, False]
    assert len(scores.token_logps[0]) == 0
    with torch.no_grad():
        last_prompt = backbone(model)(torch.tensor([[5, 6]])).last_hidden_state[0, -1].numpy()
    np.testing.assert_allclose(scores.hidden[0], last_prompt, atol=1e-5)
    np.testing.assert_allclose(scores.answer_logps[0], plain_logps(model, [5, 6, 14], 2), atol=1e-5)


def test_an_answer_is_cut_at_the_models_context() -> None:
    model = prepared("gpt2")  # 128 positions
    scores = score(
        model, [[5] * 120], [[6] * 6], eos_ids=[EOS], max_completion_length=6, answer_ids=[[7] * 9]
    )
    assert scores.answer_logps is not None and len(scores.answer_logps[0]) == 2


def test_small_batches_change_nothing_and_the_mode_is_given_back() -> None:
    model = prepared("llama").train()
    whole = scored(model, answer_ids=ANSWERS)
    split = scored(model, answer_ids=ANSWERS, batch_size=1)
    np.testing.assert_allclose(whole.hidden, split.hidden, atol=1e-5)
    assert model.training


def test_a_row_without_tokens_is_refused() -> None:
    with pytest.raises(ValueError, match="neither prompt nor completion"):
        score(prepared("llama"), [[]], [[]], eos_ids=[EOS], max_completion_length=4)


def test_scoring_leaves_parameters_and_gradients_alone() -> None:
    model = prepared("llama")
    before = copy.deepcopy(model.state_dict())
    scored(model, answer_ids=ANSWERS)
    assert all(p.grad is None for p in model.parameters())
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
