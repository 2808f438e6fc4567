"""Import Gradio without its rewriting of type stubs, which is two thirds of the time it takes.

On every import Gradio parses the source of each of its components, twice, to keep ``.pyi`` files
for editors up to date. A class without a source file is passed over, so for the length of this
import Gradio, and nobody else, is told that there is none.
"""

from __future__ import annotations

import inspect
import os
import sys
from typing import Any

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

_getfile = inspect.getfile


def _no_file_for_stubs(thing: Any) -> str:
    if sys._getframe(1).f_globals.get("__name__") == "gradio.component_meta":
        raise OSError("no stubs are written here")
    return _getfile(thing)


inspect.getfile = _no_file_for_stubs
try:
    import gradio as gr
finally:
    inspect.getfile = _getfile

__all__ = ["gr"]
