"""The app: a tab for each page over one address."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from workbench.api.workbench import Workbench
from workbench.config.registry import Registry
from workbench.pages.gradio_patches import gr
from workbench.pages.page import Page
from workbench.pages.router import Router
from workbench.pages.server import WorkbenchBlocks
from workbench.runs.spawn import MAX_ACTIVE

PAGES = Registry("pages")
"""``build(wb) -> Page`` by name, in the order of the tabs; see ``workbench.config.registry``."""


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

    with WorkbenchBlocks(
        title="MAESTRO workbench", analytics_enabled=False, fill_width=True
    ) as blocks:
        pages: dict[str, Page] = {}
        router = blocks.router = Router(wb, pages)
        address = gr.HTML(
            {},
            html_template="",
            elem_id="wb-address",
            apply_default_css=False,
            js_on_load='workbench.address(trigger, props, watch, server); /* "go" "act" */',
            server_functions=router.server_functions(),
        )
        notices = gr.HTML("", elem_id="wb-notices", apply_default_css=False)
        memory = gr.State({})
        timer = gr.Timer(2.0, active=False)
        with gr.Tabs(elem_id="wb-tabs") as tabs:
            for name, build in PAGES.usable().items():
                with gr.Tab(name.capitalize(), id=name):
                    pages[name] = build(wb)
        outputs = [address, tabs, timer, *router.outputs, notices]
        quick: dict[str, Any] = {
            "queue": False,
            "show_progress": "hidden",
            "api_visibility": "private",
        }
        # the browser asks one question at a time; Gradio's "always_last" would repeat an old event
        address.go(router.go, outputs=outputs, trigger_mode="multiple", **quick)
        address.act(router.act, outputs=outputs, trigger_mode="multiple", **quick)
        timer.tick(router.tick, [address, memory], [memory, timer, *router.outputs], **quick)
        publish(wb)
    return blocks


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
