"""A short stay with every fuzz target; ``make fuzz`` stays longer and looks at coverage."""

import pytest
from fuzz_targets import SEEDS, TARGETS
from hypothesis import given, settings
from hypothesis import strategies as st

SLOW = {"segment", "query", "run_files"}  # each input asks the store
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(["name", "steps", "run", "prompt", "status", "pid"])
                      | st.text(max_size=6), inner, max_size=4),
    max_leaves=6,
)  # fmt: skip


@st.composite
def inputs(draw, seeds):
    """Made-up bytes, made-up JSON, or a seed with a stretch of it replaced."""
    import json

    kind = draw(st.integers(0, 3))
    if kind == 0:
        return draw(st.binary(max_size=200))
    if kind == 1:
        head = draw(st.sampled_from([b"", b"\x00", b"\x01", b"\x02"]))
        return head + json.dumps(draw(JSON)).encode()
    seed = draw(st.sampled_from(seeds))
    start = draw(st.integers(0, len(seed)))
    end = draw(st.integers(start, len(seed)))
    return seed[:start] + draw(st.binary(max_size=20)) + seed[end:]


@pytest.mark.parametrize("name", TARGETS)
def test_every_seed_is_an_answer(name):
    for data in SEEDS[name]:
        TARGETS[name](data)


@pytest.mark.parametrize("name", TARGETS)
def test_made_up_input_is_an_answer(name):
    @given(inputs(SEEDS[name]))
    @settings(max_examples=6 if name in SLOW else 30, deadline=None)
    def check(data):
        TARGETS[name](data)

    check()


def test_every_target_has_somewhere_to_start():
    assert set(SEEDS) == set(TARGETS)
