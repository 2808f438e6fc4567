"""One group as a table: text, weights, emphasis, rewards, advantage, what if, judge."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from markupsafe import Markup

from workbench.analysis.completions import HEAD
from workbench.analysis.group_report import group_of
from workbench.analysis.queries import matrix
from workbench.config import RunConfig
from workbench.core.group_findings import findings
from workbench.formatting import num, visible
from workbench.pages import chat_text
from workbench.pages.render import macro, render
from workbench.pages.token_text import Parts
from workbench.types import Floats

SHORT = {
    "perplexity": "ppl",
    "format": "fmt",
    "entropy": "ent",
    "length": "len",
    "preference": "pref",
}
ADVANTAGE_SCALE = 2.0
FOLDED_AT = 260
"""Characters, or lines of them, from which on a text is folded to a few lines."""
LINES = 4


def short(name: str) -> str:
    """A column title for an objective."""
    return SHORT.get(name, name if len(name) <= 7 else name[:6] + "…")


def heat(shown: Floats, step_values: Floats) -> Floats:
    """How strongly to shade each reward: 0 at the step's lowest value, 1 at its highest."""
    if not len(step_values):
        return np.zeros_like(shown)
    low, high = np.fmin.reduce(step_values), np.fmax.reduce(step_values)  # NaN is left out
    with np.errstate(invalid="ignore"):  # an infinite reward leaves its objective unshaded
        spread = np.where(high - low > 1e-12, high - low, 1.0)
        return np.clip(np.nan_to_num((shown - low) / spread), 0.0, 1.0)


def standardised_within(raw: Floats) -> Floats:
    """(G, K) z-scores within a group; NaN stays and takes no part in mean and deviation."""
    known = ~np.isnan(raw)
    count = known.sum(axis=0)
    mean = np.where(known, raw, 0.0).sum(axis=0) / np.maximum(count, 1)
    squares = np.where(known, (raw - mean) ** 2, 0.0).sum(axis=0)
    return np.asarray((raw - mean) / (np.sqrt(squares / np.maximum(count - 1, 1)) + 1e-4))


def found_in(text: str, wanted: str) -> Markup:
    """Text with what was searched for marked."""
    if not wanted:
        return Markup.escape(visible(text))
    parts = re.split(f"({re.escape(wanted)})", text, flags=re.IGNORECASE)
    return macro("found", parts)


def shaded_text(text: str, parts: Parts | None) -> Markup:
    """The completion, each token's text tinted by its entropy; plain where that is not known.

    Args:
        text: the completion.
        parts: its pieces with their entropies in nats, as ``token_text.aligned`` gives them.
    """
    if not parts:
        return Markup.escape(visible(text))
    top = max(1.0, max(entropy for _, entropy in parts))
    return macro("shaded", [(p, e, min(1.0, e / top)) for p, e in parts])


def lines_of(
    rows: pd.DataFrame,
    texts: pd.DataFrame,
    names: Sequence[str],
    what_if: Floats,
    shown: Floats,
    depth: Floats,
    merge: bool,
) -> list[dict[str, Any]]:
    """The lines of the table; completions with the same text are one line with their means.

    Args:
        rows: the G rows of the group, in order of samples.
        texts: their texts, as ``analysis.completions`` gives them.
        names: the K objectives.
        what_if: (G,) advantages under other weights.
        shown: (G, K) rewards as they are shown.
        depth: (G, K) how strongly each is shaded.
        merge: one line for identical texts.
    """
    weights = matrix(rows["weights"], names)
    used = rows["advantage"].to_numpy(dtype=float)
    judge = rows["judge"].to_numpy(dtype=float, na_value=np.nan)
    keys = texts["digest"] if merge else texts["sample"]
    found = []
    for _, places in pd.Series(range(len(rows))).groupby(keys.to_numpy(), sort=False):
        at = places.to_numpy()
        text = texts.iloc[at[0]]
        drawn = [a for a in rows["action"].iloc[at] if isinstance(a, str)]
        cut = rows["truncated"].iloc[at].fillna(False).astype(bool)
        found.append(
            {
                "at": at,
                "numbers": ", ".join(str(i + 1) for i in at),
                "count": len(at),
                "about": "\n".join(about(row) for row in rows.iloc[at].itertuples()),
                "sample": int(text["sample"]),
                "text": text,
                "long": int(text["chars"]) - int(text["thought"]) > HEAD,
                "folded": _folded(str(text["head"]), int(text["thought"])),
                "cut": int(cut.sum()),
                "weights": dict(zip(names, weights[at].mean(axis=0), strict=True)),
                "actions": {a: drawn.count(a) for a in dict.fromkeys(drawn)},
                "rewards": _means(shown[at]),
                "depth": depth[at].mean(axis=0),
                "advantage": float(used[at].mean()),
                "spread": _range(used[at]),
                "what_if": float(what_if[at].mean()),
                "flips": bool((what_if[at] * used[at] < 0).any()),
                "judge": _means(judge[at, None])[0],
            }
        )
    return found


def group_card(
    view: Mapping[str, str],
    rows: pd.DataFrame,
    texts: pd.DataFrame,
    step: pd.DataFrame,
    steps: Sequence[int],
    names: Sequence[str],
    colors: Mapping[str, str],
    what_if: Floats,
    parts: Sequence[Parts | None] | None,
    config: RunConfig | None,
) -> Markup:
    """The whole card: tools, what was asked, what is odd, and the table.

    Args:
        view: the address.
        rows: the G rows of the group, in order.
        texts: their texts, as ``analysis.completions`` gives them.
        step: all rows of its step, for the shading.
        steps: the steps at which this prompt was sampled.
        names: the K objectives.
        colors: their colours.
        what_if: (G,) advantages under other weights.
        parts: pieces of each text with their entropies, to tint them by; None: leave them plain.
        config: the run's; advice that cannot matter under it is left out. None: not known.
    """
    # what was said twice counts, not what it was: the digest stands for the text
    group = group_of(rows.assign(completion=texts["digest"].to_numpy()), names, step)
    raw = matrix(rows["rewards"], names)
    standardised = view.get("std") == "1"
    if standardised:
        with np.errstate(invalid="ignore"):
            shown = standardised_within(raw)
        depth = np.clip(np.abs(np.nan_to_num(shown)) / 2, 0, 1)
    else:
        shown, depth = raw, heat(raw, matrix(step["rewards"], names))
    repeats = len(texts) - texts["digest"].nunique()
    lines = lines_of(rows, texts, names, what_if, shown, depth, view.get("each") != "1")
    wanted = view.get("q", "")
    for line in lines:
        head = str(line["text"]["head"])
        part = parts[line["at"][0]] if parts else None
        if view.get("special") != "1" and not part:
            head = chat_text.SPECIAL.sub("", head)
        line["shown"] = shaded_text(head, part) if part else found_in(head, wanted)
    found = findings(group, config)
    hot = {f.row for f in found if f.row is not None}
    prompt = str(texts["prompt"].iloc[0])
    chat = chat_text.messages(prompt)
    asked = chat_text.last_user(prompt)
    at = steps.index(int(view["step"]))
    mean = group.policy if group.policy is not None else group.weights
    return render(
        "group.html",
        view=view,
        first=rows.iloc[0],
        size=len(rows),
        names=names,
        colors=colors,
        titles=[(n, short(n)) for n in names],
        lines=lines,
        hot={i for i, line in enumerate(lines) if hot & set(line["at"].tolist())},
        repeats=repeats,
        notes=[_note(f, colors) for f in found[:2]],
        chat=[(m.role or "prompt", found_in(m.text, wanted)) for m in chat],
        is_chat=len(chat) > 1 or bool(chat[0].role),
        asked=found_in(asked, wanted),
        long_question=len(asked) > FOLDED_AT,
        prompt=prompt,
        steps=steps,
        before=str(steps[at - 1]) if at else "",
        after=str(steps[at + 1]) if at + 1 < len(steps) else "",
        standardised=standardised,
        drawn=bool(rows["action"].notna().any()),
        mean=dict(zip(names, mean.mean(axis=0), strict=True)),
        has_policy=group.policy is not None,
        means=_means(raw),
        tokens=float(rows["num_tokens"].astype(float).mean()),
        judge=_means(group.judge[:, None])[0],
        scale=ADVANTAGE_SCALE,
        trained=rows["split"].iloc[0] == "train",
    )


def _note(found: Any, colors: Mapping[str, str]) -> dict[str, Any]:
    """A finding for the template; the objective that it blames stands apart, to be coloured."""
    before, name, after = found.text, "", ""
    if found.objective is not None and f": {found.objective} " in found.text:
        before, _, after = found.text.partition(f": {found.objective} ")
        before, name = f"{before}: ", found.objective
    return {
        "level": found.level, "title": found.message, "before": before, "name": name,
        "color": colors.get(name, ""), "after": after, "advice": found.advice,
    }  # fmt: skip


def about(row: Any) -> str:
    """What else was logged of a completion: its length and how probable it was."""
    said = [] if pd.isna(row.num_tokens) else [f"{int(row.num_tokens)} tokens"]
    for name, value in (
        ("KL", row.kl),
        ("log-probability when sampled", row.behaviour_logp),
        ("under the reference", row.reference_logp),
    ):
        if not pd.isna(value):
            said.append(f"{name} {num(value)}")
    return ", ".join(said) or "nothing else was logged"


def _folded(head: str, thought: int) -> bool:
    return len(head) > FOLDED_AT or head.count("\n") >= LINES or thought > 0


def _means(values: Floats) -> list[float]:
    return [float(np.nanmean(c)) if not np.isnan(c).all() else float("nan") for c in values.T]


def _range(values: Floats) -> tuple[float, float] | None:
    """The smallest and largest of several values that differ; None where they do not."""
    low, high = float(np.min(values)), float(np.max(values))
    return (low, high) if high - low > 0.005 else None
