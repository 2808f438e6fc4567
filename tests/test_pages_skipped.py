"""What Gradio is spared when an event skips outputs, and that the browser is sent the same."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from itertools import product

import pytest
from gradio.state_holder import SessionState

from workbench.pages.app import build_app
from workbench.pages.quick_gradio import gr
from workbench.pages.skipped import SkippingBlocks


def finish(coroutine):
    """Its result; in a thread of its own, as a browser test may have left a loop in this one."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, coroutine).result()


def _three(kind):
    """An event with an output of markup, a timer and a state, in blocks of a kind."""
    with kind(analytics_enabled=False) as blocks:
        outputs = [gr.HTML("before"), gr.Timer(2.0), gr.State(0)]
        gr.Button().click(lambda: None, outputs=outputs)
    return blocks, next(iter(blocks.fns.values()))


def _answers(kind, rounds):
    blocks, event = _three(kind)
    state = SessionState(blocks)
    return [finish(blocks.postprocess_data(event, list(r), state)) for r in rounds], state


def _without_props(value):
    if isinstance(value, dict) and value.get("props") == gr.skip():
        return {k: v for k, v in value.items() if k != "props"}
    return value


def test_the_browser_is_sent_what_gradio_itself_would_send():
    """Every choice of outputs that are skipped, one after the other.

    Of markup that is skipped Gradio says besides that none of its props changed.
    """
    values = ("<p>now</p>", gr.Timer(5.0, active=False), 7)
    rounds = [
        [value if given else gr.skip() for value, given in zip(values, choice, strict=True)]
        for choice in product([True, False], repeat=3)
    ]
    ours, state = _answers(SkippingBlocks, rounds)
    theirs, _ = _answers(gr.Blocks, rounds)
    assert ours[0] == ["<p>now</p>", {"value": 5.0, "active": False, "__type__": "update"}, None]
    assert ours == [[_without_props(value) for value in answer] for answer in theirs]
    assert list(state.state_data.values()) == [7]


def test_one_skip_for_all_and_a_dict_of_outputs_are_gradios_own():
    blocks, event = _three(SkippingBlocks)
    state = SessionState(blocks)
    answer = finish(blocks.postprocess_data(event, gr.skip(), state))
    assert [_without_props(value) for value in answer[:2]] == [{"__type__": "update"}] * 2
    named = {event.outputs[0]: "<p>now</p>"}
    assert finish(blocks.postprocess_data(event, named, state))[0] == "<p>now</p>"


def test_a_wrong_number_of_values_is_refused_as_by_gradio():
    blocks, event = _three(SkippingBlocks)
    with pytest.raises(ValueError, match="didn't return enough output values"):
        finish(blocks.postprocess_data(event, [gr.skip()] * 2, None))


def test_a_tab_that_is_watched_for_long_keeps_nothing_of_it(tmp_path):
    """In turns a value and nothing, as a live page does: Gradio alone keeps one for every turn."""
    blocks = build_app(tmp_path / "runs")
    tick = next(f for f in blocks.fns.values() if any(t[1] == "tick" for t in f.targets))
    state = SessionState(blocks)

    def turn(markup):
        values = [{}, gr.Timer(2.0, active=True), *[gr.skip()] * (len(tick.outputs) - 2)]
        values[2] = markup
        finish(blocks.postprocess_data(tick, values, state))
        return len(state.blocks_config.blocks), len(state.config_values)

    first = turn("<p>0</p>")
    for i in range(20):
        turn(gr.skip())
        assert turn(f"<p>{i}</p>") == first
