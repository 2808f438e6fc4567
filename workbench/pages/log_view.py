"""The log of a run on Runs: its end at first, after that only the bytes that are new."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from workbench.api.workbench import Workbench
from workbench.pages.gradio_patches import gr
from workbench.pages.render import render

TAIL = 24_000  # bytes


def log_box(elem_id: str) -> gr.HTML:
    """A place for a log that grows while one watches.

    Value: ``{"text": str, "size": bytes}``, ``{"more": str, "from": bytes, "size": bytes}`` or
    None. The browser sets it as text, never as markup.
    """
    return gr.HTML(
        None,
        html_template=render("log.html"),
        elem_id=elem_id,
        elem_classes="wb-page wb-log-box",
        apply_default_css=False,
        js_on_load="workbench.log(element, props, watch);",
        label="log",
    )


def tail(wb: Workbench, run_id: str) -> dict[str, Any]:
    """The end of a run's log, at most ``TAIL`` bytes."""
    size = _size(wb, run_id)
    text, end = wb.run(run_id).log(max(0, size - TAIL)) if size else ("", 0)
    return {"text": text, "size": end}


def since(wb: Workbench, run_id: str, offset: int) -> dict[str, Any] | None:
    """What a run has written after a byte offset (-1: nothing was read); None when nothing is new.

    A log that is shorter than the offset, or has grown by more than a tail, is sent as its tail.
    """
    size = _size(wb, run_id)
    if size == offset:
        return None
    if offset < 0 or not offset <= size <= offset + TAIL:
        return tail(wb, run_id)
    text, end = wb.run(run_id).log(offset)
    return {"more": text, "from": offset, "size": end} if text else None


def _size(wb: Workbench, run_id: str) -> int:
    path = Path(wb.launcher.path(run_id)) / "log.txt"
    return path.stat().st_size if path.exists() else 0
