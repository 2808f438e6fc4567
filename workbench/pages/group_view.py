"""One group as a table: text, weights, emphasis, rewards, advantage, what if, judge."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from workbench.analysis.group_report import group_of
from workbench.analysis.queries import matrix
from workbench.config import RunConfig
from workbench.core.findings import Finding
from workbench.core.group_findings import findings
from workbench.pages.markup import attr, chip, esc, legend, num, stack
from workbench.pages.token_text import aligned
from workbench.types import Floats

if TYPE_CHECKING:
    from tokenizers import Tokenizer

SHORT = {
    "perplexity": "ppl",
    "format": "fmt",
    "entropy": "ent",
    "length": "len",
    "preference": "pref",
}
ADVANTAGE_SCALE = 2.0


def short(name: str) -> str:
    """A column title for an objective."""
    return SHORT.get(name, name if len(name) <= 7 else name[:6] + "…")


def advantage_bar(value: float) -> str:
    """A signed bar around a middle line, and the number."""
    if np.isnan(value):
        return f'<span class="wb-dim">{num(value)}</span>'
    width = 50 * min(abs(value) / ADVANTAGE_SCALE, 1.0)
    side = (
        f"left:50%;width:{width:.1f}%"
        if value >= 0
        else f"left:{50 - width:.1f}%;width:{width:.1f}%"
    )
    css = "up" if value >= 0 else "down"
    return (
        f'<span class="wb-adv" aria-hidden="true"><b class="{css}" style="{side}"></b></span>'
        f'<span class="wb-num">{num(value, signed=True)}</span>'
    )


def heat(shown: Floats, step_values: Floats) -> Floats:
    """How strongly to shade each reward: 0 at the step's lowest value, 1 at its highest."""
    if not len(step_values):
        return np.zeros_like(shown)
    low, high = np.nanmin(step_values, axis=0), np.nanmax(step_values, axis=0)
    spread = np.where(high - low > 1e-12, high - low, 1.0)
    return np.clip(np.nan_to_num((shown - low) / spread), 0.0, 1.0)


def shaded_text(text: str, parts: Sequence[tuple[str, float]] | None) -> str:
    """The completion, each token's text tinted by its entropy; plain where that is not known.

    Args:
        text: the completion.
        parts: its pieces with their entropies in nats, as ``token_text.aligned`` gives them.
    """
    if not parts:
        return esc(text)
    top = max(1.0, max(entropy for _, entropy in parts))
    return "".join(
        f"{part[: len(part) - len(part.lstrip(' '))]}"
        f'<span class="wb-tok" style="--h:{min(1.0, entropy / top):.2f}" '
        f'title="entropy {num(entropy)} nats">{esc(part.lstrip(" "))}</span>'
        for part, entropy in parts
    )


def shades(
    rows: pd.DataFrame, tokenizer: Tokenizer | None
) -> list[Sequence[tuple[str, float]] | None]:
    """The pieces of each completion with their entropies; None where those were not logged."""
    return [
        aligned(tokenizer, ids if np.ndim(ids) == 1 else None, list(entropies), str(text))
        if np.ndim(entropies) == 1
        else None
        for text, ids, entropies in zip(
            rows["completion"], rows["token_ids"], rows["token_entropies"], strict=True
        )
    ]


def note(found: Finding, colors: Mapping[str, str]) -> str:
    """A finding as a coloured box; the objective it blames is marked with its colour."""
    text = esc(found.text)
    if found.objective is not None:
        color = colors[found.objective]
        swatch = f'<i class="wb-swatch" style="background:{color}"></i>'
        name = esc(found.objective)
        text = text.replace(f": {name} ", f": {swatch}<b>{name}</b> ", 1)
    advice = f' <span class="wb-try">{esc(found.advice)}</span>' if found.advice else ""
    title = f"<b>{esc(found.message)}</b>"
    return f'<div class="wb-note {found.level}" role="note">{title} {text}{advice}</div>'


def group_table(
    rows: pd.DataFrame,
    step: pd.DataFrame,
    names: Sequence[str],
    colors: Mapping[str, str],
    what_if: Floats | None,
    config: RunConfig | None,
    standardised: bool,
    parts: Sequence[Sequence[tuple[str, float]] | None] | None = None,
) -> str:
    """The table of one group, and under it what is wrong.

    Args:
        rows: the G rows of the group, in order.
        step: all rows of its step, for the shading.
        names: the K objectives.
        colors: their colours.
        what_if: (G,) advantages under other weights, or None.
        config: the run's; advice that cannot matter under it is left out.
        standardised: show z-scores within the group instead of raw rewards.
        parts: pieces of each text with their entropies, to tint them by; None: leave them plain.
    """
    group = group_of(rows, names, step)
    raw = matrix(rows["rewards"], names)
    found = findings(group, config)
    hot = {f.row for f in found if f.row is not None}
    if standardised:
        with np.errstate(invalid="ignore"):
            shown = (raw - np.nanmean(raw, axis=0)) / (np.nanstd(raw, axis=0, ddof=1) + 1e-4)
        depth = np.clip(np.abs(np.nan_to_num(shown)) / 2, 0, 1)
    else:
        shown = raw
        depth = heat(raw, matrix(step["rewards"], names))
    head = "".join(
        f'<th scope="col" class="wb-num" title="{esc(n)}">{esc(short(n))}</th>' for n in names
    )
    judged = not np.isnan(group.judge).all()
    drawn = rows["action"].notna().any()
    lines = []
    for i, row in enumerate(rows.itertuples()):
        weights = dict(zip(names, group.weights[i], strict=True))
        action = _action(row.action, colors) if drawn else ""
        cells = "".join(
            f'<td class="wb-num wb-heat" style="--o:{colors[n]};--h:{depth[i, k]:.2f}">'
            f"{num(shown[i, k], signed=standardised)}</td>"
            for k, n in enumerate(names)
        )
        cut = (
            ' <span class="wb-cut" title="hit the token limit">✂</span>'
            if group.truncated[i]
            else ""
        )
        lines.append(
            f'<tr class="{"hot" if i in hot else ""}">'
            f'<td class="wb-num wb-dim" {attr("title", about(row))}>{i + 1}</td>'
            '<td class="wb-mono wb-text" dir="auto">'
            f"{shaded_text(row.completion, parts[i] if parts else None)}{cut}</td>"
            f"<td>{stack(weights, colors, 14, f'weights of row {i + 1}:')}{action}</td>{cells}"
            f'<td class="wb-advcell" data-advantage="{group.advantages[i]:.9g}">'
            f"{advantage_bar(group.advantages[i])}</td>"
            f"{_what_if_cell(what_if, group.advantages, i)}"
            f'<td class="wb-num">{num(group.judge[i])}</td></tr>'
        )
    mean = group.policy if group.policy is not None else group.weights
    kind = "the Conductor's distribution" if group.policy is not None else "mean weights"
    bottom = (
        f'<tr class="wb-mean"><td></td><td class="wb-dim">mean of the group · {kind}</td>'
        f"<td>{stack(dict(zip(names, mean.mean(axis=0), strict=True)), colors, 8, 'mean:')}</td>"
        + "".join(f'<td class="wb-num wb-dim">{num(v)}</td>' for v in _means(raw))
        + f'<td class="wb-dim">{num(rows["num_tokens"].mean())} tokens each</td><td></td>'
        f'<td class="wb-num wb-dim">{num(np.nanmean(group.judge)) if judged else ""}</td></tr>'
    )
    emphasis = ", sampled emphasis" if drawn else ""
    return (
        '<div class="wb-scroll"><table class="wb-table wb-group"><thead><tr><th></th>'
        f'<th scope="col">completion</th><th scope="col">weights{emphasis}</th>{head}'
        '<th scope="col">advantage used</th><th scope="col" class="wb-num">what if</th>'
        f'<th scope="col" class="wb-num">judge</th></tr></thead><tbody>{"".join(lines)}{bottom}'
        f"</tbody></table></div>{''.join(note(f, colors) for f in found[:2])}"
    )


def about(row: Any) -> str:
    """What else was logged of a completion: its length and how probable it was."""
    said = [f"{int(row.num_tokens)} tokens"]
    for name, value in (
        ("KL", row.kl),
        ("log-probability when sampled", row.behaviour_logp),
        ("under the reference", row.reference_logp),
    ):
        if value is not None and not np.isnan(value):
            said.append(f"{name} {num(value)}")
    return ", ".join(said)


def _means(values: Floats) -> list[float]:
    return [float(np.nanmean(c)) if not np.isnan(c).all() else float("nan") for c in values.T]


def _action(action: str | None, colors: Mapping[str, str]) -> str:
    if not isinstance(action, str):
        return ""
    return f'<span class="wb-act" style="border-color:{colors[action]}"><b>{esc(action)}</b></span>'


def _what_if_cell(what_if: Floats | None, used: Floats, i: int) -> str:
    if what_if is None:
        return f'<td class="wb-num wb-dim">{num(None)}</td>'
    value = float(what_if[i])
    flips = value * used[i] < 0
    css, mark = ("wb-flip", ' <span title="the sign flips">⇅</span>') if flips else ("", "")
    data = f'data-whatif="{value:.9g}"'
    return f'<td class="wb-num {css}" {data}>{num(value, signed=True)}{mark}</td>'


def head(row: pd.Series, size: int, names: Sequence[str], colors: Mapping[str, str]) -> str:
    """Kind, prompt, where it comes from, and the colours."""
    return (
        f'<div class="wb-head">{chip(str(row["kind"]))}'
        f'<span class="q" dir="auto">{esc(row["prompt"])}</span>'
        f'<span class="wb-dim">step {int(row["step"])} · {esc(row["split"])} · group of {size} · '
        f"prompt {esc(str(row['prompt_id'])[:12])}</span></div>{legend(names, colors)}"
    )
