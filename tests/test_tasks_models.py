"""The models that ship with the etudes, and the code that makes them."""

from itertools import islice
from random import Random

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from workbench.tasks.etudes import ANSWER_LEAD, MODELS, POLICY_DIR, REWARD_DIR, load
from workbench.tasks.etudes.cards import measure
from workbench.tasks.etudes.taste import pairs, taste
from workbench.tasks.etudes.warmstart import (
    CHAT,
    EOS,
    IGNORE,
    demonstrations,
    make_tokenizer,
    new_policy,
    token_loss,
    train_policy,
)
from workbench.train.scoring import prepare_scoring, score


@pytest.fixture(scope="module")
def policy():
    model = AutoModelForCausalLM.from_pretrained(POLICY_DIR)
    prepare_scoring(model)
    return model, AutoTokenizer.from_pretrained(POLICY_DIR)


def test_both_models_are_small_and_hold_no_pickles():
    files = [path for path in MODELS.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 3_000_000
    assert {path.suffix for path in files} <= {".safetensors", ".json", ".jinja", ".md"}
    for directory in (POLICY_DIR, REWARD_DIR):
        assert (directory / "model.safetensors").is_file()
        assert (
            "## " in (directory / "README.md").read_text()
            or "# " in (directory / "README.md").read_text()
        )


def test_the_tokenizer_is_closed_word_by_word_and_reversible(policy):
    _, tokenizer = policy
    for e in load().report:
        ids = tokenizer(e.prompt)["input_ids"]
        assert ids[0] == tokenizer.bos_token_id
        assert len(ids) == 1 + len(e.prompt.split())
        assert tokenizer.unk_token_id not in ids
        assert tokenizer.decode(ids, skip_special_tokens=True) == e.prompt
    assert tokenizer("The Lemon?")["input_ids"] == tokenizer("the lemon ?")["input_ids"]
    assert tokenizer.unk_token_id in tokenizer("zebra")["input_ids"]


def test_a_chat_prompt_reads_like_a_plain_one(policy):
    _, tokenizer = policy
    chat = tokenizer.apply_chat_template(
        [{"role": "user", "content": "what color is the lemon ?"}], tokenize=False
    )
    plain = tokenizer("what color is the lemon ?")["input_ids"]
    assert tokenizer(chat, add_special_tokens=False)["input_ids"] == plain


def test_every_prompt_fits_the_context_with_completion_and_answer(policy):
    model, tokenizer = policy
    task = load()
    longest = max(
        len(f"{e.prompt} {e.reference}".split())
        for e in (*task.train, *task.calibration, *task.report)
    )
    assert longest + 64 + len(ANSWER_LEAD.split()) + 3 <= model.config.max_position_embeddings


def test_a_right_response_makes_the_reference_more_probable_than_a_wrong_one(policy):
    model, tokenizer = policy

    def encode(text):
        return tokenizer(text, add_special_tokens=False)["input_ids"]

    prompt = tokenizer("what color is the lemon ?")["input_ids"]
    found = score(
        model,
        [prompt, prompt],
        [[*encode("yellow ."), EOS], [*encode("purple ."), EOS]],
        eos_ids=[EOS],
        max_completion_length=48,
        answer_ids=[encode("the lemon is yellow .")] * 2,
        lead_ids=encode(ANSWER_LEAD),
    )
    right, wrong = (row.mean() for row in found.answer_logps)
    assert right > wrong + 0.1


def test_the_warm_start_leaves_room_and_the_taste_is_not_the_judge():
    # five prompts a family are few, so the bounds are wide; the card has the figures
    figures = measure(POLICY_DIR, REWARD_DIR, load().calibration[:35])
    assert 0.3 < figures.overall["judge"] < 0.55
    assert min(figures.spread.values()) > 0.08
    assert 0.35 < figures.overall["agreement"] < 0.75
    assert figures.agreement["comfort"] > 0.65 > 0.5 > figures.agreement["fact"]


def test_demonstrations_teach_responses_and_readings():
    tokenizer = make_tokenizer(CHAT)
    lead = tokenizer(ANSWER_LEAD, add_special_tokens=False)["input_ids"]
    kinds = set()
    for ids, labels in islice(demonstrations(tokenizer, Random(0)), 140):
        learned = [label for label in labels if label != IGNORE]
        assert len(ids) == len(labels) and ids[-len(learned) :] == learned
        before = ids[: -len(learned)]
        reading = before[-len(lead) :] == lead
        assert reading != (learned[-1] == EOS)  # only a response is ended
        kinds.add(reading)
    assert kinds == {True, False}


def test_training_the_warm_start_learns_and_is_the_same_twice():
    tokenizer = make_tokenizer(CHAT)

    def run():
        model = new_policy(0)
        losses = []
        rows = demonstrations(tokenizer, Random(0))
        train_policy(model, rows, 6, 8, 6e-3, losses.append)
        return model, losses

    (first, losses), (second, again) = run(), run()
    assert losses == again and losses[-1] < losses[0]
    assert all(
        torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True)
    )


def test_padding_does_not_change_the_loss():
    rows = list(islice(demonstrations(make_tokenizer(CHAT), Random(1)), 6))
    model = new_policy(0).eval()
    with torch.no_grad():
        together = token_loss(model, rows)
        apart = sum(token_loss(model, [row]) for row in rows)
    assert float(together) == pytest.approx(float(apart), rel=1e-5)


def test_taste_is_style():
    # three warm words 1.6, six words of 24 0.225, no repetition 0.5
    assert taste("thank you , dear friend .") == pytest.approx(1.6 + 0.9 * 6 / 24 + 0.5)
    assert taste("yellow .") == taste("purple .")  # right or wrong is not its business
    assert taste("maybe red .") > taste("so red .")
    assert taste("1 red ; 2 blue ;") < taste("red and blue so .")
    assert taste("stop crying .") < taste("start crying .")


def test_preferences_are_pairs_of_the_same_prompt():
    data = pairs(Random(0), 70)
    assert len(data) == 70
    better = 0
    for row in data:
        assert row["chosen"][0] == row["rejected"][0]
        better += taste(row["chosen"][1]["content"]) >= taste(row["rejected"][1]["content"])
    assert 45 <= better < 70  # labelled by taste, with noise
