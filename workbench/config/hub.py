"""Models and data sets by directory or hub name: what went wrong, in words that help.

Light: the libraries that load are imported by whoever loads.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

TRUST = "policy.trust_remote_code"


@contextmanager
def loading(key: str, name: str, kind: str = "model") -> Iterator[None]:
    """Errors of what is loaded inside name the setting, the model or data set, and a way out.

    Args:
        key: The setting that names it, e.g. ``policy.model``.
        name: Directory or hub name.
        kind: What it is: ``model`` or ``dataset``.

    Raises:
        ValueError: It brings code of its own, which is not allowed to run.
        OSError: It is not there, or the hub could not be reached.
    """
    try:
        yield
    except ValueError as error:
        if "trust_remote_code" not in str(error):
            raise
        allow = (
            f"read that code, then allow it with {TRUST}: true"
            if key == "policy.model"
            else f"code is run for the policy alone, and only with {TRUST}: true"
        )
        text = f"{key}: {name!r} brings code of its own, which is not run; {allow}"
        raise ValueError(text) from error
    except OSError as error:
        first = str(error).strip().partition("\n")[0]
        fetch = f"hf download {name}" + (" --repo-type dataset" if kind == "dataset" else "")
        raise OSError(
            f"{key}: {name!r} cannot be loaded. It must be a directory of this machine that holds "
            f"a {kind}, or a hub name that is in the cache or can be reached. Where there is "
            f"network, `{fetch}` fetches it once. The cause: {first}"
        ) from error
