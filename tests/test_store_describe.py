"""What the store says of itself: every column, in its README too, and its state in one screen."""

from __future__ import annotations

from pathlib import Path

from store_batches import RUN, fill, make_run

from workbench.store.archive import archive
from workbench.store.describe import schema_frame, schema_markdown, views_markdown
from workbench.store.doctor import examine

README = Path(__file__).resolve().parents[1] / "workbench" / "store" / "README.md"


def test_every_public_column_says_what_it_means():
    frame = schema_frame()
    assert frame.comment.notna().all() and (frame.comment.str.len() > 5).all()
    assert {"runs", "rollouts", "rollout_objectives", "metrics"} <= set(frame.view)
    columns = frame[frame.view == "rollouts"].set_index("column").type
    assert columns["rewards"] == "MAP(VARCHAR, DOUBLE)" and columns["mask"] == "DOUBLE"
    assert "| `advantage` | DOUBLE | Exactly what trained the policy |" in schema_markdown()


def test_the_readme_says_what_the_columns_say():
    """After a change: `workbench schema --markdown` prints both tables."""
    text = README.read_text("utf-8")
    assert views_markdown() in text
    assert schema_markdown() in text


def test_the_doctor_needs_one_screen(tmp_path):
    run_dir = make_run(tmp_path)
    fill(run_dir, range(2))
    archive(tmp_path, RUN)
    for step in range(2, 30):
        fill(run_dir, [step])
    for number in range(40):
        (run_dir / "segments" / "rollouts" / f"s0001-{900 + number:06d}-x.parquet").write_text("?")
    lines = str(examine(tmp_path)).splitlines()
    assert len(lines) <= 24
    words = " ".join(lines)
    for fact in ("1 running", "240, 16 of them archived", "bytes a rollout", "checkpoints", "free"):
        assert fact in words
    assert "and 34 more" in words
