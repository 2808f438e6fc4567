"""What a model would see of a task: the same text and ids that training makes, counted."""

import json

import pytest
from tiny_models import tiny_tokenizer

from workbench.config import TaskConfig
from workbench.tasks import load_task
from workbench.tasks.summary import summarise
from workbench.tasks.tokens import read_tokenizer
from workbench.train.text import encode_prompts

CHAT = [{"role": "user", "content": "w5 w6"}]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("tokenizers")
    tiny_tokenizer().save_pretrained(path / "plain")
    tiny_tokenizer(chat=True).save_pretrained(path / "chat")
    return path


@pytest.mark.parametrize("prompt", ["w1 w2 nothing", "", CHAT, [*CHAT, *CHAT]])
def test_prompts_are_encoded_as_training_encodes_them(folder, prompt):
    name = "plain" if isinstance(prompt, str) else "chat"
    reader = read_tokenizer(str(folder / name))
    assert reader.ids(prompt) == encode_prompts(tiny_tokenizer(name == "chat"), [prompt])[0]


def test_the_shown_prompt_has_its_special_tokens(folder):
    assert read_tokenizer(str(folder / "chat")).shown(CHAT) == "w0 w5 w6 <eos> w1 "
    assert read_tokenizer("etudes").shown("name a colour").startswith("<bos>")
    with pytest.raises(ValueError, match="no chat template"):
        read_tokenizer(str(folder / "plain")).shown(CHAT)
    assert read_tokenizer("nobody/nothing") is None


def test_a_summary_counts_tokens_kinds_and_coverage(folder, tmp_path):
    rows = [{"prompt": " ".join(["w1"] * n), "kind": "ab"[n % 2]} for n in range(1, 21)]
    rows += [{"prompt": "quoi w1", "reference": "x"}]
    path = tmp_path / "p.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = load_task(TaskConfig(name="file", path=str(path)))
    found = summarise(task, str(folder / "plain"))
    # lengths in order 1, 2, 2, 3, ..., 20: the 11th is 10, the 20th of 21 is 19
    tokens = found.tokens
    assert (tokens.median, tokens.most_of_them, tokens.longest) == (10, 19, 20)
    assert found.tokens.covered == pytest.approx(1 - 1 / 212)  # 1 + ... + 20 = 210, and 2
    assert sum(found.kinds.values()) == 21 and found.with_reference == 1
    said = "\n".join(found.lines())
    assert "the longest 20; the tokenizer knows 99.5 %" in said
    assert "20 of 21 prompts have no reference" in said
    assert any("no tokenizer.json" in note for note in summarise(task, "nobody/nothing").notes)
