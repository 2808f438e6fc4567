"""The first rows of a task file, so that a wrong column is seen before anything starts."""

from __future__ import annotations

from functools import lru_cache

from workbench.config import TaskConfig
from workbench.pages.markup import card, chip, esc, table
from workbench.tasks import load_task
from workbench.tasks.sources import Source
from workbench.tasks.summary import summarise
from workbench.types import Example, Task

ROWS = 5
CUT = 240


def preview_card(config: TaskConfig, model: str | None = None, system: str | None = None) -> str:
    """What the run would train on, as its model sees it; why not, where it cannot be read."""
    if config.name != "file" or not config.path:
        return ""
    sources = [Source.parse(p) for p in (config.path, config.eval_path) if p]
    if any(s.path is None for s in sources):  # a page must not wait for a network
        line = esc(f"workbench data {config.path}")
        body = f"<p>Read when the run starts. <code>{line}</code> shows and checks it now.</p>"
        return card("Data set of the hub", body)
    try:
        stamps = tuple(s.path.stat().st_mtime_ns for s in sources if s.path is not None)
        task = _load(repr(config), stamps, _Box(config))
        found = summarise(task, model, system)
    except (ValueError, OSError) as error:
        return card("Task file", f'<div class="wb-note bad" role="alert">{esc(error)}</div>')
    counts = (
        f"{len(task.train):,} to train, {len(task.calibration):,} for probes, "
        f"{len(task.report):,} held out"
    )
    lines = [
        f"<tr><td>{chip(e.kind)}</td><td class='wb-text' dir='auto'>{esc(_text(e)[:CUT])}</td>"
        f"<td class='wb-text' dir='auto'>{esc((e.reference or '–')[:CUT])}</td></tr>"
        for e in task.train[:ROWS]
    ]
    head = [("kind", ""), ("prompt", ""), ("reference", "")]
    more = "".join(f'<p class="wb-dim wb-foot">{esc(line)}</p>' for line in found.lines()[1:])
    body = table(head, lines) + more
    if found.shown:
        body += (
            '<details class="wb-section" data-keep="seen"><summary>as the model sees the first '
            f'prompt</summary><pre class="wb-log">{esc(found.shown)}</pre></details>'
        )
    return card("Task file", body, counts)


class _Box:
    """Carries an unhashable value past a cache whose other arguments already tell it."""

    def __init__(self, config: TaskConfig) -> None:
        self.config = config

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Box)

    def __hash__(self) -> int:
        return 0


@lru_cache(maxsize=4)
def _load(key: str, stamps: tuple[int, ...], box: _Box) -> Task:
    return load_task(box.config)


def _text(example: Example) -> str:
    if isinstance(example.prompt, str):
        return example.prompt
    return "\n".join(f"{m['role']}: {m['content']}" for m in example.prompt)
