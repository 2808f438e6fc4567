"""What a store keeps of a row is enough to compute its advantage again, to the last bit."""

from __future__ import annotations

import numpy as np
import pytest
from store_batches import NAMES, RUN, make_batch, make_run

from workbench.analysis.logged_rows import rows_from_frame
from workbench.analysis.queries import rollouts
from workbench.analysis.whatif import audit_error, whatif
from workbench.config.scalarizers import Gd2po
from workbench.core.advantages import aggregate
from workbench.core.scalarizers import ScalarizerInput, build_scalarizer
from workbench.store.archive import archive
from workbench.store.reader import Store
from workbench.store.writer import RunWriter


@pytest.mark.parametrize("aggregation", ["sum_then_normalize", "normalize_then_sum"])
def test_masked_rows_are_kept_with_their_mask(tmp_path, aggregation):
    run_dir, masks = make_run(tmp_path), []
    scalarizer = build_scalarizer(Gd2po(), NAMES)
    with RunWriter(run_dir) as writer:
        for step in range(4):
            rewards = np.random.default_rng(step).random((8, 3))
            bounds = np.zeros(3), np.ones(3)
            scene = ScalarizerInput(
                rewards, rewards, *bounds, kinds=["x"] * 8, num_generations=4, step=step
            )
            choice = scalarizer.choose(scene, np.random.default_rng(0))
            scalars, advantages = aggregate(
                rewards, choice.weights, 4, aggregation, mask=choice.mask
            )
            masks.append(choice.mask)
            writer.rollouts(
                make_batch(
                    step,
                    rewards=rewards,
                    weights=choice.weights,
                    mask=choice.mask,
                    scalars=scalars,
                    advantages=advantages,
                )
            )
        writer.rollouts(make_batch(0, split="probe"))
    assert (np.concatenate(masks) < 1).any()
    for _ in range(2):
        frame = rollouts(Store(tmp_path), RUN, split="train")
        assert frame["mask"].tolist() == np.concatenate(masks).tolist()
        rows = rows_from_frame(frame, NAMES)
        assert audit_error(rows, aggregation) < 1e-12
        again = whatif(rows, weights=rows.weights, aggregation=aggregation)
        np.testing.assert_allclose(again.advantages, frame.advantage, atol=1e-12)
        unmasked = rows_from_frame(frame.drop(columns="mask"), NAMES)
        assert audit_error(unmasked, aggregation) > 0.01
        assert rollouts(Store(tmp_path), RUN, split="probe")["mask"].isna().all()
        archive(tmp_path, RUN)
