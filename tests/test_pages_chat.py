"""Chat text on the pages: taken apart, folded, merged, and sent whole only when it is opened."""

import numpy as np
import pytest
from chat_world import HUGE, SIZE, SYSTEM, batch, make_chats, rendered

from workbench.analysis.completions import HEAD
from workbench.analysis.completions import texts as texts_of
from workbench.api.workbench import Workbench
from workbench.pages import chat_text, inspect
from workbench.pages.chat_text import Message, last_user, messages, plain, thought_and_answer
from workbench.pages.gradio_patches import gr
from workbench.pages.live_cache import forget
from workbench.pages.router import EVERYTHING
from workbench.store.state import write_state
from workbench.store.writer import RunWriter

LLAMA3 = (
    "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|>"
    "<|start_header_id|>user<|end_header_id|>\n\nhi<|eot_id|>"
    "<|start_header_id|>assistant<|end_header_id|>\n\n"
)
TEMPLATES = {
    "chatml": "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nhi<|im_end|>\n"
    "<|im_start|>assistant\n",
    "llama 3": LLAMA3,
    "llama 2": "<s>[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\nhi [/INST]",
    "phi": "<|system|>\nBe brief.<|end|>\n<|user|>\nhi<|end|>\n<|assistant|>\n",
    "deepseek": "<｜begin▁of▁sentence｜>Be brief.<｜User｜>hi<｜Assistant｜>",
    "harmony": "<|start|>system<|message|>Be brief.<|end|><|start|>user<|message|>hi<|end|>"
    "<|start|>assistant",
    "command": "<BOS_TOKEN><|START_OF_TURN_TOKEN|><|SYSTEM_TOKEN|>Be brief.<|END_OF_TURN_TOKEN|>"
    "<|START_OF_TURN_TOKEN|><|USER_TOKEN|>hi<|END_OF_TURN_TOKEN|>"
    "<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>",
    "json": '[{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hi"}]',
}


@pytest.mark.parametrize("prompt", TEMPLATES.values(), ids=TEMPLATES)
def test_a_rendered_prompt_is_taken_apart(prompt):
    assert messages(prompt) == [Message("system", "Be brief."), Message("user", "hi")]


def test_a_chat_of_several_turns_ends_with_what_was_asked_last():
    gemma = (
        "<bos><start_of_turn>user\nhi<end_of_turn>\n<start_of_turn>model\nhello<end_of_turn>\n"
        "<start_of_turn>user\nwho are you?<end_of_turn>\n<start_of_turn>model\n"
    )
    assert [(m.role, m.text) for m in messages(gemma)] == [
        ("user", "hi"), ("assistant", "hello"), ("user", "who are you?")
    ]  # fmt: skip
    assert last_user(gemma) == "who are you?"


@pytest.mark.parametrize(
    "text", ["what color is the snow ?", "a < b and b > c", "[1, 2]", "<b>x</b>"]
)
def test_text_without_a_template_stays_as_it_is(text):
    assert messages(text) == [Message("", text)]
    assert plain(text) == text


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("<think>\na\n</think>\n\nb<|im_end|>", ("a", "b")),
        ("a</think>b", ("a", "b")),  # the template opened the thought
        ("<think>a", ("a", "")),
        ("b</s>", ("", "b")),
    ],
)
def test_thought_and_answer(text, parts):
    assert thought_and_answer(text) == parts


@pytest.fixture(scope="module")
def wb(tmp_path_factory) -> Workbench:
    return Workbench(make_chats(tmp_path_factory.mktemp("chats") / "runs", runs=1, steps=3))


def shown(wb: Workbench, **view: str) -> tuple[list, dict]:
    view = {"tab": "inspect", "run": "chat-0", **view}
    return inspect.show(wb, view, EVERYTHING), view


def test_what_was_asked_leads_and_the_template_is_folded(wb):
    values, _ = shown(wb)
    listed, group = str(values[2]), str(values[3])
    asked = "How do I renew a loan when the website says that my card has expired?"
    assert asked in listed and "im_start" not in listed and SYSTEM[:40] not in listed
    assert group.index("wb-chat") < group.index(SYSTEM[:40]), "inside the fold"
    assert group.count(SYSTEM[:40]) == 1 and "im_start" not in group
    assert "im_start" in str(shown(wb, special="1")[0][3])


def test_the_same_text_stands_once_with_its_count_and_its_range(wb):
    view = {"prompt": "c1", "step": "2"}
    merged, apart = (str(shown(wb, **view, **more)[0][3]) for more in ({}, {"each": "1"}))
    assert merged.count("data-advantage") == 2 and "7×" in merged
    assert apart.count("data-advantage") == SIZE
    rows = wb.rollouts("chat-0", split="train", step=2, prompt_id="c1")
    same = rows["advantage"].to_numpy()[: SIZE - 1]
    assert f'data-advantage="{same.mean():.9g}"' in merged


def test_the_verdict_stands_above_the_table(wb):
    group = str(shown(wb, prompt="c1", step="2")[0][3])
    assert group.index('role="note"') < group.index("wb-group")


def test_a_group_of_half_a_million_tokens_is_opened_with_its_beginnings(wb):
    """16 completions of 32,000 tokens: at most 200 kB travel, and the rest on demand."""
    values, view = shown(wb, prompt="c0", step="3")
    sizes = [len(str(v).encode()) for v in values if v is not None]
    assert sum(sizes) <= 200_000
    stored = wb.rollouts("chat-0", step=3)["completion"].iloc[1]
    assert len(stored) == HUGE
    whole = inspect.long_text(wb, view, {"of": "1:answer"})
    assert len(whole) > 0.9 * HUGE and str(stored)[:300].split("\n")[0] in stored
    with pytest.raises(LookupError, match="no completion 99"):
        inspect.long_text(wb, view, {"of": "99:answer"})


def test_a_search_marks_its_hits_and_shows_the_first_of_a_long_text(wb):
    values, _ = shown(wb, prompt="c0", step="2", q="RENEW")
    assert "<mark>renew</mark>" in str(values[2]) and "<mark>renew" in str(values[3])
    rows = wb.rollouts("chat-0", split="train", step=2, prompt_id="c0")
    last = next(t for t in rows["completion"] if len(t) > HEAD + 400)
    words = " ".join(chat_text.thought_and_answer(last)[1][-90:-10].split()[1:5])
    texts = texts_of(wb.store, wb.resolve("chat-0"), rows, words)
    hit = texts[texts["start"] > 0].iloc[0]
    assert words.lower() in hit["head"].lower()


def test_the_list_shows_the_value_that_it_is_sorted_by(wb):
    listed = str(shown(wb, sort="spread")[0][2])
    assert listed.count("spread 0.") == 16


def test_the_split_of_the_list_stays_while_another_split_is_shown(wb):
    """Asked for probes while a training group is open: the list keeps probes, the group stays."""
    values, view = shown(wb, split="probe", prompt="c1", step="2", gsplit="train")
    assert (view["split"], view["gsplit"]) == ("probe", "train")
    assert "selected>split: probe" in str(values[1])
    assert "step 2 · train" in str(values[3])
    _, view = shown(wb, split="probe")
    assert (view["split"], view["gsplit"]) == ("probe", "probe")


def test_prompts_of_a_template_are_no_role_of_their_own():
    assert messages(rendered("x"))[0].role == "system"
    assert np.all([m.text for m in messages(rendered("x"))])


def test_a_run_that_trains_is_followed_and_one_that_stands_is_left_alone(wb, tmp_path):
    own = Workbench(make_chats(tmp_path / "runs", runs=1, steps=2, huge=False))
    run_dir = own.launcher.path("chat-0")
    view = {"tab": "inspect", "run": "chat-0"}
    inspect.show(own, view, EVERYTHING)
    assert inspect.pace(own, view) == 0.0, "nothing is to come from a finished run"
    memory: dict = {}
    looks = [inspect.live(own, view, memory) for _ in range(2)]
    assert all(value == gr.skip() for look in looks for value in look)
    with RunWriter(run_dir) as writer:
        writer.rollouts(batch(np.random.default_rng(0), 2, "train", 0))
    write_state(run_dir, status="finished", step=3)
    forget(own)
    values = inspect.live(own, view, memory)
    assert "step 2" in values[2] and view["step"] == "1", "the list grows, the choice stays"
    assert values[3] == gr.skip(), "the group that is read is not drawn anew"
