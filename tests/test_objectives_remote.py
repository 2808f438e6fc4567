"""Rewards and grades from a server that misbehaves in every way a server can."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest
from stub_server import stub_server

from workbench.config import ObjectiveConfig, TaskConfig
from workbench.config.environment import MARK
from workbench.config.io import ConfigError, load
from workbench.config.judge import LlmConfig
from workbench.objectives import http, resolve
from workbench.objectives.http import EndpointError, StoppedWaiting
from workbench.objectives.llm import BudgetSpent, LlmJudge, make_llm
from workbench.objectives.paid import Paid
from workbench.objectives.remote import make_remote
from workbench.runs.validation import check_allowed, check_config
from workbench.tasks import load_task

PROMPTS, TEXTS = ["a", "b", "c"], ["one", "three", "seventeen"]


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Pauses are written down instead of waited for."""
    pauses: list[float] = []
    monkeypatch.setattr(http, "_wait", lambda seconds, name: pauses.append(seconds))
    return pauses


def lengths(payload: Any) -> Any:
    return {"rewards": [float(len(text)) for text in payload["completions"]]}


def rewards(function: Any, texts: Any = TEXTS, **columns: Any) -> Any:
    return function(PROMPTS[: len(texts)], texts, [[1]] * len(texts), **columns)


# -- an endpoint of one's own --------------------------------------------------------------------


def test_rows_are_sent_in_batches_with_their_columns_and_come_back_in_order() -> None:
    with stub_server(lengths) as stub:
        remote = make_remote(stub.url, batch_size=2)
        found = rewards(remote, reference=["x", None, "y"], kind=["k"] * 3, secret=[1, 2, 3])
        assert found == [3.0, 5.0, 9.0]
        first = min(stub.seen, key=lambda payload: payload["prompts"][0])
        assert first == {
            "prompts": ["a", "b"],
            "completions": ["one", "three"],
            "columns": {"reference": ["x", None], "kind": ["k", "k"]},
        }
        assert [len(payload["prompts"]) for payload in stub.seen] in ([2, 1], [1, 2])


@pytest.mark.parametrize(
    "fault",
    [
        500,
        503,
        429,
        "hang up",
        ("slow", 0.4),
        b"<html>gateway</html>",
        b"",
        {"rewards": [1.0]},
        {"rewards": [1.0, 2.0, 3.0, 4.0]},
        {"rewards": [1.0, "good", 2.0]},
        {"rewards": [1.0, True, 2.0]},
        b'{"rewards": [1, NaN, 2]}',
        {"scores": [1.0, 2.0, 3.0]},
        b'"nothing of use"',
    ],
)
def test_a_fault_is_waited_for_and_never_scores(fault: Any, impatient: list[float]) -> None:
    with stub_server(lengths, plan=[fault, fault]) as stub:
        assert rewards(make_remote(stub.url, timeout=0.2)) == [3.0, 5.0, 9.0]
        assert len(stub.seen) == 3 and len(impatient) == 2
        assert impatient[0] < impatient[1]  # each pause is longer than the one before


def test_null_means_does_not_apply() -> None:
    with stub_server(lambda _: {"rewards": [1, None, 0.5]}) as stub:
        assert rewards(make_remote(stub.url)) == [1, None, 0.5]


def test_patience_ends_and_the_error_says_how_to_go_on() -> None:
    with stub_server(lengths, plan=[500] * 99) as stub:
        with pytest.raises(
            EndpointError, match=r"'remote' at http.*status 500, still after.*resum"
        ):
            rewards(make_remote(stub.url, patience=0.5))
    with pytest.raises(EndpointError, match="Connection refused"):
        rewards(make_remote("http://127.0.0.1:9/score", patience=0.5))


def test_what_cannot_mend_itself_is_not_repeated(impatient: list[float]) -> None:
    with stub_server(lengths, plan=[401]) as stub:
        with pytest.raises(EndpointError, match="status 401: 'the stub is in a mood'"):
            rewards(make_remote(stub.url))
        assert len(stub.seen) == 1 and impatient == []


def test_a_key_is_sent_and_said_nowhere(monkeypatch: Any, capsys: Any) -> None:
    monkeypatch.setenv("REWARD_KEY", "whisper")
    with stub_server(lengths, plan=[500]) as stub:
        config = ObjectiveConfig(
            name="far",
            url=f"{stub.url}/score?tag=hush",
            params={"api_key": "env:REWARD_KEY", "batch_size": 8},
        )
        assert rewards(resolve(config).function) == [3.0, 5.0, 9.0]
        assert stub.headers[-1]["Authorization"] == "Bearer whisper"
        said = capsys.readouterr().out
        assert "objective 'far' at http://127.0.0.1" in said and "waits" in said
        assert "whisper" not in said and "hush" not in said and "whisper" not in repr(config)


def test_a_run_that_is_to_stop_does_not_wait(monkeypatch: Any, tmp_path: Path) -> None:
    monkeypatch.undo()  # real pauses
    monkeypatch.setenv(MARK, str(tmp_path))
    with stub_server(lengths, plan=[500] * 99) as stub:
        threading.Timer(0.3, (tmp_path / "stop").touch).start()
        began = time.monotonic()
        with pytest.raises(StoppedWaiting, match="stopped on request while objective 'remote'"):
            rewards(make_remote(stub.url))
        assert time.monotonic() - began < 30


# -- a language model ----------------------------------------------------------------------------


def says(content: str) -> Any:
    return {"choices": [{"message": {"role": "assistant", "content": content}}]}


def by_length(payload: Any) -> Any:
    """A grade that depends on the response: its letters, 10 at most."""
    text = payload["messages"][1]["content"].split("<response ")[1].split("\n")[1]
    return says(f'Here you are: {{"score": {min(10, len(text))}}}')


def judge(url: str, folder: Path, **settings: Any) -> LlmJudge:
    config = LlmConfig(model="tiny", url=f"{url}/v1", **settings)
    return LlmJudge(config, paid=Paid(folder / "judge.sqlite", "run-1"))


def grades(asked: LlmJudge, texts: Any = TEXTS) -> list[float | None]:
    return asked.grade([(p, None, t) for p, t in zip(PROMPTS, texts, strict=False)])


def test_completions_are_graded_side_by_side_and_paid_once(tmp_path: Path) -> None:
    with stub_server(by_length, plan=[("slow", 0.2)] * 3) as stub:
        assert grades(judge(stub.url, tmp_path)) == [0.3, 0.5, 0.9]
        assert len(stub.seen) == 3 and stub.most > 1
        assert grades(judge(stub.url, tmp_path)) == [0.3, 0.5, 0.9]  # another process, say
        assert len(stub.seen) == 3
        asked = stub.seen[0]
        assert asked["model"] == "tiny" and asked["temperature"] == 0.0
        assert "0 (worst) to 10\n(best)" in asked["messages"][0]["content"]
        # another rubric is another question
        assert grades(judge(stub.url, tmp_path, rubric="Is it short?"))[0] == 0.3
        assert len(stub.seen) == 6


def test_the_same_row_twice_in_a_batch_is_asked_once(tmp_path: Path) -> None:
    with stub_server(by_length) as stub:
        row = ("a", "ref", [{"role": "assistant", "content": "four"}])
        assert judge(stub.url, tmp_path).grade([row] * 5) == [0.4] * 5
        assert len(stub.seen) == 1
        material = stub.seen[0]["messages"][1]["content"]
        assert "\nref\n" in material and "\nfour\n" in material


@pytest.mark.parametrize(
    "fault",
    [
        500,
        "hang up",
        ("slow", 0.4),
        b"not json",
        {"choices": []},
        {"choices": [{"message": {}}]},
        {**says("x"), "choices": says("x")["choices"] * 2},
        says("I would say nine."),
        says('{"score": "nine"}'),
        says('{"score": 11}'),
        says('{"score": -1}'),
        says('{"score": 3} or {"score": 4}'),
        says('{"score": NaN}'),
    ],
)
def test_a_judge_that_misbehaves_is_asked_again(fault: Any, tmp_path: Path) -> None:
    with stub_server(by_length, plan=[fault]) as stub:
        assert grades(judge(stub.url, tmp_path, timeout=0.2), ["one"]) == [0.3]
        assert len(stub.seen) == 2


def test_a_grade_that_never_comes_is_none_and_not_kept(tmp_path: Path) -> None:
    with stub_server(lambda _: says('{"score": 99}')) as stub:
        stubborn = judge(stub.url, tmp_path)
        assert grades(stubborn) == [None, None, None]
        assert len(stub.seen) == 9  # three attempts each
        with pytest.raises(EndpointError, match="graded none of 4.*99 is not between 0 and 10"):
            stubborn.grade([("p", None, str(i)) for i in range(4)])
        stub.answer = by_length
        assert grades(stubborn) == [0.3, 0.5, 0.9]


def test_a_budget_counts_every_request_of_a_run_and_outlives_a_restart(tmp_path: Path) -> None:
    with stub_server(by_length, plan=[500]) as stub:
        assert grades(judge(stub.url, tmp_path, budget=3), ["one", "two"]) == [0.3, 0.3]
        again = judge(stub.url, tmp_path, budget=3)
        with pytest.raises(BudgetSpent, match="the budget of 3 requests is spent"):
            grades(again, ["another"])
        assert grades(again, ["one"]) == [0.3]  # what was paid for stays
        other = LlmJudge(again.config, paid=Paid(tmp_path / "judge.sqlite", "run-2"))
        assert grades(other, ["another"]) == [0.7]
        assert len(stub.seen) == 4 and again.paid.sent() == 3


def test_as_a_judge_it_says_none_where_it_cannot_say(tmp_path: Path) -> None:
    with stub_server(by_length) as stub:
        asked = judge(stub.url, tmp_path, budget=2, parallel=1)
        found = asked(PROMPTS, TEXTS)
        assert found[:2] == [0.3, 0.5] and found[2] is None


def test_an_objective_is_a_grade_in_zero_to_one(tmp_path: Path) -> None:
    with stub_server(by_length) as stub:
        config = LlmConfig(model="tiny", url=stub.url, cache=str(tmp_path / "c.sqlite"))
        objective = resolve(ObjectiveConfig(name="grade", llm=config))
        assert (objective.lower, objective.upper) == (0.0, 1.0)
        assert rewards(objective.function, reference=None) == [0.3, 0.5, 0.9]
        assert rewards(make_llm(config, "grade"), reference=["r", None, None])[1:] == [0.5, 0.9]


# -- configurations ------------------------------------------------------------------------------


def test_a_file_task_may_have_a_language_model_for_a_judge(tmp_path: Path) -> None:
    (tmp_path / "p.jsonl").write_text("".join(f'{{"prompt": "say {i}"}}\n' for i in range(5)))
    task = {"name": "file", "path": str(tmp_path / "p.jsonl")}
    with stub_server(by_length) as stub:
        llm = {"model": "tiny", "url": stub.url, "cache": str(tmp_path / "c.sqlite")}
        loaded = load_task(TaskConfig(**task, judge=LlmConfig(**llm)))
        assert loaded.judge is not None and loaded.judge([loaded.train[0].prompt], ["nine"]) == [
            0.4
        ]
    anchor = {"name": "conductor", "meta_reward": "anchor", "anchor": {"source": "judge"}}
    assert load({"task": {**task, "judge": llm}, "scalarizer": anchor}).task.judge is not None
    with pytest.raises(ConfigError, match=r"without task\.judge"):
        load({"task": task, "scalarizer": anchor})
    with pytest.raises(ConfigError, match="etudes have their own judge"):
        load({"task": {"judge": llm}})


@pytest.mark.parametrize(
    ("objective", "message"),
    [
        ({"name": "far", "url": "ftp://x"}, "must start with http"),
        ({"name": "far", "url": "http://x", "model": "y"}, "url and model: only one"),
        ({"name": "far", "llm": {"model": "m", "api_key": "sk-1"}}, "must name an environment"),
        ({"name": "far", "llm": {"model": "m", "url": "x"}}, "url"),
        ({"name": "far"}, "a model, a url or an llm"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(objective: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check_config(load({"objectives": [objective]}))


def test_a_built_in_name_and_an_unknown_parameter_are_refused() -> None:
    with pytest.raises(ValueError, match="'length' is built in"):
        resolve(ObjectiveConfig(name="length", url="http://x"))
    with pytest.raises(ValueError, match=r"far\.params: .*unexpected keyword.*'retries'"):
        resolve(ObjectiveConfig(name="far", url="http://x", params={"retries": 3}))


def test_where_code_is_not_allowed_addresses_are_not_either() -> None:
    config = load({"objectives": [{"name": "far", "url": "http://rewards.local/score"}]})
    check_allowed(config, ["http://rewards.local/*"])
    with pytest.raises(ConfigError, match=r"objectives\.0\.url"):
        check_allowed(config, [])
