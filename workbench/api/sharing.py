"""Push a folder to the hub: rollouts as a data set, a checkpoint as a model.

Everything goes through ``huggingface_hub``: where it points (``HF_ENDPOINT``) and who asks
(``HF_TOKEN`` or ``hf auth login``) is its business, and no token passes through here.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Literal

REPO = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9][A-Za-z0-9._-]*\Z")


class PushError(OSError):
    """The hub did not take it; the text says why and what to do."""


def check_name(repo: str) -> None:
    """Refuse what is no ``OWNER/NAME``, before anything is written. Raises ValueError."""
    if not REPO.match(repo):
        raise ValueError(f"{repo!r} is no repository; write OWNER/NAME")


def push_folder(
    folder: Path, repo: str, kind: Literal["dataset", "model"], private: bool = True
) -> str:
    """Create the repository where it is missing and upload a folder; returns its address.

    Args:
        folder: what to upload.
        repo: ``OWNER/NAME``.
        kind: ``dataset`` or ``model``.
        private: whether a repository that is made now is private.

    Raises:
        ValueError: ``repo`` is no such name.
        PushError: the hub cannot be reached, or refuses.
    """
    check_name(repo)
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    api = HfApi(endpoint=os.environ.get("HF_ENDPOINT"))
    try:
        api.create_repo(repo, repo_type=kind, private=private, exist_ok=True)
        done = api.upload_folder(
            repo_id=repo,
            folder_path=folder,
            repo_type=kind,
            commit_message="Upload from MAESTRO workbench",
        )
    except HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else None
        login = "; log in with `hf auth login`, or set HF_TOKEN" if status in (401, 403) else ""
        first = str(error).strip().partition("\n")[0]
        raise PushError(f"{repo}: the hub refused: {first}{login}") from error
    except (OSError, ConnectionError) as error:
        first = str(error).strip().partition("\n")[0]
        raise PushError(f"{repo}: the hub cannot be reached: {first}") from error
    return str(done.commit_url)
