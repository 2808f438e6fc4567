"""RPO and DRO through the real trainer on policies small enough to enumerate.

The closed form: with summed log-probabilities and exact Z, pi(y) is proportional to
pi_ref(y) e^{r(y)/tau}, and RPO's loss is 0 there.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch
from offline_rows_tiny import Published, dozen_model, tiny_t5
from tiny_models import tiny_tokenizer

from workbench.config.io import validate
from workbench.train.offline_tokens import TokenRows, with_values
from workbench.train.offline_trainer import PartitionTrainer
from workbench.train.scoring import prepare_scoring
from workbench.train.sequence_logprobs import row_logps

PROMPT = [1, 3]
RESPONSES = [[token] for token in range(12)]
REWARDS = np.array([0.0, 1.0, -1.0, 2.0, 0.5, -0.5, 1.5, -2.0, 0.2, 0.7, -1.2, 0.0])


def offline(method, **changes):
    sections = {
        "rpo": {"tau": 1.0, "length_normalize": False, "partition": "authors"},
        "dro": {"tau": 1.0, "length_normalize": False, "value_hidden": 8},
    }
    update = {"batch_size": 12, "learning_rate": 0.03, "warmup_steps": 0}
    steps = changes.pop("steps", 150)
    data = {"method": method, "source": {"path": "rows.jsonl"}, "update": update, **sections}
    return validate({"steps": steps, "offline": data | changes})


def enumerated(model):
    rows = TokenRows(
        prompt_ids=[PROMPT] * 12,
        response_ids=RESPONSES,
        rewards=REWARDS,
        groups=np.zeros(12, dtype=int),
    )
    return replace(rows, logp_ref=row_logps(model, rows.prompt_ids, rows.response_ids, 0, 5))


@pytest.mark.parametrize("method", ["rpo", "dro"])
@pytest.mark.parametrize("tau", [1.0, 2.5])
def test_gradient_descent_reaches_the_closed_form(tmp_path, method, tau):
    model = dozen_model()
    prepare_scoring(model)
    sections = {method: {"tau": tau, "length_normalize": False}}
    if method == "rpo":
        sections["rpo"]["partition"] = "authors"
    config = offline(method, **sections)
    rows = enumerated(model)
    assert np.exp(rows.logp_ref).sum() == pytest.approx(1.0, abs=1e-5)
    if method == "rpo":
        rows = with_values(rows, config.offline.rpo)
    expected = np.exp(rows.logp_ref + REWARDS / tau)
    published = Published()
    trainer = PartitionTrainer(
        config, model, tiny_tokenizer(), rows, published, tmp_path / "checkpoints"
    )
    trainer.train()
    after = np.exp(row_logps(model, rows.prompt_ids, rows.response_ids, 0, 12))
    np.testing.assert_allclose(after, expected / expected.sum(), atol=2e-3)
    assert published.values["loss"][-1] < 1e-4 < published.values["loss"][0]
    assert published.values["reward_alignment"][-1] > 0.999


def test_loss_is_zero_at_the_optimum_by_hand():
    # two responses, pi_ref = (1/4, 3/4), r = (log 3, 0), tau = 1: Z = 3/4 + 3/4, pi = (1/2, 1/2)
    config = offline("rpo")
    rows = TokenRows([PROMPT] * 2, [[0], [1]], np.log([3.0, 1.0]), np.zeros(2, dtype=int))
    rows = with_values(replace(rows, logp_ref=np.log([0.25, 0.75])), config.offline.rpo)
    np.testing.assert_allclose(rows.values, np.log(1.5))
    target = rows.logp_ref + rows.rewards - rows.values
    np.testing.assert_allclose(np.exp(target), [0.5, 0.5])


def test_value_network_learns_the_log_partition(tmp_path):
    # V* = tau log Z is where DRO's loss is zero
    model = dozen_model()
    prepare_scoring(model)
    rows = enumerated(model)
    config = offline("dro")
    trainer = PartitionTrainer(
        config, model, tiny_tokenizer(), rows, Published(), tmp_path / "checkpoints"
    )
    trainer.train()
    batch = trainer._collate([0])
    batch = {k: v for k, v in batch.items() if k not in ("index", "lengths")}
    with torch.no_grad():
        value = float(trainer.model(**batch)[1])
    exact = float(np.log(np.exp(rows.logp_ref + REWARDS).sum()))
    assert value == pytest.approx(exact, abs=0.02)


@pytest.mark.parametrize("method", ["rpo", "dro"])
def test_an_encoder_decoder_follows_the_rewards(tmp_path, method):
    model = tiny_t5()
    prompts = [[5, 6, 7, 2]] * 6
    responses = [[8, 2], [9, 2], [10, 11, 2], [12, 2], [13, 14, 15, 2], [16, 2]]
    rows = TokenRows(
        prompts, responses, np.array([1.0, -1, 0.5, 0, -0.5, 0.2]), np.zeros(6, dtype=int)
    )
    rows = replace(rows, logp_ref=row_logps(model, prompts, responses, 0, 4))
    config = offline(
        method,
        steps=80,
        rpo={"length_normalize": True},
        dro={"length_normalize": True},
        update={"batch_size": 6, "learning_rate": 0.01, "warmup_steps": 0},
    )
    if method == "rpo":
        rows = with_values(rows, config.offline.rpo)
    trainer = PartitionTrainer(
        config, model, tiny_tokenizer(), rows, Published(), tmp_path / "checkpoints"
    )
    trainer.train()
    after = row_logps(model, prompts, responses, 0, 4)
    ratios = (after - rows.logp_ref) / rows.lengths
    assert np.corrcoef(ratios, rows.rewards)[0, 1] > 0.95


def test_row_logps_are_those_of_the_model_itself():
    # each row alone through the plain model, against a padded batch
    model = tiny_t5()
    found = row_logps(model, [[5, 6, 2], [7, 2]], [[8, 9, 2], [10, 2]], 0, 2)
    for row, (prompt, response) in enumerate([([5, 6, 2], [8, 9, 2]), ([7, 2], [10, 2])]):
        with torch.no_grad():
            output = model(input_ids=torch.tensor([prompt]), labels=torch.tensor([response]))
        assert found[row] == pytest.approx(-float(output.loss) * len(response), abs=1e-4)
