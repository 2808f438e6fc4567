"""Out to where people are: forms that other tools read, and a stub of the hub."""

from __future__ import annotations

import base64
import json
import math
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from workbench import Workbench
from workbench.analysis.outward import preference_pairs
from workbench.api.sharing import check_name
from workbench.store.errors import StoreError

ROWS = [
    # prompt, completion, advantage, reward a, truncated
    ("p", "good", 1.0, 0.5, False),
    ("p", "cut", 2.0, 0.9, True),
    ("p", "bad", -1.0, 0.1, False),
    ("q", "same", 1.0, 0.5, False),
    ("q", "same", -1.0, 0.5, False),
    ("r", "x", 0.0, None, False),
    ("r", "y", 0.0, 0.2, False),
]


@pytest.fixture(scope="module")
def wb(tmp_path_factory):
    root = tmp_path_factory.mktemp("outward")
    rows = [
        {
            "step": 0, "prompt": p, "completion": c, "advantage": a, "truncated": t,
            "rewards": {"a": r, "b": 1.0} if p != "r" else {"c": r},
        }
        for p, c, a, r, t in ROWS
    ]  # fmt: skip
    (root / "x.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    wb = Workbench(root / "runs")
    wb.import_(root / "x.jsonl", "x")
    return wb


def pairs(wb, by):
    found = preference_pairs(wb.store, wb.rollouts(["x"]), by)
    return [(p["prompt"], p["chosen"], p["rejected"]) for p in found]


def test_pairs_are_the_best_and_the_worst_of_a_group(wb):
    # cut is best but was cut off; q has one text twice; r is flat by advantage
    assert pairs(wb, "advantage") == [("p", "good", "bad")]
    assert pairs(wb, "reward:a") == [("p", "good", "bad")]
    assert pairs(wb, "reward:c") == []  # x has none, so that y stands alone
    with pytest.raises(StoreError, match=r"no reward 'z'; there are \['a', 'b', 'c'\]"):
        pairs(wb, "reward:z")
    with pytest.raises(StoreError, match="by: 'taste' unknown; allowed are advantage, scalar"):
        pairs(wb, "taste")


def test_votes_of_people_make_pairs(wb):
    assert pairs(wb, "votes") == []
    group = wb.rollouts("x", step=0).query("prompt == 'r'").group_id.iloc[0]
    wb.annotate("x", "vote", rater="ann", split="train", step=0, group_id=group, sample=1)
    assert pairs(wb, "votes") == [("r", "y", "x")]


def test_a_dataset_is_read_by_datasets_with_its_card(wb, tmp_path):
    from datasets import load_dataset

    wb.export("x", tmp_path / "out", "datasets")
    code_cache = str(tmp_path / "cache")
    rows = load_dataset(str(tmp_path / "out"), split="train", cache_dir=code_cache)
    assert rows["completion"] == wb.rollouts("x").completion.tolist()
    assert rows[0]["rewards"] == {"a": 0.5, "b": 1.0, "c": None}
    flat = [row["rewards"]["c"] for row in rows if row["prompt"] == "r"]
    assert math.isnan(flat[0]) and flat[1] == 0.2
    card = (tmp_path / "out" / "README.md").read_text()
    assert card.startswith("---\n") and "7 completions of 3 prompts" in card


def test_pairs_and_samples_are_written_as_lines(wb, tmp_path):
    (file,) = wb.export("x", tmp_path / "dpo", "dpo")
    (pair,) = [json.loads(line) for line in file.read_text().splitlines()]
    assert list(pair) == ["prompt", "chosen", "rejected", "score_chosen", "score_rejected"]
    (file,) = wb.export("x", tmp_path / "lm", "lm-eval")
    samples = [json.loads(line) for line in file.read_text().splitlines()]
    assert [s["resps"] for s in samples] == [[["good", "cut", "bad"]], [["same"] * 2], [["x", "y"]]]
    assert samples[0]["arguments"] == [["p", {}]] and samples[0]["a"] == pytest.approx(0.5)
    with pytest.raises(StoreError, match="exists"):
        wb.export("x", tmp_path / "lm", "lm-eval")


class Hub(BaseHTTPRequestHandler):
    """As much of a hub as an upload needs."""

    calls: list = []
    status = 200

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        type(self).calls.append((self.path, body))
        if self.status != 200:
            return self._answer({"error": "no"}, self.status)
        if self.path.endswith("/repos/create"):
            return self._answer({"url": f"{self.address}/datasets/me/rows", "name": "me/rows"})
        if "preupload" in self.path:
            asked = json.loads(body)["files"]
            files = [
                {"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in asked
            ]
            return self._answer({"files": files})
        return self._answer(
            {
                "commitUrl": f"{self.address}/datasets/me/rows/commit/1",
                "commitOid": "1",
                "commitMessage": "m",
            }
        )

    def do_GET(self):
        type(self).calls.append((self.path, b""))
        self._answer({"sha": "0", "id": "me/rows", "siblings": []}, self.status)

    @property
    def address(self):
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def _answer(self, value, status=200):
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args):
        pass


@pytest.fixture
def hub():
    """A stub of the hub, and what a process needs to find it."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Fresh", (Hub,), {"calls": []}))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_address[1]}"
    yield server.RequestHandlerClass, os.environ | {
        "HF_ENDPOINT": address, "HF_TOKEN": "hf_none", "HF_HUB_OFFLINE": "0",
    }  # fmt: skip
    server.shutdown()


def push(wb, env, *more):
    command = [sys.executable, "-m", "workbench", "export", "x", "--push", "me/rows", *more]
    command += ["--runs-dir", str(wb.runs_dir)]
    return subprocess.run(command, capture_output=True, text=True, env=env, check=False)


def test_rollouts_are_pushed_to_a_hub(wb, hub):
    stub, env = hub
    done = push(wb, env)
    assert done.returncode == 0 and done.stdout.strip().endswith("/commit/1"), done.stderr
    create = next(json.loads(body) for path, body in stub.calls if path.endswith("create"))
    assert (create["name"], create["type"], create["visibility"]) == ("rows", "dataset", "private")
    commit = next(body for path, body in stub.calls if "/commit/" in path).splitlines()
    files = [json.loads(line) for line in commit if b'"file"' in line]
    sent = {f["value"]["path"]: base64.b64decode(f["value"]["content"]) for f in files}
    assert set(sent) == {"README.md", "data/rollouts.parquet"}
    assert sent["data/rollouts.parquet"][:4] == b"PAR1"


def test_a_hub_that_refuses_is_told_in_one_line(wb, hub):
    stub, env = hub
    stub.status = 401
    done = push(wb, env)
    assert done.returncode != 0 and "the hub refused" in done.stderr
    assert "HF_TOKEN" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize("name", ["rows", "a/b/c", "../x/y", "a b/c", ""])
def test_a_name_that_is_none_is_refused_before_anything_is_written(name):
    with pytest.raises(ValueError, match="write OWNER/NAME"):
        check_name(name)
