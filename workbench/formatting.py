"""How values are written for people: text that cannot hide or run anything, numbers, durations.

Pages, notebooks, commands and exported files share these, so that a value reads the same in all.
Whatever a model, a file or another program wrote passes ``visible`` (or ``esc``, ``neutral``) on
its way out.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

NOTHING = "–"
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠", "'")
"""First characters that make a spreadsheet take a text for a formula; the apostrophe that is put
in front of them, so that taking one away always gives the text back."""

_HIDDEN = re.compile(
    "["
    "\x00-\x08\x0b-\x1f\x7f-\x9f"  # control characters but tab and line break: escape sequences
    "\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f"  # soft hyphen, joiners, fillers
    "\u200b-\u200f\u2028-\u202e\u2060-\u206f\u2800\u3164"  # widths of nothing, direction, lines
    "\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\ufffe\uffff"  # variation selectors, byte order marks
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"  # shorthand, music, tags
    "\ud800-\udfff"  # halves of characters, which no encoding can write
    "]"
)
_JOINING = re.compile("[\u0600-\u0dff]")
"""Scripts whose words have joiners in them."""


def visible(value: Any) -> str:
    r"""Text with everything spelled out that could hide, reorder or steer: ``\x1b``, ``\u202e``.

    Tab and line break stay, and what an emoji or a word of a joining script is made of.
    """
    text = str(value)
    return _HIDDEN.sub(lambda found: _spelled(found, text), text)


def _spelled(found: re.Match[str], text: str) -> str:
    at, char = found.start(), found[0]
    before, after = text[at - 1 : at], text[at + 1 : at + 2]
    if char == "\r" and after == "\n":
        return char
    if char in "\ufe0e\ufe0f" and (_is_emoji(before) or (before in "0123456789#*" and before)):
        return char
    if char == "\u200d" and (_is_emoji(before) or before == "\ufe0f") and _is_emoji(after):
        return char
    if char in "\u200c\u200d" and _JOINING.match(before) and _JOINING.match(after):
        return char
    code = ord(char)
    return (
        f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}" if code < 65536 else f"\\U{code:08x}"
    )


def _is_emoji(char: str) -> bool:
    return bool(char) and (
        unicodedata.category(char) == "So" or "\U0001f3fb" <= char <= "\U0001f3ff"
    )


def escaped_json(text: str) -> str:
    """JSON with the same characters as JSON's own escapes: it reads back as it was."""
    return _HIDDEN.sub(_as_json, text)


def _as_json(found: re.Match[str]) -> str:
    if found[0] in "\r\n\t":
        return found[0]
    units = found[0].encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2))


def esc(value: Any) -> str:
    """Text as HTML shows it: markup escaped, what could hide or reorder spelled out."""
    return escape(visible(value), quote=True)


def neutral(text: str) -> str:
    """Text as a cell of a CSV file: an apostrophe in front of what would be taken for a formula."""
    return f"'{text}" if text.startswith(FORMULA_STARTS) else text


def from_cell(cell: str | None) -> str | None:
    """The text that ``neutral`` was given."""
    return cell[1:] if cell is not None and cell.startswith("'") else cell


def plain(value: Any) -> Any:
    """``value`` as JSON can hold it: numpy becomes Python, NaN null, an infinity ``"inf"``."""
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return None if math.isnan(value) else value if math.isfinite(value) else str(value)
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, Sequence | set | frozenset) and not isinstance(value, bytes):
        return [plain(v) for v in value]
    if hasattr(value, "tolist"):  # numpy scalars and arrays, pandas' NaT and NA have no such thing
        return plain(value.tolist())
    return None if is_missing(value) else str(value)


def is_missing(value: Any) -> bool:
    """Whether a scalar is None, NaN, or pandas' NaT or NA."""
    if value is None:
        return True
    differs = value != value
    return type(differs).__name__ == "NAType" or bool(differs)


def num(value: Any, digits: int = 3, signed: bool = False) -> str:
    """A number with three significant digits: ``0.0032``, ``12.3``, ``1,234``, ``6.4e-4``.

    Zeros at the end of a fraction are left out, whole digits are never; an en dash where there is
    no number.
    """
    if is_missing(value):
        return NOTHING
    value = float(value)
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    size = float(f"{abs(value):.{digits - 1}e}") if abs(value) < 10**digits else abs(value)
    if size == 0 or 1e-3 <= size < 1e6:
        places = digits - 1 - math.floor(math.log10(size)) if size else 0
        text = f"{size:,.{max(0, places)}f}"
        text = text.rstrip("0").rstrip(".") if "." in text else text
    else:
        mantissa, _, exponent = f"{size:.{digits - 1}e}".partition("e")
        text = f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"
    if value < 0 and text != "0":
        return "−" + text
    return "+" + text if signed and value > 0 else text


def percent(value: float | None) -> str:
    """A share as a percentage without decimals."""
    return NOTHING if value is None or math.isnan(value) else f"{100 * value:.0f} %"


def duration(seconds: float | None) -> str:
    """Seconds as people say them: ``42 s``, ``3 min 05 s``, ``2 h 10 min``."""
    if seconds is None or not math.isfinite(seconds):
        return NOTHING
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def clipped(text: str, width: int = 80) -> str:
    """Text on one line, at most so many characters of it."""
    flat = " ".join(visible(text[: 4 * width]).splitlines())
    return flat if len(flat) <= width and len(text) <= 4 * width else flat[: width - 1] + "…"


def listed(names: Iterable[Any], most: int = 12) -> str:
    """Names for a message: ``['a', 'b'] and 5 more``, each cut where it is long."""
    known = [repr(clipped(str(name), 40)) for name in names]
    more = f" and {len(known) - most} more" if len(known) > most else ""
    return f"[{', '.join(known[:most])}]{more}"
