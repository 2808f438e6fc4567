import math

import pytest
import torch
from tiny_models import save_tiny_reward, tiny_tokenizer
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    LlamaConfig,
    LlamaForSequenceClassification,
)

from workbench.config import ObjectiveConfig
from workbench.objectives import OBJECTIVES, resolve
from workbench.objectives.preference import load_scorer, make_preference, render
from workbench.tasks.etudes import POLICY_DIR, REWARD_DIR

ASK = "i am sad because i lost my key ."
WARM = "i am so sorry you are sad . i am here for you , dear friend ."
COLD = "stop crying ."


def score(function, prompts, completions):
    return function(prompts, completions, [[1]] * len(prompts))


@pytest.fixture(scope="module")
def prefer():
    return OBJECTIVES["preference"].function


def test_warmth_is_preferred_and_values_are_probabilities(prefer):
    warm, cold = score(prefer, [ASK, ASK], [WARM, COLD])
    assert 0 < cold < 0.5 < warm < 1


def test_a_row_scores_the_same_alone_and_in_a_batch(prefer):
    prompts, texts = [ASK, "what color is the lemon ?"], [WARM, "yellow ."]
    together = score(prefer, prompts, texts)
    apart = [score(prefer, [p], [t])[0] for p, t in zip(prompts, texts, strict=True)]
    assert together == pytest.approx(apart, abs=1e-6)
    small = score(make_preference(REWARD_DIR, batch_size=1), prompts, texts)
    assert small == pytest.approx(apart, abs=1e-6)


def test_text_and_chat_messages_score_the_same(prefer):
    chat = [[{"role": "user", "content": ASK}]], [[{"role": "assistant", "content": WARM}]]
    assert score(prefer, *chat) == pytest.approx(score(prefer, [ASK], [WARM]))


def test_the_reward_models_own_template_is_used_and_plain_text_without_one():
    tokenizer = AutoTokenizer.from_pretrained(REWARD_DIR)
    assert render(tokenizer, ASK, COLD) == f"<bos> {ASK} {COLD} <eos>"
    tokenizer.chat_template = None
    assert render(tokenizer, ASK, COLD) == f"{ASK} {COLD}"
    assert render(tokenizer, [{"role": "user", "content": ASK}], COLD) == f"{ASK} {COLD}"


def classifier(directory, labels):
    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(POLICY_DIR)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=8,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_labels=labels,
        pad_token_id=tokenizer.pad_token_id,
    )
    LlamaForSequenceClassification(config).save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return str(directory)


def test_any_classifier_plugs_in_by_its_directory(tmp_path):
    model = classifier(tmp_path, labels=1)
    raw = load_scorer(model, 64, "cpu")([(ASK, COLD)])[0]
    found = resolve(ObjectiveConfig(name="preference", model=model, params={"scale": 0.01}))
    (value,) = score(found.function, [ASK], [COLD])
    assert value == pytest.approx(1 / (1 + math.exp(-raw / 0.01)))


def test_of_two_outputs_the_difference_counts(tmp_path):
    model = classifier(tmp_path, labels=2)
    tokenizer = AutoTokenizer.from_pretrained(model)
    network = LlamaForSequenceClassification.from_pretrained(model).eval()
    text = render(tokenizer, ASK, COLD)
    with torch.no_grad():
        rejected, preferred = network(
            **tokenizer(text, return_tensors="pt", add_special_tokens=False)
        ).logits[0]
    assert load_scorer(model, 64, "cpu")([(ASK, COLD)]) == [
        pytest.approx(float(preferred - rejected), abs=1e-6)
    ]


def test_other_outputs_are_refused(tmp_path):
    model = classifier(tmp_path, labels=3)
    with pytest.raises(ValueError, match="has 3 outputs; 1 .* or 2"):
        score(make_preference(model), [ASK], [COLD])


def test_several_reward_models_each_with_its_own_template(tmp_path):
    chat, plain = tmp_path / "chat", tmp_path / "plain"
    save_tiny_reward(chat, "qwen3", chat=True)
    save_tiny_reward(plain, "gpt2", seed=1)
    prompt, text = [{"role": "user", "content": "w5 w6"}], [{"role": "assistant", "content": "w7"}]
    tokenizer = AutoTokenizer.from_pretrained(chat)
    assert render(tokenizer, prompt, text) == "w0 w5 w6 <eos> w0 w7 <eos> "
    assert render(AutoTokenizer.from_pretrained(plain), prompt, text) == "w5 w6 w7"
    for directory in (chat, plain):
        objective = resolve(ObjectiveConfig(name=directory.name, model=str(directory)))
        assert (objective.name, objective.lower, objective.upper) == (directory.name, 0.0, 1.0)
        (value,) = score(objective.function, [prompt], [text])
        raw = load_scorer(str(directory), 64, None)([(prompt, text)])[0]
        assert value == pytest.approx(1 / (1 + math.exp(-raw)))
    # a row among longer ones scores as it does alone, whichever side its tokenizer pads
    rows = [(prompt, text), ("w5 w6 w7 w8 w9", "w10 w11 w12")]
    for directory in (chat, plain):
        scorer = load_scorer(str(directory), 64, None)
        assert scorer(rows)[0] == pytest.approx(scorer(rows[:1])[0], abs=1e-5)


def test_a_model_that_is_not_there_says_what_to_do(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(OSError, match="'nobody/nothing' cannot be loaded.*hf download nobody/noth"):
        load_scorer("nobody/nothing", 8, "cpu")


@pytest.mark.parametrize("own_pad", [False, True])
def test_the_state_is_read_at_the_last_real_token(tmp_path, own_pad):
    # without a pad token the end token would be taken for padding, and with another one in the
    # configuration than in the tokenizer the padding for text
    path = save_tiny_reward(tmp_path, "llama", chat=True)
    model = AutoModelForSequenceClassification.from_pretrained(path)
    model.config.pad_token_id = 2 if own_pad else None
    model.save_pretrained(path)
    tokenizer = tiny_tokenizer(chat=True)
    tokenizer.pad_token = "<pad>" if own_pad else None
    tokenizer.save_pretrained(path)
    pairs = [("w3 w4", text) for text in ("w5", "w5 w6 w7 w8 w9")]
    expected = []
    for prompt, text in pairs:
        ids = tokenizer(f"w0 {prompt} <eos> w0 {text} <eos>", return_tensors="pt")["input_ids"]
        states = model.model(input_ids=ids).last_hidden_state
        expected.append(float(model.score(states[0, -1]).detach()))
    together = load_scorer(str(path), 64, "cpu")(pairs)
    alone = [load_scorer(str(path), 64, "cpu")([pair])[0] for pair in pairs]
    assert together == pytest.approx(expected, abs=1e-6)
    assert alone == pytest.approx(expected, abs=1e-6)


def test_what_does_not_fit_is_the_beginning_of_the_prompt(tmp_path, capsys):
    path = save_tiny_reward(tmp_path, "llama")
    tokenizer = tiny_tokenizer()
    tokenizer.model_max_length = 6
    tokenizer.save_pretrained(path)
    score = load_scorer(str(path), 8, "cpu")
    long = " ".join(f"w{i}" for i in range(20))
    one, other, same = score([(long, "w5 w6"), (long, "w7 w8"), ("w9 " + long, "w5 w6")])
    assert one == pytest.approx(same, abs=1e-6) and abs(one - other) > 1e-3
    assert "reads 6 tokens" in capsys.readouterr().out
