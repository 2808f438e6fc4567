"""The app: five tabs over one address."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from workbench.api.workbench import Workbench
from workbench.formatting import esc
from workbench.pages import compare, inspect, launch, rate, runs, uploads
from workbench.pages.export import download
from workbench.pages.live_cache import forget, recent_runs
from workbench.pages.page import ActionError, Page, View, parse_view
from workbench.pages.quick_gradio import gr
from workbench.pages.server import WorkbenchBlocks
from workbench.runs.spawn import MAX_ACTIVE
from workbench.store.errors import StoreBusyError, StoreError

log = logging.getLogger(__name__)

BUILDERS = {
    "launch": launch.build,
    "runs": runs.build,
    "inspect": inspect.build,
    "compare": compare.build,
    "rate": rate.build,
}
EVERYTHING = frozenset({"*"})


def build_app(
    runs_dir: str | Path | Workbench = "runs",
    allowed_functions: Sequence[str] | None = None,
    max_runs: int | None = MAX_ACTIVE,
    allowed_paths: Sequence[str | Path] | None = None,
) -> gr.Blocks:
    """Build the app over one runs directory; nothing is started yet.

    Args:
        runs_dir: where runs live, made when it is missing; or a ``Workbench`` of one's own.
        allowed_functions: which ``package.module:function`` a run may name; None: any.
        max_runs: how many runs may be active at once before new ones queue; None: no limit.
        allowed_paths: folders whose files and models a run may name, beside the runs directory;
            None: any.

    Returns:
        Blocks whose ``launch()`` brings its own theme, styles and routes.
    """
    own = isinstance(runs_dir, Workbench)
    wb = (
        runs_dir
        if own
        else Workbench(
            runs_dir,
            limit=max_runs,
            allowed_functions=allowed_functions,
            allowed_paths=allowed_paths,
        )
    )

    def save(asked: dict[str, Any]) -> dict[str, str]:
        """The rows shown, as a file for the browser to keep."""
        try:
            return download(wb, parse_view(asked.get("view")), str(asked.get("kind")))
        except (ValueError, LookupError, OSError) as error:
            return {"problem": str(error)}

    def upload(asked: dict[str, Any]) -> dict[str, Any]:
        """A part of a task file that the browser hands over."""
        try:
            return uploads.receive(wb, asked)
        except (ValueError, OSError) as error:
            return {"problem": str(error)}

    with WorkbenchBlocks(
        title="MAESTRO workbench", analytics_enabled=False, fill_width=True
    ) as blocks:
        address = gr.HTML(
            {},
            html_template="",
            elem_id="wb-address",
            apply_default_css=False,
            js_on_load='workbench.address(trigger, props, watch, server); /* "go" "act" */',
            server_functions=[save, upload],
        )
        notices = gr.HTML("", elem_id="wb-notices", apply_default_css=False)
        memory = gr.State({})
        timer = gr.Timer(2.0, active=False)
        pages: dict[str, Page] = {}
        with gr.Tabs(elem_id="wb-tabs") as tabs:
            for name, build in BUILDERS.items():
                with gr.Tab(name.capitalize(), id=name):
                    pages[name] = build(wb)
        desk = blocks.desk = Router(wb, pages)
        outputs = [address, tabs, timer, *desk.outputs, notices]
        quick: dict[str, Any] = {
            "queue": False,
            "show_progress": "hidden",
            "api_visibility": "private",
        }
        # the browser asks one question at a time; Gradio's "always_last" would repeat an old event
        address.go(desk.go, outputs=outputs, trigger_mode="multiple", **quick)
        address.act(desk.act, outputs=outputs, trigger_mode="multiple", **quick)
        timer.tick(desk.tick, [address, memory], [memory, timer, *desk.outputs], **quick)
        publish(wb)
    return blocks


class Router:
    """Turns events of the one address into what the page that it names should show."""

    def __init__(self, wb: Workbench, pages: Mapping[str, Page]) -> None:
        self.wb = wb
        self.pages = pages
        self.outputs = [output for page in pages.values() for output in page.outputs]

    def warm_up(self) -> None:
        """Show every page once to nobody: what Python loads on first use is then loaded."""
        for page in self.pages.values():
            try:
                page.show(self.wb, {"tab": page.name}, EVERYTHING)
            except Exception:  # whoever opens the page is told; here nobody is
                log.debug("the %s page could not be shown", page.name, exc_info=True)

    def go(self, event: gr.EventData) -> list[Any]:
        """Show the address that the browser asks for."""
        view = parse_view(event.view)
        return self._answer(view, frozenset(map(str, event.changed)), event.n, {})

    def act(self, event: gr.EventData) -> list[Any]:
        """Do what a button says, then show the address that results."""
        view = parse_view(event.view)
        tab = self._tab(view)
        args = dict(event.args)
        action = self.pages[tab].actions.get(str(args.get("do")))
        if action is None:
            toast = {"toast": f"{args.get('do')!r} is no action of this page", "bad": True}
        else:
            forget(self.wb)
            try:
                toast = {"toast": action(self.wb, view, args), "bad": False}
            except (ActionError, ValueError, LookupError, OSError, RuntimeError) as error:
                log.info("refused: %s", error)
                toast = {"toast": str(error), "bad": True}
            forget(self.wb)
        return self._answer(view, EVERYTHING, event.n, toast)

    def tick(self, address: Any, memory: dict[str, Any]) -> list[Any]:
        """Bring the page that is being watched up to date; while the store is busy, leave it."""
        nothing = [gr.skip() for _ in range(2 + len(self.outputs))]
        view = parse_view((address or {}).get("view"))
        seen = dict(memory)  # a look that fails has shown nothing
        try:
            page = self.pages[self._tab(view)]
            if not address or page.live is None:
                return nothing
            values = page.live(self.wb, view, seen)
            return [seen, self._timer(page, view), *self._spread(page, values)]
        except StoreBusyError as error:  # nobody asked for anything, and the next look is soon
            log.info("the page is not brought up to date: %s", error)
            return nothing

    def _tab(self, view: View) -> str:
        return view.get("tab") or ("runs" if len(recent_runs(self.wb)) else "launch")

    def _answer(
        self, view: View, changed: frozenset[str], n: int, toast: Mapping[str, Any]
    ) -> list[Any]:
        view["tab"] = self._tab(view)
        page = self.pages[view["tab"]]
        if changed & {"tab", "run"}:
            changed = EVERYTHING
        try:
            values = page.show(self.wb, view, changed)
        except Exception as error:
            # the page keeps what it shows; the person and the log both hear why
            log.exception("the %s page could not be shown", page.name)
            values = [gr.skip() for _ in page.outputs]
            toast = {"toast": f"{type(error).__name__}: {error}", "bad": True}
        answer = {"view": view, "n": n, **toast}
        timer = self._timer(page, view)
        shown = self._spread(page, values)
        return [answer, gr.Tabs(selected=view["tab"]), timer, *shown, self._notices()]

    def _notices(self) -> str:
        """What is missing from the pages, and why."""
        try:
            found = self.wb.notices
        except StoreError as error:
            found = [str(error)]
        return "".join(f'<p class="wb-notice">{esc(text)}</p>' for text in found)

    def _timer(self, page: Page, view: View) -> gr.Timer:
        """Tick as often as what is watched may change; not at all where nothing can."""
        seconds = page.pace(self.wb, view)
        return gr.Timer(seconds or 2.0, active=seconds > 0)

    def _spread(self, page: Page, values: list[Any]) -> list[Any]:
        """The values of one page among those of all pages; the others stay as they are."""
        spread: list[Any] = []
        for other in self.pages.values():
            spread += values if other is page else [gr.skip() for _ in other.outputs]
        return spread


def publish(wb: Workbench) -> None:
    """The JSON API: what a script needs to start a run and follow it."""

    def start(config: dict[str, Any] | str) -> str:
        """Start a run from a configuration or the name of a preset; returns its id."""
        return wb.start(config)

    def stop(run: str) -> str:
        """Ask a run to stop after its current step, with a checkpoint; returns its id."""
        return wb.stop(run)

    def state(run: str) -> dict[str, Any]:
        """Status, step and progress of one run."""
        return wb.state(run)

    def list_runs() -> list[dict[str, Any]]:
        """Every run, newest first."""
        return wb.runs().to_dict("records")

    for function, name in ((start, "start"), (stop, "stop"), (state, "state"), (list_runs, "runs")):
        gr.api(function, api_name=name, concurrency_limit=4)
