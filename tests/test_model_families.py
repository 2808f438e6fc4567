"""Every family of causal models: the terminal hidden state, heads, answers, LoRA, foreign code."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_models import FAMILIES, save_tiny, tiny_model, tiny_tokenizer

from workbench.config import LoraConfig, PolicyConfig
from workbench.train import build
from workbench.train.reference import Reference
from workbench.train.scoring import backbone, prepare_scoring, score

EOS = 2
PROMPTS = [[5, 6, 7], [8], [9, 10, 11, 12, 13, 14, 15], [5, 6]]
COMPLETIONS = [[20, 21, EOS], [22, 23, 24, 25], [EOS], [30]]
ANSWERS = [[14, 15], None, [16], [17, 18, 19]]
TIED = [(f, t) for f in FAMILIES for t in (True, False)]


def scored(model, **kwargs):
    return score(model, PROMPTS, COMPLETIONS, eos_ids=[EOS], max_completion_length=4, **kwargs)


def alone(model, tokens):
    """(D,) last layer after the final norm at the last of ``tokens``: an unpadded row."""
    with torch.no_grad():
        return backbone(model)(torch.tensor([tokens])).last_hidden_state[0, -1].numpy()


def left_padded(model, rows):
    """(n, D) the same of a batch that is padded on the left, as generation pads it."""
    length = max(len(row) for row in rows)
    ids = torch.tensor([[0] * (length - len(row)) + row for row in rows])
    mask = torch.tensor([[0] * (length - len(row)) + [1] * len(row) for row in rows])
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    with torch.no_grad():
        output = backbone(model)(ids, attention_mask=mask, position_ids=positions)
    return output.last_hidden_state[:, -1].numpy()


def plain_logps(model, tokens, start):
    """log p(token t | tokens before t) for t >= start, from one unpadded row."""
    with torch.no_grad():
        logits = model(torch.tensor([tokens])).logits[0].double()
    picked = logits.log_softmax(-1)[:-1].gather(-1, torch.tensor(tokens)[1:, None])[:, 0]
    return picked[start - 1 :].numpy()


@pytest.mark.parametrize(("family", "tied"), TIED)
def test_the_terminal_state_is_the_same_alone_and_in_either_padding(family, tied):
    model = tiny_model(family, tie_word_embeddings=tied)
    head, embedding = model.get_output_embeddings().weight, model.get_input_embeddings().weight
    assert (head is embedding) == tied
    prepare_scoring(model)
    rows = [p + c for p, c in zip(PROMPTS, COMPLETIONS, strict=True)]
    expected = np.stack([alone(model, row) for row in rows])
    assert expected.shape == (4, model.config.get_text_config().hidden_size)
    np.testing.assert_allclose(scored(model).hidden, expected, atol=1e-5)
    np.testing.assert_allclose(left_padded(model, rows), expected, atol=1e-5)
    # it is what the head reads: logits follow from it
    scores = scored(model, answer_ids=ANSWERS)
    for i, row in enumerate(rows):
        logps = plain_logps(model, row, len(PROMPTS[i]))
        np.testing.assert_allclose(scores.token_logps[i], logps, atol=1e-5)
    for i in (0, 2, 3):
        text = PROMPTS[i] + [t for t in COMPLETIONS[i] if t != EOS]
        logps = plain_logps(model, text + ANSWERS[i], len(text))
        np.testing.assert_allclose(scores.answer_logps[i], logps, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_an_adapter_trains_and_the_base_below_it_is_the_reference(family, tmp_path):
    """A LoRA policy starts as its base; moved away from it, the reference has not moved."""
    policy = PolicyConfig(model=str(save_tiny(tmp_path, family)), lora=LoraConfig(r=2))
    base = build.load_base(policy)
    prepare_scoring(base)
    before = scored(base)
    model = build.load_policy(policy)
    prepare_scoring(model)
    trained = [p for p in model.parameters() if p.requires_grad]
    assert 0 < sum(p.numel() for p in trained) < sum(p.numel() for p in base.parameters())
    np.testing.assert_allclose(scored(model).hidden, before.hidden, atol=1e-6)
    with torch.no_grad():
        for parameter in trained:
            parameter.add_(0.3)
    assert np.abs(scored(model).hidden - before.hidden).max() > 1e-3
    reference = Reference(model, None).token_logps(PROMPTS, COMPLETIONS)
    for ours, theirs in zip(reference, before.token_logps, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_bfloat16_states_are_those_of_float32_to_three_digits():
    model = tiny_model("qwen3")
    prepare_scoring(model)
    expected = scored(model).hidden
    found = scored(model.to(torch.bfloat16)).hidden
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=0.1)
    assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] > 0.999


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    """A model directory that brings code, which leaves a file behind when it is run."""
    model = save_tiny(tmp_path / "foreign")
    config = json.loads((model / "config.json").read_text())
    config |= {"model_type": "foreign", "auto_map": {"AutoConfig": "foreign_code.Foreign"}}
    (model / "config.json").write_text(json.dumps(config))
    (model / "foreign_code.py").write_text(
        "from pathlib import Path\n"
        "from transformers import LlamaConfig\n"
        f"Path({str(tmp_path / 'was-run')!r}).touch()\n"
        "class Foreign(LlamaConfig):\n"
        "    model_type = 'foreign'\n"
    )
    return model


def test_code_of_a_model_is_not_run_unless_the_setting_says_so(foreign, tmp_path):
    mark = tmp_path / "was-run"
    assert PolicyConfig().trust_remote_code is False
    with pytest.raises(ValueError, match=r"policy\.trust_remote_code"):
        build.load_policy(PolicyConfig(model=str(foreign)))
    assert not mark.exists()
    with pytest.raises(ValueError, match="Foreign"):  # the code says how it is set up, no more
        build.load_policy(PolicyConfig(model=str(foreign), trust_remote_code=True))
    assert mark.exists()


def test_a_reward_models_code_is_never_run(foreign, tmp_path):
    from workbench.objectives.preference import load_scorer

    with pytest.raises(ValueError, match="trust_remote_code"):
        load_scorer(str(foreign), 8, "cpu")
    assert not (tmp_path / "was-run").exists()


def test_a_tokenizer_without_a_pad_token_pads_with_its_end(tmp_path):
    path = save_tiny(tmp_path / "m", "gpt2")
    tokenizer = tiny_tokenizer()
    tokenizer.pad_token = None
    tokenizer.save_pretrained(path)
    loaded = build.load_tokenizer(PolicyConfig(model=str(path)))
    assert loaded.pad_token_id == EOS and loaded.padding_side == "left"
