"""How completions are drawn: the same everywhere, and known with the probability that they had."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny_models import tiny_model, tiny_tokenizer

from workbench.config.io import load
from workbench.train.sampling import Sampling, generate, isolated_rng

PROMPTS = [[3, 4, 5], [6]]


def drawn(model, sampling, prompts=PROMPTS, seed=0):  # type: ignore[no-untyped-def]
    with isolated_rng(seed):
        return generate(model, tiny_tokenizer(), prompts, sampling, [2])


def distribution(model, prompt):  # type: ignore[no-untyped-def]
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([prompt])).logits[0, -1]
    return torch.softmax(logits.double(), 0).numpy()


def nucleus(p, top_p):  # type: ignore[no-untyped-def]
    """The smallest set of most likely tokens that holds top_p, renormalised."""
    order = np.argsort(-p)
    kept = order[: int(np.searchsorted(np.cumsum(p[order]), top_p)) + 1]
    cut = np.zeros_like(p)
    cut[kept] = p[kept] / p[kept].sum()
    return cut


def test_a_token_has_the_probability_of_what_was_left_to_draw_from() -> None:
    model = tiny_model(initializer_range=0.4)
    p = distribution(model, PROMPTS[0])
    cut = {
        "top_p": nucleus(p, 0.5),
        "top_k": np.where(p >= np.sort(p)[-3], p, 0.0) / np.sort(p)[-3:].sum(),
        "min_p": np.where(p >= 0.4 * p.max(), p, 0.0) / p[p >= 0.4 * p.max()].sum(),
        "suppress": np.where(np.arange(40) == p.argmax(), 0.0, p) / (1.0 - p.max()),
    }
    settings = {
        "top_p": {"top_p": 0.5},
        "top_k": {"top_k": 3},
        "min_p": {"min_p": 0.4},
        "suppress": {"others": {"suppress_tokens": [int(p.argmax())]}},
    }
    for name, expected in cut.items():
        sampling = Sampling(1, 1, **settings[name])
        ids, logps = drawn(model, sampling, [PROMPTS[0]] * 50)
        assert logps is not None and not sampling.plain
        found = np.exp([row[0] for row in logps])
        tokens = [row[0] for row in ids]
        np.testing.assert_allclose(found, expected[tokens], rtol=1e-4, err_msg=name)
    assert drawn(model, Sampling(1, 4))[1] is None  # plain: the scoring pass knows them


def test_longer_completions_have_a_probability_for_each_token() -> None:
    model = tiny_model(initializer_range=0.4)
    ids, logps = drawn(model, Sampling(1, 5, top_k=4), PROMPTS * 4)
    assert logps is not None
    for prompt, row, values in zip(PROMPTS * 4, ids, logps, strict=True):
        assert len(row) == len(values)
        for place, token in enumerate(row):
            p = distribution(model, [*prompt, *row[:place]])
            expected = p[token] / np.sort(p)[-4:].sum()
            assert np.exp(values[place]) == pytest.approx(expected, rel=1e-3)


def test_what_the_model_ships_with_acts_nowhere_but_for_its_end_tokens() -> None:
    model = tiny_model(initializer_range=0.4)
    plain = drawn(model, Sampling(1, 6))[0]
    shipped = model.generation_config
    shipped.suppress_tokens = list(range(3, 20))
    shipped.repetition_penalty = 5.0
    shipped.top_k = 1
    assert drawn(model, Sampling(1, 6))[0] == plain
    assert model.generation_config is shipped and shipped.top_k == 1


def test_rollouts_are_drawn_without_dropout_and_the_mode_is_given_back() -> None:
    model = tiny_model(initializer_range=0.4, attention_dropout=0.5).train()
    ids, _ = drawn(model, Sampling(1, 8, temperature=1e-4), [PROMPTS[0]] * 6)
    assert len({tuple(row) for row in ids}) == 1 and model.training


def test_every_setting_of_a_run_reaches_probes_and_evaluations() -> None:
    kwargs = {"no_repeat_ngram_size": 2}
    extra = {"top_k": 5, "min_p": 0.1, "repetition_penalty": 1.2, "generation_kwargs": kwargs}
    config = load({"grpo": {"temperature": 0.7, "top_p": 0.9, "extra": extra}})
    own = Sampling.of(config)
    probe = Sampling.of(config, num_generations=2, seed=3)
    evaluation = Sampling.of(config, num_generations=2, temperature=1.0)
    for found in (own, probe, evaluation):
        assert (found.top_p, found.top_k, found.min_p, found.repetition_penalty, found.others) == (
            0.9, 5, 0.1, 1.2, kwargs,
        )  # fmt: skip
    assert (own.temperature, probe.temperature, evaluation.temperature) == (0.7, 0.7, 1.0)
    greedy = Sampling.of(config, temperature=0.0).generation_config(tiny_tokenizer(), [2])
    assert not greedy.do_sample and greedy.repetition_penalty == 1.2
