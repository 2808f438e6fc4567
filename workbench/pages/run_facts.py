"""What is known of a run beyond its curves: warnings, drift, checkpoints, settings, notes."""

from __future__ import annotations

import math
from typing import Any

from workbench.api.workbench import Workbench
from workbench.core.diagnostics import suggest_token_limit
from workbench.pages.live_cache import config_of, yaml_of
from workbench.pages.markup import (
    act,
    ago,
    attr,
    button,
    card,
    chip,
    esc,
    num,
    percent,
    table,
)  # fmt: skip

RECENT_SHARE = 0.2


def cards(wb: Workbench, run_id: str) -> str:
    """Every card of this file, in the order of how much it matters."""
    drift = drift_card(wb, run_id)
    return (
        f'<div class="wb-grid wb-wide">{drift}{checkpoints_card(wb, run_id)}</div>'
        + settings_card(wb, run_id)
    )


def warnings(wb: Workbench, run_id: str) -> str:
    """The newest warning of each kind, with what to try; nothing where there is none."""
    found = wb.warnings(run_id)
    if not len(found):
        return ""
    newest = found.sort_values("step").drop_duplicates("code", keep="last").iloc[::-1]
    return "".join(
        f'<div class="wb-note warn" role="note"><b>{esc(row.message)}</b> '
        f'<span class="wb-try">{esc(row.advice)}</span> '
        f'<span class="wb-dim">{esc(row.code)}, step {int(row.step)}</span></div>'
        for row in newest.itertuples()
    )


def drift_card(wb: Workbench, run_id: str) -> str:
    """Length, truncation and KL per kind, first fifth against last; and a better token limit."""
    frame = wb.sql(
        """WITH ends AS (
            SELECT min(step) AS first, max(step) AS last,
                   ceil((max(step) - min(step)) * $share) AS width
            FROM rollouts WHERE run_id = $run AND split = 'train')
        SELECT kind, count(DISTINCT step) AS steps,
            avg(num_tokens) FILTER (step <= first + width) AS tokens0,
            avg(num_tokens) FILTER (step >= last - width) AS tokens1,
            avg(truncated::DOUBLE) FILTER (step <= first + width) AS cut0,
            avg(truncated::DOUBLE) FILTER (step >= last - width) AS cut1,
            avg(kl) FILTER (step <= first + width) AS kl0,
            avg(kl) FILTER (step >= last - width) AS kl1
        FROM rollouts, ends WHERE run_id = $run AND split = 'train' GROUP BY kind ORDER BY kind""",
        {"run": run_id, "share": RECENT_SHARE},
    )
    if not len(frame) or int(frame["steps"].max()) < 2:
        return ""
    lines = [
        f"<tr><td>{chip(str(r.kind))}</td>{_pair(num(r.tokens0), num(r.tokens1))}"
        f"{_pair(percent(r.cut0), percent(r.cut1), r.cut1 > max(0.1, r.cut0))}"
        f"{_pair(num(r.kl0), num(r.kl1))}</tr>"
        for r in frame.itertuples()
    ]
    head = [("kind", ""), ("tokens", "wb-num"), ("truncated", "wb-num"), ("KL per token", "wb-num")]
    rows = wb.sql(
        "SELECT num_tokens, truncated FROM rollouts WHERE run_id = $run AND split = 'train' "
        "ORDER BY step DESC LIMIT 2000",
        {"run": run_id},
    )
    now = config_of(wb, run_id).grpo.max_completion_length
    better = suggest_token_limit(
        rows["num_tokens"].to_numpy(dtype=int), rows["truncated"].to_numpy(dtype=bool), now
    )
    hint = (
        f'<p class="wb-dim wb-foot">Token limit {now}; the lengths suggest <b>{better}</b> '
        "(grpo.max_completion_length).</p>"
    )
    return card("Drift by kind", table(head, lines) + hint, "first fifth → last fifth")


def _pair(before: str, after: str, bad: bool = False) -> str:
    css = " wb-flip" if bad else ""
    return f'<td class="wb-num{css}"><span class="wb-dim">{before} →</span> {after}</td>'


def checkpoints_card(wb: Workbench, run_id: str) -> str:
    """Checkpoints that are still there; the best one is marked."""
    found = wb.checkpoints(run_id)
    kept = found[~found["removed"].astype(bool)] if len(found) else found
    budget = _budget(wb, run_id)
    if not len(kept):
        return card("Checkpoints", f'<p class="wb-dim">None saved yet.</p>{budget}')
    best = kept["score"].astype(float).max()
    lines = []
    for row in kept.sort_values("step", ascending=False).itertuples():
        score = float(row.score) if row.score is not None else math.nan
        mark = " <b>best</b>" if score == best else ""
        export = button(
            "export",
            act("export", run=run_id, step=int(row.step)),
            title="a model folder with a card, in exports/",
        )
        size = num((row.bytes or math.nan) / 1e6)
        lines.append(
            f'<tr><td class="wb-num">{int(row.step)}</td><td class="wb-num">{num(score)}{mark}</td>'
            f'<td class="wb-num">{size}</td><td class="wb-mono">{esc(row.path)}</td>'
            f'<td class="wb-num wb-dim">{ago(row.time)}</td>'
            f'<td class="wb-num">{export}</td></tr>'
        )
    head = [
        ("step", "wb-num"), ("score", "wb-num"), ("MB", "wb-num"), ("folder", ""),
        ("saved", "wb-num"), ("", "wb-num"),
    ]  # fmt: skip
    return card("Checkpoints", table(head, lines) + budget, f"{len(kept)} kept")


def _budget(wb: Workbench, run_id: str) -> str:
    """What is kept on disk, of how much."""
    logging = config_of(wb, run_id).logging
    folder = wb.launcher.path(run_id) / "segments" / "contexts"
    used = sum(file.stat().st_size for file in folder.glob("*.parquet")) / 1e6
    contexts = (
        f"hidden states {num(used)} of {num(logging.contexts_mb)} MB"
        if logging.contexts
        else "hidden states are not logged"
    )
    return (
        f'<p class="wb-dim wb-foot">Kept are the newest {logging.keep_checkpoints}, the best and '
        f"the last; {contexts}.</p>"
    )


def settings_card(wb: Workbench, run_id: str) -> str:
    """The run's whole configuration, and the command that makes it again."""
    recipe = wb.reproduce(run_id)
    yaml = yaml_of(wb, run_id)
    line = str(recipe["command"])
    return (
        '<details class="wb-card wb-section" data-keep="settings">'
        "<summary><h3>Settings and how to reproduce</h3></summary>"
        f'<pre class="wb-log">{esc(line)}</pre>'
        f'<div class="wb-bar">{button("copy command", attr("data-copy", line))}'
        f"{button('copy YAML', attr('data-copy', yaml))}</div>"
        f'<pre class="wb-log wb-yaml">{esc(yaml)}</pre></details>'
    )


def tags_of(wb: Workbench) -> dict[str, list[tuple[str, str]]]:
    """Tags of every run: run_id to (annotation_id, text)."""
    frame = wb.sql(
        "SELECT run_id, annotation_id, text FROM annotations WHERE type = 'tag' ORDER BY time"
    )
    found: dict[str, list[tuple[str, str]]] = {}
    for row in frame.itertuples():
        found.setdefault(str(row.run_id), []).append((str(row.annotation_id), str(row.text)))
    return found


def note_of(wb: Workbench, run_id: str) -> str:
    """The note on a run; empty where there is none."""
    marks = wb.annotations(run_id)
    notes = marks[marks["type"] == "note"]
    return str(notes["text"].iloc[-1] or "") if len(notes) else ""


def tag_chips(run_id: str, tags: list[tuple[str, str]], removable: bool) -> str:
    """Tags as chips; on the run's own card each can be taken off."""
    shown = []
    for identity, text in tags:
        off = (
            f' <button type="button" class="wb-x" {act("untag", run=run_id, tag=identity)} '
            f"{attr('aria-label', f'remove tag {text}')}>×</button>"
            if removable
            else ""
        )
        shown.append(f'<span class="wb-tag">{esc(text)}{off}</span>')
    return "".join(shown)


def tag(wb: Workbench, view: dict[str, str], args: dict[str, Any]) -> str:
    """Put a tag on a run."""
    text = str(args.get("value", "")).strip()[:40]
    if not text:
        raise ValueError("A tag needs a text")
    wb.annotate(str(args["run"]), "tag", text=text)
    return f"Tagged {text}"


def export(wb: Workbench, view: dict[str, str], args: dict[str, Any]) -> str:
    """Copy a checkpoint into a model folder with a card."""
    return f"Exported to {wb.export_model(str(args['run']), int(args['step']))}"


def untag(wb: Workbench, view: dict[str, str], args: dict[str, Any]) -> str:
    """Take a tag off a run."""
    wb.retract(str(args["run"]), str(args["tag"]))
    return "Tag removed"


def note(wb: Workbench, view: dict[str, str], args: dict[str, Any]) -> str:
    """Write the note of a run; an empty one removes it."""
    text = str(args.get("value", "")).strip()[:2000]
    wb.annotate(str(args["run"]), "note", annotation_id="note", text=text)
    return "Noted" if text else "Note removed"
