"""HTML of the pages: Jinja2 templates in ``templates``, which escape every value that they write.

A template gets plain values and decides how they look; ``macros.html`` holds what the pages share.
A control says what it does in an attribute made by ``go`` (change the address) or ``act`` (do
something); ``assets/workbench.js`` listens for both. Text that a model or a person wrote is text:
beside markup, characters that hide or reorder what stands beside them are spelled out.
"""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from workbench.config.glossary import GLOSSARY
from workbench.formatting import NOTHING, duration, num, percent, visible
from workbench.plots.palette import kind_slot

log = logging.getLogger(__name__)


def ago(moment: float | None) -> str:
    """How long ago a unix time was."""
    if not moment:
        return NOTHING
    seconds = max(0.0, time.time() - moment)
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{int(seconds // size)} {unit} ago"
    return "just now"


def attr(name: str, value: Any) -> Markup:
    """One attribute; objects travel as JSON."""
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return Markup(f'{name}="{escape(visible(text))}"')  # noqa: S704 - escaped here


def go(**patch: Any) -> Markup:
    """The attribute that changes the address; None and "" remove a key."""
    return attr("data-go", patch)


def act(do: str, **args: Any) -> Markup:
    """The attribute that does something."""
    return attr("data-act", {"do": do, **args})


def code(text: str) -> Markup:
    """Documentation as markup: what stands between backticks is code."""
    parts = [escape(visible(part)) for part in text.split("`")]
    return Markup("").join(
        Markup("<code>{}</code>").format(p) if i % 2 else p for i, p in enumerate(parts)
    )


def zipped(values: Iterable[Any], before: str = "") -> list[tuple[str, str]]:
    """Values as the options of a drop-down: what is written, and what is shown."""
    return [(str(v), f"{before}{v}") for v in values]


def _shown(value: Any) -> Any:
    """What stands in a template between braces, before it is escaped."""
    if value is None:
        return ""
    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def meaning(term: str) -> str:
    """What a term of the glossary means; empty where it has none. The first term named counts."""
    words = term.lower()
    for name, said in _TERMS:
        if name in words:
            return said
    return ""


_TERMS = sorted(((name.lower(), said) for name, said in GLOSSARY.items()), key=lambda t: -len(t[0]))
"""Longest first: a flat group is no group."""

ENVIRONMENT = Environment(
    loader=PackageLoader("workbench.pages"),
    autoescape=True,
    undefined=StrictUndefined,
    finalize=_shown,
    trim_blocks=True,
    lstrip_blocks=True,
)
ENVIRONMENT.filters |= {
    "num": num, "percent": percent, "duration": duration, "ago": ago, "code": code,
}  # fmt: skip
ENVIRONMENT.globals |= {
    "zipped": zipped,
    "go": go, "act": act, "attr": attr, "kind_slot": kind_slot, "isnan": math.isnan,
    "meaning": meaning,
}  # fmt: skip


def render(template: str, **values: Any) -> Markup:
    """A template of this package, filled in."""
    return Markup(ENVIRONMENT.get_template(template).render(values))  # noqa: S704 - autoescaped


@cache
def _macros() -> Any:
    return ENVIRONMENT.get_template("macros.html").module


def macro(name: str, *args: Any, **options: Any) -> Markup:
    """One shared piece, e.g. ``macro("chip", "story")``."""
    return Markup(getattr(_macros(), name)(*args, **options))  # noqa: S704 - autoescaped


def empty(title: str, advice: str, label: str = "", attribute: Markup | None = None) -> Markup:
    """A card where there is nothing yet: what is missing, and a button that leads on."""
    return render("empty.html", title=title, advice=advice, label=label, attribute=attribute)


def problem(title: str, error: object) -> Markup:
    """A card in the place of what could not be shown."""
    return render("problem.html", title=title, error=str(error) or type(error).__name__)


def or_problem(title: str, part: Callable[..., Any], *args: Any, **options: Any) -> Any:
    """A part of a page; where it cannot be made, a card with the reason: the rest is shown.

    A file of one run that is damaged must not take the whole page away.
    """
    try:
        return part(*args, **options)
    except Exception as error:
        log.exception("%s could not be shown", title)
        return problem(f"{title} cannot be shown", error)
