"""What a configuration may point at: files that exist, code that is allowed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from difflib import get_close_matches
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from workbench.config.credentials import found, holds_secret, named
from workbench.config.distribution import problem_of
from workbench.config.io import ConfigError, Problem, to_dict
from workbench.config.run import FUNCTION, RunConfig
from workbench.config.scalarizers import Conductor
from workbench.objectives import OBJECTIVES
from workbench.runs.rundir import WATCHED, LauncherError, read_config, read_identity
from workbench.tasks import offline_file
from workbench.tasks.file import check_head
from workbench.tasks.sources import KINDS, Source, absolute, missing


def with_absolute_paths(config: RunConfig) -> RunConfig:
    """The same with paths that no longer depend on where the command was given."""
    task = config.task
    task = replace(task, path=_source(task.path), eval_path=_source(task.eval_path))
    model = config.policy.model
    policy = replace(config.policy, model=str(_directory(model) or model))
    objectives = tuple(
        replace(o, model=str(_directory(o.model) or o.model)) if o.model else o
        for o in config.objectives
    )
    offline = config.offline
    if offline is not None and offline.source.path is not None:
        source = replace(offline.source, path=_source(offline.source.path))
        offline = replace(offline, source=source)
    return replace(config, task=task, policy=policy, objectives=objectives, offline=offline)


def _source(text: str | None) -> str | None:
    return absolute(text) if text else None


def _directory(model: str) -> Path | None:
    """The directory that a model's name stands for, None for a hub name."""
    if model == "etudes":
        return None
    path = Path(model).expanduser()
    return path.absolute() if path.is_dir() or model.startswith(("/", ".", "~")) else None


def check_config(config: RunConfig) -> None:
    """Refuse what can be seen to fail before anything starts. Raises ConfigError."""
    _check_paths(config)
    _check_objectives(config)
    _check_secrets(config)


def _check_secrets(config: RunConfig) -> None:
    """Refuse what would be written down, shown and exported. Raises ConfigError, never telling."""
    data = to_dict(config)
    message = "holds what looks like a secret; set an environment variable and write env:NAME"
    problems = [Problem(path, message) for path in found(data)]
    problems += [
        Problem(
            path,
            f"{name!r}: a variable is read only where a secret belongs (a name that ends in token, "
            "key, secret, password or authorization, a header, or the webhook)",
        )
        for path, name in named(data)
        if not holds_secret(path)
    ]
    if problems:
        raise ConfigError(problems)


def _check_paths(config: RunConfig) -> None:
    """Refuse files and model directories that are not there. Raises ConfigError."""
    problems = []
    files = [("task.path", config.task.path), ("task.eval_path", config.task.eval_path)]
    for key, value in files:
        try:
            gone = bool(value) and missing(str(value))
        except ValueError as error:
            problems.append(Problem(key, str(error)))
            continue
        if gone:
            problems.append(Problem(key, f"{value!r} does not exist; it must be {KINDS}"))
    if not problems and config.task.name == "file" and config.offline is None:
        try:
            check_head(config.task)
        except (ValueError, OSError) as error:
            problems.append(Problem("task.path", str(error)))
    rows = config.offline.source.path if config.offline is not None else None
    if rows and missing(rows):
        problems.append(Problem("offline.source.path", f"{rows!r} does not exist"))
    elif rows and config.offline is not None:
        try:
            offline_file.check_head(rows, config.offline.source.columns)
        except (ValueError, OSError) as error:
            problems.append(Problem("offline.source.path", str(error)))
    models = [("policy.model", config.policy.model)]
    models += [(f"objectives.{i}.model", o.model or "") for i, o in enumerate(config.objectives)]
    for key, value in models:
        if value.startswith("/") and not Path(value).is_dir():
            allowed = "'etudes', a directory or a hub name"
            problems.append(Problem(key, f"no directory {value!r}; it must be {allowed}"))
    if problems:
        raise ConfigError(problems)


def _check_objectives(config: RunConfig) -> None:
    """Refuse an objective that is neither built in nor given a function. Raises ConfigError."""
    problems = []
    for index, objective in enumerate(config.objectives):
        own = objective.function or objective.model or objective.url or objective.llm
        if own is None and objective.name not in OBJECTIVES:
            near = get_close_matches(objective.name, OBJECTIVES, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            message = (
                f"{objective.name!r} is no built-in objective; {hint}built in are "
                f"{', '.join(OBJECTIVES)}; one of your own needs function: "
                "package.module:function, or a model, a url or an llm"
            )
            problems.append(Problem(f"objectives.{index}.name", message))
    if problems:
        raise ConfigError(problems)


def check_launch(
    config: RunConfig, processes: int = 1, accelerate_config: str | Path | None = None
) -> dict[str, Any]:
    """How the child is launched, as run.json keeps it.

    Args:
        config: its completions are shared among the processes.
        processes: how many processes of this machine train together.
        accelerate_config: a file of ``accelerate config`` that says how.

    Raises:
        ConfigError: the numbers do not fit, or the file does not exist or asks for what cannot be.
    """
    if processes < 1:
        raise ConfigError([Problem("processes", f"{processes} is not allowed; at least 1")])
    rows = config.grpo.prompts_per_step * config.grpo.num_generations
    if config.offline is not None:
        rows = config.offline.update.batch_size
    if rows % processes:
        what = "completions" if config.offline is None else "rows"
        message = f"{processes} processes cannot share {rows} {what} a step evenly"
        raise ConfigError([Problem("processes", message)])
    launch: dict[str, Any] = {"processes": processes} if processes > 1 else {}
    if accelerate_config is not None:
        path = Path(accelerate_config).expanduser().absolute()
        if not path.is_file():
            raise ConfigError([Problem("accelerate_config", f"{str(path)!r} does not exist")])
        problem = problem_of(path)
        if problem is not None:
            raise ConfigError([Problem("accelerate_config", problem)])
        launch["accelerate_config"] = str(path)
    return launch


def functions(config: RunConfig) -> Iterator[tuple[str, str]]:
    """Every ``package.module:function`` and address that the run would call, with its key."""
    for index, objective in enumerate(config.objectives):
        if objective.function:
            yield f"objectives.{index}.function", objective.function
        # whoever may not name code may not make this machine call addresses either
        if objective.url:
            yield f"objectives.{index}.url", objective.url
        if objective.llm:
            yield f"objectives.{index}.llm.url", objective.llm.url
    if config.task.judge:
        yield "task.judge.url", config.task.judge.url
    if config.logging.webhook:
        yield "logging.webhook", config.logging.webhook
    chosen = config.scalarizer
    if isinstance(chosen, Conductor) and chosen.anchor and chosen.anchor.source:
        if FUNCTION.match(chosen.anchor.source) and not chosen.anchor.source.startswith(
            "objective:"
        ):
            yield "scalarizer.anchor.source", chosen.anchor.source


def check_allowed(config: RunConfig, allowed: Sequence[str] | None) -> None:
    """Refuse code, addresses and variables that are not on the allow-list. Raises ConfigError.

    Args:
        config: what is to run.
        allowed: full names (``package.module:function``, ``https://host/path``, ``env:NAME``) or
            patterns of them (``package.*``); None allows all.
    """
    if allowed is None:
        return
    listed = f"allowed are {', '.join(allowed)}" if allowed else "none is allowed here"
    problems = [
        Problem(key, f"{name!r} may not be used: {listed}")
        for key, name in (*functions(config), *named(to_dict(config)))
        if not any(fnmatchcase(name, pattern) for pattern in allowed)
    ]
    if config.policy.trust_remote_code:
        problems.append(Problem("policy.trust_remote_code", "code of models is not allowed here"))
    for name, value in config.grpo.extra.items():
        # texts and mappings of TRL's configuration name files, modules, models and uploads
        if name in ("trust_remote_code", "push_to_hub") or not isinstance(
            value, bool | int | float
        ):
            problems.append(Problem(f"grpo.extra.{name}", "not allowed here"))
    if problems:
        raise ConfigError(problems)


def files(config: RunConfig) -> Iterator[tuple[str, Path]]:
    """Every file and folder that the run would read or write, besides its own, with its key.

    Args:
        config: with absolute paths, see ``with_absolute_paths``.
    """
    task = config.task
    for key, text in (("task.path", task.path), ("task.eval_path", task.eval_path)):
        source = Source.parse(text).path if text else None
        if source is not None:
            yield key, source
    if config.offline is not None and config.offline.source.path:
        source = Source.parse(config.offline.source.path).path
        if source is not None:
            yield "offline.source.path", source
    models = [("policy.model", config.policy.model)]
    models += [(f"objectives.{i}.model", o.model or "") for i, o in enumerate(config.objectives)]
    for key, model in models:
        if Path(model).is_absolute():  # anything else is a name of the hub
            yield key, Path(model)
    judges = [(f"objectives.{i}.llm", o.llm) for i, o in enumerate(config.objectives)]
    for key, judge in [*judges, ("task.judge", task.judge)]:
        if judge is not None and judge.cache:
            yield f"{key}.cache", Path(judge.cache).expanduser().absolute()


def check_readable(paths: Iterable[tuple[str, Path]], folders: Sequence[str | Path]) -> None:
    """Refuse paths that lie, or lead by a link, outside of all folders. Raises ConfigError.

    What is refused is not looked at: the answer is the same whether it exists or not.
    """
    allowed = [Path(folder).expanduser().resolve() for folder in folders]
    listed = ", ".join(map(str, allowed))
    problems = [
        Problem(key, f"{str(path)!r} may not be used: allowed is what lies in {listed}")
        for key, path in paths
        if not any(path.resolve().is_relative_to(folder) for folder in allowed)
    ]
    if problems:
        raise ConfigError(problems)


def check_runnable(run_dir: Path, allowed: Sequence[str] | None) -> None:
    """Refuse to run code that a run's own directory names, where it is not allowed here.

    Raises:
        LauncherError: the run was imported: its configuration is of elsewhere, and its
            checkpoints are not here.
        ConfigError: its configuration names code that is not on the allow-list.
    """
    identity = read_identity(run_dir)
    if identity.get("kind") == WATCHED:
        raise LauncherError(
            f"run {identity['name']!r} was trained by a script of its own: start that again"
        )
    if "imported" in identity:
        raise LauncherError(
            f"run {identity['name']!r} was imported: only its rows are here; start a new run from "
            "its configuration"
        )
    check_allowed(read_config(run_dir), allowed)
