"""An evaluation that measures nothing: it says how far it is, may wait, may fail to store."""

import json
import os
import sys
import time

print("progress: half", file=sys.stderr, flush=True)
time.sleep(float(os.environ.get("FAKE_SECONDS", "0")))
if os.environ.get("FAKE_PROBLEM"):
    print("warning: " + os.environ["FAKE_PROBLEM"], file=sys.stderr)
print(json.dumps({"phase": "last-report", "step": 3, "means": {"all": {"judge": 0.5}}}))
