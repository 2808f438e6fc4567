"""The browser workbench: Launch, Runs, Inspect, Compare, Rate.

``build_app`` makes the Gradio app over a runs directory, ``serve`` runs it until it is told to end.
"""

__all__ = ["build_app", "serve"]


def __getattr__(name: str) -> object:
    """Load Gradio on first use: notebooks ask this package questions that need none."""
    if name == "build_app":
        from workbench.pages.app import build_app

        return build_app
    if name == "serve":
        from workbench.pages.serving import serve

        return serve
    raise AttributeError(f"module 'workbench.pages' has no attribute {name!r}")
