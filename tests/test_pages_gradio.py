"""What is changed in Gradio: that each change does what it should, and that it is still needed.

A test named ``..._still_...`` fails when Gradio no longer needs the change: take it out then.
"""

import asyncio
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import product

import pytest
from gradio.state_holder import SessionState
from starlette.testclient import TestClient

from workbench.pages import gradio_patches
from workbench.pages.app import build_app
from workbench.pages.gradio_patches import FirstScript, SkippingBlocks, gr


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


def test_gradio_alone_still_keeps_a_value_for_every_turn_of_a_skipped_output():
    blocks, event = _three(gr.Blocks)
    state = SessionState(blocks)
    sizes = []
    for i in range(6):
        for value in (gr.skip(), f"<p>{i}</p>"):
            finish(blocks.postprocess_data(event, [value, gr.skip(), gr.skip()], state))
        sizes.append(len(state.config_values))
    assert sizes == sorted(sizes) and sizes[-1] - sizes[0] >= 5


def test_gradio_still_parses_its_components_to_write_stubs():
    """Counted in a process of its own: how often its import asks for the file of a class."""
    code = """
import inspect, sys
asked, getfile = [], inspect.getfile
def count(thing):
    asked.append(sys._getframe(1).f_globals["__name__"])
    return getfile(thing)
inspect.getfile = count
import gradio
print(asked.count("gradio.component_meta"))
"""
    assert int(subprocess.check_output([sys.executable, "-c", code])) > 10


def test_gradio_still_looks_into_an_empty_queue_all_the_time():
    with gr.Blocks(analytics_enabled=False) as blocks:
        pass
    assert blocks._queue.sleep_when_free < gradio_patches.QUEUE_SECONDS / 10
    gradio_patches.calm(blocks)
    assert blocks._queue.sleep_when_free == gradio_patches.QUEUE_SECONDS


def _answering(kind, *parts, **headers):
    named = [(b"content-type", kind), *((k.encode(), v.encode()) for k, v in headers.items())]

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": named})
        for i, part in enumerate(parts):
            more = i + 1 < len(parts)
            await send({"type": "http.response.body", "body": part, "more_body": more})

    return TestClient(FirstScript(app, "1 < 2"))


def test_a_page_gets_its_script_before_all_others():
    """In two parts, as it may come; the length is that of what is sent."""
    page = b"<html><head><script>2</script></head><body>\xc3\xa9 <head></body></html>"
    client = _answering(b"text/html; charset=utf-8", page[:9], page[9:], **{"content-length": "1"})
    answer = client.get("/")
    wanted = page.decode().replace("<head>", "<head><script>1 < 2</script>", 1)
    assert (answer.text, int(answer.headers["content-length"])) == (wanted, len(answer.content))


@pytest.mark.parametrize(
    ("kind", "headers"), [(b"application/json", {}), (b"text/html", {"content-encoding": "x"})]
)
def test_what_is_no_page_or_is_packed_goes_through_as_it_comes(kind, headers):
    assert _answering(kind, b"<he", b"ad>", **headers).get("/").content == b"<head>"
