"""The browser workbench: Launch, Runs, Inspect, Compare, Rate.

``build_app`` makes the Gradio app over a runs directory, ``serve`` runs it until it is told to end.
"""

from workbench.pages.app import build_app
from workbench.pages.server import serve

__all__ = ["build_app", "serve"]
