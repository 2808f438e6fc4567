"""The browser workbench over ``runs``: ``python app.py``, or ``from app import build_app``."""

from workbench.pages import build_app, serve

__all__ = ["build_app"]

if __name__ == "__main__":
    serve()
