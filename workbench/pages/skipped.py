"""Outputs that an event skips cost nothing and leave nothing behind.

Gradio answers a skipped output by building the component anew under a new id. The next value for
that output then goes into the session's table under the new id, where it stays, so a page that is
watched live, with most of its outputs skipped most of the time, keeps some of its values for good:
5 kB a step of a run, for every tab.
"""

from __future__ import annotations

from copy import copy
from typing import Any

from workbench.pages.quick_gradio import gr

SESSIONS = 200
"""Tabs whose state is kept; Gradio keeps 10,000, of closed tabs too. One that was let go and comes
back is shown as if it had just been opened."""


class SkippingBlocks(gr.Blocks):
    """Blocks that hand Gradio only those outputs of an event that have a value."""

    async def postprocess_data(self, block_fn: Any, predictions: Any, state: Any) -> list[Any]:
        """What the browser is sent for each output; a skipped one is an update of nothing."""
        if not isinstance(predictions, (list, tuple)) or len(block_fn.outputs) < 2:
            return await super().postprocess_data(block_fn, predictions, state)
        self.validate_outputs(block_fn, list(predictions))
        given = [i for i, value in enumerate(predictions) if not _skipped(value)]
        answer = [None if block.stateful else gr.skip() for block in block_fn.outputs]
        if not given:
            return answer
        fewer = copy(block_fn)
        fewer.outputs = [block_fn.outputs[i] for i in given]
        values: Any = [predictions[i] for i in given]
        if len(given) == 1:
            (values,) = values
        sent = await super().postprocess_data(fewer, values, state)
        for i, value in zip(given, sent, strict=True):
            answer[i] = value
        return answer


def _skipped(value: Any) -> bool:
    return isinstance(value, dict) and value == gr.skip()
