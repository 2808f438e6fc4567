"""Events of the one address in, what the page that it names should show out."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from functools import partial, update_wrapper
from typing import Any

from markupsafe import Markup

from workbench.api.workbench import Workbench
from workbench.formatting import visible
from workbench.pages.export import packed
from workbench.pages.gradio_patches import gr
from workbench.pages.live_cache import forget, recent_runs
from workbench.pages.page import ActionError, Page, View, parse_view
from workbench.pages.render import problem
from workbench.pages.uploads import receive
from workbench.store.errors import StoreBusyError, StoreError

log = logging.getLogger(__name__)

EVERYTHING = frozenset({"*"})


class Router:
    """Turns events of the one address into what the page that it names should show."""

    def __init__(self, wb: Workbench, pages: Mapping[str, Page]) -> None:
        self.wb = wb
        self.pages = pages

    @property
    def outputs(self) -> list[gr.components.Component]:
        """The widgets of all pages, in order."""
        return [output for page in self.pages.values() for output in page.outputs]

    def warm_up(self) -> None:
        """Fill every page once and throw the result away: what Python loads on demand is loaded."""
        for page in self.pages.values():
            if not threading.main_thread().is_alive():
                return  # the script has ended: it must not wait for what it will not show
            try:
                page.show(self.wb, {"tab": page.name}, EVERYTHING)
            except Exception:  # whoever opens the page sees the reason
                log.debug("the %s page could not be shown", page.name, exc_info=True)

    def go(self, event: gr.EventData) -> list[Any]:
        """Show the address that the browser asks for."""
        view = parse_view(event.view)
        return self._answer(view, frozenset(map(str, event.changed)), event.n, {})

    def act(self, event: gr.EventData) -> list[Any]:
        """Do what a button says, then show the address that results."""
        view = parse_view(event.view)
        args = dict(event.args)
        action = self._page(view).actions.get(str(args.get("do")))
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
            page = self._page(view)
            if not address or page.live is None:
                return nothing
            values = page.live(self.wb, view, seen)
            return [seen, self._timer(page, view), *self._spread(page, values)]
        except StoreBusyError as error:  # the next look is soon
            log.info("the page is not brought up to date: %s", error)
            return nothing

    def server_functions(self) -> list[Callable[..., Any]]:
        """What the script of the page may call; no methods, because Gradio marks each function."""
        return [update_wrapper(partial(f), f) for f in (self.save, self.upload, self.text)]

    def save(self, asked: dict[str, Any]) -> dict[str, str]:
        """The rows shown, as a file for the browser to keep."""
        view = parse_view(asked.get("view"))
        try:
            return packed(self._page(view).rows(self.wb, view), str(asked.get("kind")))
        except (ValueError, LookupError, OSError) as error:
            return {"problem": str(error)}

    def upload(self, asked: dict[str, Any]) -> dict[str, Any]:
        """A part of a task file that the browser hands over."""
        try:
            return receive(self.wb, asked)
        except (ValueError, OSError) as error:
            return {"problem": str(error)}

    def text(self, asked: dict[str, Any]) -> dict[str, str]:
        """A long text that a person opens, as markup."""
        view = parse_view(asked.get("view"))
        page = self._page(view)
        try:
            if page.text is None:
                raise ValueError(f"{page.name} has no long texts")
            return {"html": page.text(self.wb, view, dict(asked.get("args") or {}))}
        except (ValueError, LookupError, OSError, StoreBusyError) as error:
            return {"problem": str(error)}

    def _page(self, view: View) -> Page:
        """The page that an address names, else Runs, or Launch while there is no run."""
        name = view.get("tab", "")
        if name not in self.pages:
            name = "runs" if len(recent_runs(self.wb)) else "launch"
        view["tab"] = name
        return self.pages[name]

    def _answer(
        self, view: View, changed: frozenset[str], n: int, toast: Mapping[str, Any]
    ) -> list[Any]:
        page = self._page(view)
        if changed & {"tab", "run"}:
            changed = EVERYTHING
        try:
            values = page.show(self.wb, view, changed)
        except Exception as error:
            # what the page shows stays, but for its first part, which says what is wrong
            log.exception("the %s page could not be shown", page.name)
            reason = f"{type(error).__name__}: {error}"
            values = [problem(f"{page.name.capitalize()} cannot be shown", reason)]
            values += [gr.skip() for _ in page.outputs[1:]]
            toast = {"toast": reason, "bad": True}
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
        line = Markup('<p class="wb-notice">{}</p>')
        return str(Markup("").join(line.format(visible(text)) for text in found))

    def _timer(self, page: Page, view: View) -> gr.Timer:
        """Tick as often as what is watched may change; not at all where nothing can."""
        seconds = page.pace(self.wb, view)
        return gr.Timer(seconds or 2.0, active=seconds > 0)

    def _spread(self, page: Page, values: list[Any]) -> list[Any]:
        """The values of one page among those of all pages; the others stay as they are."""
        values = [str(v) if isinstance(v, Markup) else v for v in values]
        spread: list[Any] = []
        for other in self.pages.values():
            spread += values if other is page else [gr.skip() for _ in other.outputs]
        return spread
