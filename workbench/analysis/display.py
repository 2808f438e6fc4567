"""What runs, a group of completions and a comparison look like in a notebook cell.

Styles are inline and few, so that a cell looks the same in Jupyter, in VS Code and in an export,
light or dark, and still reads where a code host takes styles away. Whatever a model or a person
wrote goes through ``esc``.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from workbench.formatting import duration, esc, num
from workbench.plots.figures import objective_colors

if TYPE_CHECKING:
    from workbench.runs.rundir import RunInfo

LINE = "border-bottom:1px solid rgba(128,128,128,.3);padding:3px 8px"
LEFT, RIGHT = f"text-align:left;{LINE}", f"text-align:right;{LINE}"
TEXT = f"{LEFT};font-family:monospace;white-space:pre-wrap;max-width:30em"
DIM = "opacity:.65"
UP, DOWN = "#0072B2", "#D55E00"
RUN_COLUMNS = ("name", "status", "step", "steps", "eta_seconds", "headline", "scalarizer")


class Shown(pd.DataFrame):
    """A DataFrame with a display of its own; what is cut out of it is an ordinary DataFrame."""

    @property
    def _constructor(self) -> type[pd.DataFrame]:
        return pd.DataFrame


class RunTable(Shown):
    """Runs, one row each, shown with their progress."""

    def _repr_html_(self) -> str:
        return runs_html(self)


class Prose(Shown):
    """A table of sentences, shown whole instead of cut off after fifty letters."""

    def _repr_html_(self) -> str:
        return prose_html(self)


class Group(Shown):
    """The completions of one prompt at one step, shown with weights, rewards and advantage."""

    def _repr_html_(self) -> str:
        return group_html(self)


def in_notebook() -> bool:
    """Whether this code runs in a cell of a notebook (a terminal's IPython is none)."""
    if "IPython" not in sys.modules:
        return False
    from IPython import get_ipython

    shell = get_ipython()
    return shell is not None and bool(shell.has_trait("kernel"))


def html_table(head: Sequence[tuple[str, str]], lines: Sequence[str]) -> str:
    """``head`` holds (title, style) pairs, ``lines`` finished rows."""
    titles = "".join(f'<th style="{style}">{esc(title)}</th>' for title, style in head)
    return f"<table><thead><tr>{titles}</tr></thead><tbody>{''.join(lines)}</tbody></table>"


def cells(values: Sequence[str], style: str = RIGHT) -> str:
    """Cells of one row, of finished markup."""
    return "".join(f'<td style="{style}">{value}</td>' for value in values)


def _bar(done: float, of: float) -> str:
    return f'<progress value="{done:g}" max="{max(1.0, of):g}"></progress>'


def run_html(info: RunInfo) -> str:
    """One run: name, progress, and what there is to say of it now."""
    said = [info.phase if info.status == "running" and info.phase else info.status]
    said.append(f"step {info.step} of {info.steps}")
    if info.status == "running" and info.eta_seconds is not None:
        said.append(f"{duration(info.eta_seconds)} left")
    if info.status == "running" and info.steps_per_second:
        said.append(f"{num(info.steps_per_second)} steps/s")
    if isinstance(info.headline, int | float):
        said.append(f"judge {num(info.headline)}")
    if info.weights_entropy is not None:
        said.append(f"weights entropy {num(info.weights_entropy)}")
    if info.message:
        said.append(info.message)
    return (
        f"<div><b>{esc(info.name)}</b> {_bar(info.step, info.steps)} "
        f'{esc(" · ".join(said))} <code style="{DIM}">{esc(info.run_id)}</code></div>'
    )


def runs_html(frame: pd.DataFrame) -> str:
    """Every run as a line with its progress; columns that a cut-out lacks are left out."""
    if frame.empty:
        return "<p>No runs yet: <code>wb.start(&quot;quick&quot;)</code> starts one.</p>"
    columns = [c for c in RUN_COLUMNS if c in frame]
    head = [(c.replace("eta_seconds", "ETA s").replace("headline", "judge"), LEFT) for c in columns]
    lines = []
    for row in frame.to_dict("records"):
        shown = [_run_cell(column, row) for column in columns]
        lines.append(f"<tr>{cells(shown, LEFT)}</tr>")
    return html_table(head, lines)


def _run_cell(column: str, row: Mapping[Any, Any]) -> str:
    value = row[column]
    if column == "name":
        return f"<b>{esc(value)}</b>"
    if column == "step" and "steps" in row:
        return f"{_bar(value, row['steps'])} {esc(value)}"
    if value is None or isinstance(value, float):
        return num(value)
    return esc(value)


def prose_html(frame: pd.DataFrame) -> str:
    """A table whose texts are shown whole; several texts in one cell stand under each other."""
    named = frame.index.name is not None
    head = [(str(frame.index.name), LEFT)] * named + [(str(c), LEFT) for c in frame.columns]
    lines = []
    for key, row in zip(frame.index, frame.itertuples(index=False), strict=True):
        shown = [f"<b>{esc(key)}</b>"] * named + [_prose_cell(value) for value in row]
        lines.append(f"<tr>{cells(shown, LEFT)}</tr>")
    return html_table(head, lines)


def _prose_cell(value: Any) -> str:
    if isinstance(value, list):
        return "<br>".join(esc(v) for v in value)
    if value is None or isinstance(value, float):
        return num(value)
    return esc(value)


def stack(weights: Mapping[str, float], colors: Mapping[str, str]) -> str:
    """A bar split by the size of weights, and in words what leads, with its sign."""
    known = {name: w for name, w in weights.items() if not math.isnan(w)}
    if not known:
        return num(None)
    parts = "".join(
        f'<i style="flex:{abs(w):.4f};background:{colors[n]}" title="{esc(n)} {num(w)}"></i>'
        for n, w in known.items()
    )
    lead = max(known, key=lambda n: abs(known[n]))
    bar = f'<div style="display:flex;width:130px;height:11px">{parts}</div>'
    return f"{bar}<small>{esc(lead)} {num(known[lead])}</small>"


def group_html(rows: pd.DataFrame) -> str:
    """A prompt and its completions: weights, the drawn emphasis, rewards, advantage, judge."""
    if rows.empty:
        return "<p>No completions.</p>"
    first = rows.iloc[0]
    names = list(dict(first["rewards"]))
    colors = objective_colors(names)
    judged, drawn = rows["judge"].notna().any(), rows["action"].notna().any()
    head = [("#", RIGHT), ("completion", LEFT), ("weights", LEFT)]
    head += [("emphasis", LEFT)] * bool(drawn) + [(n, RIGHT) for n in names]
    head += [("advantage", RIGHT)] + [("judge", RIGHT)] * bool(judged)
    lines = []
    for number, row in enumerate(rows.to_dict("records"), 1):
        rewards = dict(row["rewards"])
        cut = ' <span title="hit the token limit">✂</span>' if row["truncated"] else ""
        color = UP if row["advantage"] >= 0 else DOWN
        advantage = f'<b style="color:{color}">{num(row["advantage"], signed=True)}</b>'
        lines.append(
            f'<tr>{cells([str(number)])}<td style="{TEXT}" dir="auto">{esc(row["completion"])}'
            f"{cut}</td>{cells([stack(dict(row['weights']), colors)], LEFT)}"
            + (cells([esc(row["action"])], LEFT) if drawn else "")
            + cells([num(rewards.get(n)) for n in names])
            + cells([advantage])
            + (cells([num(row["judge"])]) if judged else "")
            + "</tr>"
        )
    swatches = " ".join(f'<span style="color:{colors[n]}">■</span> {esc(n)}' for n in names)
    return (
        f'<div><small style="{DIM}">{esc(first["kind"])} · step {int(first["step"])} · '
        f"{esc(first['split'])}</small><br><b>{esc(first['prompt'])}</b><br>"
        f"<small>{swatches}</small></div>{html_table(head, lines)}"
    )


class Live:
    """A place in a cell's output that follows a run."""

    def __init__(self) -> None:
        self.handle: Any = None

    def __call__(self, info: RunInfo) -> None:
        """Show what is known now: a new place at first, the same one from then on."""
        from IPython.display import HTML, display

        if self.handle is None:
            self.handle = display(HTML(run_html(info)), display_id=True)
        else:
            self.handle.update(HTML(run_html(info)))
