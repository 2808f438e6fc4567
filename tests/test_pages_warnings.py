"""What the diagnostics warn of stands on the Runs page, with what to try, newest of each kind."""

from pathlib import Path

from pages_world import make_world

from workbench.api.workbench import Workbench
from workbench.pages.run_actions import detail
from workbench.store.writer import RunWriter


def test_warnings_of_a_run_stand_on_its_page(tmp_path: Path) -> None:
    wb = Workbench(make_world(tmp_path / "runs", steps=2))
    run_id = wb.runs()["run_id"].iloc[0]
    html = detail(wb, wb.state(run_id))
    assert "Emphasis entropy fell below 0.1 on 60 % of prompts." in html
    assert "Raise entropy_coef" in html and 'role="note"' in html
    with RunWriter(wb.runs_dir / run_id) as writer:
        writer.warning(3, "audit", "Advantages <differ>.", "Do not trust this run.")
        writer.warning(4, "collapse", "Collapsed again.", "Give it an anchor.")
    html = detail(wb, wb.state(run_id))
    assert "Advantages &lt;differ&gt;." in html and "Collapsed again." in html
    assert "60 % of prompts" not in html
