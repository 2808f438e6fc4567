"""How values are written for people: text that cannot hide or run anything, numbers, shares.

Pages and notebook displays share these, so that a value reads the same in both.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from html import escape
from typing import Any

import pandas as pd

NOTHING = "–"

# Written so that no completion can hide or reorder what stands beside it.
_INVISIBLE = {ord(c): f"\\u{ord(c):04x}" for c in "\u200b\u200c\u200e\u200f\u2060\ufeff\u00ad"}
_INVISIBLE |= {i: f"\\u{i:04x}" for i in (*range(0x202A, 0x202F), *range(0x2066, 0x206A))}
_INVISIBLE |= {i: f"\\x{i:02x}" for i in (*range(0, 9), 11, 12, *range(14, 32), *range(127, 160))}


def visible(value: Any) -> str:
    """Text with control and direction characters spelled out."""
    return str(value).translate(_INVISIBLE)


def esc(value: Any) -> str:
    """Text as HTML shows it: markup escaped, control and direction characters spelled out."""
    return escape(visible(value), quote=True)


def num(value: Any, digits: int = 3, signed: bool = False) -> str:
    """A number with three significant digits, two below 1; an en dash where there is none."""
    if pd.isna(value):
        return NOTHING
    value = float(value)
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    size = abs(value)
    if size == 0 or 1e-3 <= size < 10**digits:
        power = math.floor(math.log10(size)) if size else 0
        places = max(0, digits - 1 - max(0, power), digits - 2 - power if power < 0 else 0)
        text = f"{size:.{places}f}"
    elif size >= 10**digits and size < 1e6:
        text = f"{size:,.0f}"
    else:
        text = f"{size:.{digits - 1}e}".replace("e-0", "e-").replace("e+0", "e")
    if value < 0 and float(text.replace(",", "")) != 0:
        return "−" + text
    return "+" + text if signed and value > 0 else text


def percent(value: float | None) -> str:
    """A share as a percentage without decimals."""
    return NOTHING if value is None or math.isnan(value) else f"{100 * value:.0f} %"


def clipped(text: str, width: int = 80) -> str:
    """Text on one line, at most so many characters of it."""
    flat = " ".join(visible(text[: 4 * width]).splitlines())
    return flat if len(flat) <= width and len(text) <= 4 * width else flat[: width - 1] + "…"


def listed(names: Iterable[Any], most: int = 12) -> str:
    """Names for a message: ``['a', 'b'] and 5 more``, each cut where it is long."""
    known = [repr(clipped(str(name), 40)) for name in names]
    more = f" and {len(known) - most} more" if len(known) > most else ""
    return f"[{', '.join(known[:most])}]{more}"
