"""The app as a child of the tests: ends with them, and on demand starts a child that only pretends.

Usage: python app_child.py RUNS_DIR PORT [fake]
"""

import os
import sys
import threading
import time
from pathlib import Path

from workbench.api.workbench import Workbench
from workbench.pages import serve


def _end_with(parent: int) -> None:
    """A test run that was killed cannot stop its app: the app looks for itself."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
fake = [sys.executable, str(Path(__file__).with_name("cli_child.py"))]
serve(Workbench(sys.argv[1], command=fake if "fake" in sys.argv else None), port=int(sys.argv[2]))
