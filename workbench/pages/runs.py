"""Runs: every run, how it goes, and everything that can be done to it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gradio as gr
import pandas as pd

from workbench import figures
from workbench.api import Workbench
from workbench.pages import queries, run_actions, run_choice, run_facts
from workbench.pages.inspect import figure_json
from workbench.pages.markup import (
    NOTHING,
    ago,
    attr,
    button,
    card,
    chip,
    duration,
    esc,
    go,
    num,
    table,
)  # fmt: skip
from workbench.pages.page import Page, View, chart, html

LOG_TAIL = 24_000
FEW, ROWS = 8, 50
HEALTH = {
    "entropy": ("emphasis entropy", "#7048e8"),
    "flat_groups": ("flat groups", "#e03131"),
    "truncated": ("truncated", "#e8890c"),
}


def build(wb: Workbench) -> Page:
    """Make the page's widgets."""
    listing = html("runs-list")
    detail = html("runs-detail")
    with gr.Row(elem_classes="wb-row2"):
        with gr.Column(elem_classes="wb-panel"):
            html_title("runs-rewards-title", "Mean reward per objective")
            rewards = chart("runs-rewards", "mean reward per objective over training")
        with gr.Column(elem_classes="wb-panel"):
            html_title("runs-health-title", "Emphasis entropy, flat groups, truncation")
            health = chart("runs-health", "health of the run over training")
    with gr.Column(elem_classes="wb-panel"):
        html_title("runs-weights-title", "Weights over training, by kind")
        weights = chart("runs-weights", "weights over training by kind")
    facts = html("runs-facts")
    log = html("runs-log")
    return Page(
        "runs",
        [listing, detail, rewards, health, weights, facts, log],
        show,
        run_actions.ACTIONS,
        live,
    )


def html_title(elem_id: str, title: str) -> gr.HTML:
    """A heading that never changes."""
    return gr.HTML(
        f"<h3>{esc(title)}</h3>", elem_id=elem_id, elem_classes="wb-page", apply_default_css=False
    )


def show(wb: Workbench, view: View, changed: frozenset[str]) -> list[Any]:
    """The table, and the chosen run below it."""
    runs = wb.runs()
    if not len(runs):
        return [card("", run_choice.no_run(wb, view)), "", None, None, None, "", ""]
    run = run_choice.chosen(wb, view)
    listing = runs_table(wb, runs, view)
    if run is None:
        return [listing, card("", run_choice.no_run(wb, view)), None, None, None, "", ""]
    run_id = run["run_id"]
    detail = run_actions.detail(wb, run)
    if not changed & {"*", "run"}:
        return [listing, detail, *[gr.skip()] * 4, log_card(wb, run_id)]
    rewards, health = queries.reward_curves(wb, run_id), queries.step_health(wb, run_id)
    weights = queries.weights_over_steps(wb, run_id, "split", "train")
    return [
        listing,
        detail,
        figure_json(reward_figure(wb, run_id, rewards)) if len(rewards) else None,
        figure_json(health_figure(health)) if len(health) else None,
        figure_json(figures.weights_by_kind(weights)) if len(weights) else None,
        run_facts.cards(wb, run_id),
        log_card(wb, run_id),
    ]


def live(wb: Workbench, view: View, memory: dict[str, Any]) -> list[Any]:
    """What changed since the last look: rows that are new, never the whole history again."""
    skip = gr.skip()
    runs = wb.runs()
    if not len(runs):
        return [skip] * 7
    values: list[Any] = [_if_new(memory, "list", runs_table(wb, runs, view))]
    run = run_choice.chosen(wb, view)
    if run is None:
        return [values[0], *[skip] * 6]
    run_id = run["run_id"]
    if memory.get("run") != run_id:
        memory.update(run=run_id, step=_last_step(wb, run_id), weights=0.0)
    values.append(_if_new(memory, "detail", run_actions.detail(wb, run)))
    since = int(memory["step"])
    rewards = queries.reward_curves(wb, run_id, since) if run["status"] in run_choice.LIVE else ()
    if len(rewards):
        first = since < 0
        health = queries.step_health(wb, run_id, since)
        memory["step"] = int(rewards["step"].max())
        values += (
            [
                figure_json(reward_figure(wb, run_id, rewards)),
                figure_json(health_figure(health)),
            ]
            if first
            else [
                extension(pd.concat([rewards, queries.judge_curve(wb, run_id, since)])),
                extension(health_long(health)),
            ]
        )
        values.append(
            figure_json(
                figures.weights_by_kind(queries.weights_over_steps(wb, run_id, "split", "train"))
            )
        )
    else:
        values += [skip] * 3
    values.append(_if_new(memory, "facts", run_facts.cards(wb, run_id)))
    values.append(_if_new(memory, "log", log_card(wb, run_id)))
    return values


def _last_step(wb: Workbench, run_id: str) -> int:
    frame = wb.sql(
        "SELECT max(step) AS step FROM rollouts WHERE run_id = $run AND split = 'train'",
        {"run": run_id},
    )
    return -1 if frame["step"].isna().iloc[0] else int(frame["step"].iloc[0])


def _if_new(memory: dict[str, Any], key: str, value: str) -> Any:
    """The value, or a skip when the page already shows it."""
    if memory.get(key) == hash(value):
        return gr.skip()
    memory[key] = hash(value)
    return value


def extension(frame: pd.DataFrame) -> dict[str, Any]:
    """New points for a chart of lines: columns step, name, value."""
    traces = {
        str(name): {"x": part["step"].tolist(), "y": part["value"].tolist()}
        for name, part in frame.groupby("name", sort=False)
    }
    return {"extend": {"traces": traces}}


def reward_figure(wb: Workbench, run_id: str, rewards: pd.DataFrame) -> Any:
    """Mean reward per objective, and the judge on probe prompts as a dotted line."""
    judged = queries.judge_curve(wb, run_id)
    both = pd.concat([rewards, judged]) if len(judged) else rewards
    figure = figures.curves(both, colors={queries.JUDGE: "#868e96"})
    return figure.update_traces(
        line={"dash": "dot", "width": 2.2}, mode="lines+markers", selector={"name": queries.JUDGE}
    )


def health_long(frame: pd.DataFrame) -> pd.DataFrame:
    """The health of each step as lines: step, name, value."""
    long = frame[["step", *HEALTH]].melt("step", var_name="name").dropna()
    return long.assign(name=long["name"].map({k: t for k, (t, _) in HEALTH.items()}))


def health_figure(frame: pd.DataFrame) -> Any:
    """Emphasis entropy, share of flat groups and of cut-off completions, all from 0 to 1."""
    figure = figures.curves(health_long(frame), colors=dict(HEALTH.values()))
    return figure.update_layout(yaxis={"range": [-0.02, 1.05]})


def log_card(wb: Workbench, run_id: str) -> str:
    """The end of the run's log."""
    path = Path(wb.launcher.path(run_id)) / "log.txt"
    size = path.stat().st_size if path.exists() else 0
    text, _ = wb.run(run_id).log(max(0, size - LOG_TAIL)) if size else ("", 0)
    lines = [line.rsplit("\r", 1)[-1] for line in text.rstrip("\r\n").split("\n")]
    body = esc("\n".join(lines[-200:])) if size else "The process has not written anything yet."
    return card(
        "Log", f'<pre class="wb-log" data-tail tabindex="0">{body}</pre>', f"{size:,} bytes"
    )


def runs_table(wb: Workbench, runs: pd.DataFrame, view: View) -> str:
    """One line a run; a search narrows them by name, scalarizer, status or tag."""
    tags = run_facts.tags_of(wb)
    wanted = view.get("rq", "").lower()
    total = len(runs)
    if wanted:
        texts = [
            " ".join(map(str, [r["name"], r["status"], r.get("scalarizer"), tags.get(r["run_id"])]))
            for r in runs.to_dict("records")
        ]
        runs = runs[[wanted in text.lower() for text in texts]]
    shown = runs if view.get("all") == "1" else runs.head(ROWS)
    head = [
        ("run", ""), ("status", ""), ("progress", ""), ("left", "wb-num"), ("steps/s", "wb-num"),
        ("judge", "wb-num"), ("scalarizer", ""), ("seed", "wb-num"), ("started", "wb-num"),
    ]  # fmt: skip
    lines = []
    for row in shown.to_dict("records"):
        chosen = view.get("run") in (row["name"], row["run_id"])
        step, steps = int(row["step"] or 0), int(row["steps"] or 0)
        share = 100 * step / steps if steps else 0
        seed = row.get("seed")
        phase = " · " + esc(row["phase"]) if _text(row.get("phase")) else ""
        left = duration(row["eta_seconds"]) if row["status"] == "running" else NOTHING
        lines.append(
            f'<tr class="{"sel" if chosen else ""}" data-step-through {go(run=str(row["name"]))}>'
            f'<td><button type="button" class="wb-button link" {go(run=str(row["name"]))}>'
            f"<b>{esc(row['name'])}</b></button> "
            f"{run_facts.tag_chips(row['run_id'], tags.get(row['run_id'], []), False)}</td>"
            f'<td><i class="wb-dot {esc(row["status"])}"></i>{esc(row["status"])}'
            f'<span class="wb-dim">{phase}</span></td>'
            '<td class="wb-nowrap"><span class="wb-progress">'
            f'<u style="width:{share:.0f}%"></u></span>'
            f'<span class="wb-num">{step}/{steps}</span></td>'
            f'<td class="wb-num">{left}</td>'
            f'<td class="wb-num">{num(row["steps_per_second"])}</td>'
            f'<td class="wb-num">{num(row["headline"])}</td>'
            f"<td>{chip(str(row.get('scalarizer') or row.get('kind')))}</td>"
            f'<td class="wb-num">{NOTHING if seed is None else esc(seed)}</td>'
            f'<td class="wb-num wb-dim">{ago(row["created"])}</td></tr>'
        )
    tools = button("New run", go(tab="launch"), "primary")
    if total > FEW or wanted:
        tools = (
            '<label class="wb-field"><span>search runs</span><input type="search" data-param="rq" '
            f'placeholder="search runs and tags" {attr("data-value", view.get("rq", ""))}></label>'
            + tools
        )
    more = button(f"show all {len(runs)}", go(all="1")) if len(shown) < len(runs) else ""
    count = f"{len(runs)} of {total} runs" if wanted else f"{total} run{'s' if total > 1 else ''}"
    return card(count, table(head, lines, "wb-runs") + more, tools)


def _text(value: Any) -> bool:
    return isinstance(value, str) and value != ""
