"""What a page is, and the address that decides what it shows.

The address (`?tab=inspect&run=...&prompt=...`) is the whole state of a browser tab: it is a flat
dict of strings, kept by the browser, sent with every event and answered with a normalised one. So a
reload, a colleague and a restarted app all see the same view, and two tabs never share anything.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from workbench.api.workbench import Workbench
from workbench.pages.gradio_patches import gr
from workbench.pages.render import macro

View = dict[str, str]
MAX_VALUE = 4000


def parse_view(raw: Any) -> View:
    """The address as sent by a browser, with everything that is no short text dropped."""
    if not isinstance(raw, Mapping):
        return {}
    return {
        str(k): str(v)[:MAX_VALUE]
        for k, v in raw.items()
        if isinstance(v, str | int | float) and str(v) != ""
    }


class ActionError(Exception):
    """An action that cannot be done; its text is shown to the person who asked for it."""


@dataclass(frozen=True)
class Page:
    """One page: its widgets and the functions that fill them.

    Attributes:
        name: tab key, e.g. ``inspect``.
        outputs: the widgets that ``show`` fills, in order.
        show: (wb, view, changed keys) -> one value per output; may normalise ``view`` in place.
            ``{"*"}`` stands for every key: nothing is on the page yet.
        actions: name -> (wb, view, arguments) -> message for the person; may change ``view``.
        live: (wb, view, memory) -> one value per output, called while the page is watched;
            ``memory`` is a dict of its own that survives between the calls of one browser tab.
        pace: (wb, view) -> seconds between two calls of ``live``; 0: none now.
        rows: (wb, view) -> the rows behind what is shown, and a name for their file; None where
            there are none to download.
        text: (wb, view, arguments) -> markup of a long text that is sent when it is opened.
    """

    name: str
    outputs: Sequence[gr.components.Component]
    show: Callable[[Workbench, View, frozenset[str]], list[Any]]
    actions: Mapping[str, Callable[[Workbench, View, dict[str, Any]], str]] = field(
        default_factory=dict
    )
    live: Callable[[Workbench, View, dict[str, Any]], list[Any]] | None = None
    pace: Callable[[Workbench, View], float] = lambda wb, view: 0.0
    rows: Callable[[Workbench, View], tuple[pd.DataFrame, str] | None] = lambda wb, view: None
    text: Callable[[Workbench, View, dict[str, Any]], str] | None = None


def html(elem_id: str, label: str = "") -> gr.HTML:
    """A place for markup that Python renders; its text is never a template."""
    return gr.HTML(
        "",
        html_template="${value}",
        elem_id=elem_id,
        elem_classes="wb-page",
        apply_default_css=False,
        js_on_load=None,
        label=label,
    )


def heading(text: str) -> gr.HTML:
    """A heading that never changes."""
    return gr.HTML(macro("title", text), elem_classes="wb-page", apply_default_css=False)


def chart(elem_id: str, label: str) -> gr.HTML:
    """A place for a Plotly figure that follows the page's theme and can grow while one watches.

    Value: ``{"figure": figure.to_plotly_json()}``, ``{"extend": {"traces": {name: {x, y}}}}`` or
    None. A point whose ``customdata`` is a dict changes the address when it is clicked.
    """
    return gr.HTML(
        None,
        html_template=f'<div class="wb-plot" role="img" aria-label="{label}"></div>',
        elem_id=elem_id,
        elem_classes="wb-page",
        apply_default_css=False,
        js_on_load="workbench.chart(element, props, watch);",
        label=label,
    )
