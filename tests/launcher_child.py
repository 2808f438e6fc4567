"""A child that speaks the run directory's protocol and nothing else; how it behaves: FAKE_MODE.

well: steps, stops when asked. deaf: ignores stop file and SIGTERM, and has a deaf grandchild.
polite: ignores the stop file, ends on SIGTERM. ranks: has a child in a session of its own.
crash: ends without a word. fail: says failed. lingers: ends half a second after its last word.
odd: fails with half an emoji in its text.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from workbench.store.state import read_state, write_state


def main() -> int:
    run_dir = Path(sys.argv[1])
    mode = os.environ.get("FAKE_MODE", "well")
    steps = read_state(run_dir)["steps"]
    print("child", "resumed" if "--resume" in sys.argv else "fresh", flush=True)
    if mode == "deaf":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        deaf = "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(600)"
        subprocess.Popen([sys.executable, "-c", deaf])
    if mode == "ranks":
        subprocess.Popen(
            [sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True
        )
    if mode == "crash":
        write_state(run_dir, status="running", pid=os.getpid())
        os.kill(os.getpid(), signal.SIGKILL)
    if mode == "fail":
        write_state(run_dir, status="failed", message="ValueError: objective 'vowels' raised")
        return 1
    if mode == "odd":
        text = "ValueError: \ud83d \x1b[31m"
        print(text, flush=True)
        write_state(run_dir, status="failed", message=text)
        return 1
    step = read_state(run_dir)["step"]
    while step < steps:
        if (run_dir / "stop").exists() and mode in ("well", "lingers"):
            write_state(run_dir, status="stopped", step=step)
            time.sleep(0.5 * (mode == "lingers"))
            return 0
        step += 1
        write_state(run_dir, status="running", step=step, steps_per_second=50.0, headline=0.5)
        time.sleep(float(os.environ.get("FAKE_STEP", "0.02")))
    write_state(run_dir, status="finished", step=step)
    time.sleep(0.5 * (mode == "lingers"))
    return 0


sys.exit(main())
