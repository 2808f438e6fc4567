"""The class that users import: everything of ``workbench.api``, the app and the benchmark.

This is the one place that reaches up to the pages, and only when ``app`` is called.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from workbench import api
from workbench.analysis.display import in_notebook

if TYPE_CHECKING:
    import gradio as gr

    from workbench.bench.stored import Benchmark


class Workbench(api.Workbench):
    """One runs directory: its runs, its store, its figures, and the app over them."""

    _app: gr.Blocks | None = None

    def app(self, host: str = "127.0.0.1", port: int = 7860, **options: Any) -> gr.Blocks:
        """Open the browser workbench and return it at once (``.close()`` ends it).

        In a notebook it appears below the cell; called again, the one before is closed first.
        """
        from workbench.pages import serve

        if self._app is not None:
            self._app.close(verbose=False)
        options.setdefault("max_runs", self.launcher.limit)
        self._app = serve(self.runs_dir, host, port, block=False, embed=in_notebook(), **options)
        return self._app

    def benchmark(self, steps: int | None = None) -> Benchmark:
        """What ``workbench bench`` has measured in this runs directory so far, from stored rows.

        Args:
            steps: of the cells to read; None: the longest that are there.

        Raises:
            ValueError: no cell of a benchmark has finished here.
        """
        from workbench.bench.stored import read

        return read(self.runs_dir, steps)
