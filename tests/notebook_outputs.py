"""Run notebooks and keep their outputs light: each figure as one small picture.

Usage::

    python tests/notebook_outputs.py             # all of them; `make notebooks-save`
    python tests/notebook_outputs.py 01 07       # those whose names begin so

A plotly figure is kept as JSON by Jupyter: heavy, and nothing on a code host. Here Chromium draws
it into a PNG that every reader shows.
"""

from __future__ import annotations

import base64
import io
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nbformat
import plotly
from browser import chromium
from nbclient import NotebookClient
from PIL import Image
from playwright.sync_api import Page

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"
PLOTLY = Path(plotly.__file__).parent / "package_data" / "plotly.min.js"
FIGURE, PICTURE = "application/vnd.plotly.v1+json", "image/png"
WIDTH, HEIGHT = 760, 320
SECONDS = 1800
DRAW = """
async ([figure, width, height]) => {
    const place = document.createElement("div");
    document.body.append(place);
    await Plotly.newPlot(place, figure.data, {...figure.layout, width, height});
    const address = await Plotly.toImage(place, {format: "png", width, height});
    place.remove();
    return address;
}
"""


def execute(path: Path) -> nbformat.NotebookNode:
    """The notebook with its outputs. Raises CellExecutionError when a cell fails."""
    book = nbformat.read(path, 4)
    NotebookClient(
        book,
        timeout=SECONDS,
        startup_timeout=600,
        kernel_name="python3",
        record_timing=False,
        resources={"metadata": {"path": str(path.parent)}},
    ).execute()
    return book


@contextmanager
def drawing() -> Iterator[Page]:
    """A blank page that can draw plotly figures, without a network."""
    with chromium() as browser:
        page = browser.new_page()
        page.add_script_tag(path=str(PLOTLY))
        yield page


def picture(page: Page, figure: dict[str, Any]) -> str:
    """A figure as PNG, base64."""
    height = figure["layout"].get("height", HEIGHT)
    address = page.evaluate(DRAW, [figure, WIDTH, height])
    drawn = Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2])))
    small = io.BytesIO()
    drawn.convert("RGB").quantize(64).save(small, "PNG", optimize=True)
    return base64.b64encode(small.getvalue()).decode()


def lighten(book: nbformat.NotebookNode, page: Page) -> None:
    """Replace figures by pictures; drop what differs from run to run and says nothing."""
    for cell in book.cells:
        cell.metadata.pop("execution", None)
        for output in cell.get("outputs", ()):
            data = output.get("data", {})
            if FIGURE in data:
                output["data"] = {PICTURE: picture(page, data[FIGURE]), "text/plain": "Figure"}
                output["metadata"] = {}
            output.pop("transient", None)
    book.metadata.pop("widgets", None)
    book.metadata["language_info"] = {"name": "python"}


def main(wanted: list[str]) -> int:
    """Run and save; returns the exit status."""
    paths = sorted(NOTEBOOKS.glob("*.ipynb"))
    chosen = [p for p in paths if not wanted or p.name.startswith(tuple(wanted))]
    books = []
    for path in chosen:
        began = time.perf_counter()
        books.append(execute(path))
        print(f"{path.name}: {time.perf_counter() - began:.0f} s", flush=True)
    with drawing() as page:
        for path, book in zip(chosen, books, strict=True):
            lighten(book, page)
            nbformat.write(book, path)
            pictures = sum(
                len(base64.b64decode(output["data"][PICTURE]))
                for cell in book.cells
                for output in cell.get("outputs", ())
                if PICTURE in output.get("data", {})
            )
            print(f"{path.name}: {path.stat().st_size:,} bytes, {pictures:,} of them pictures")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
