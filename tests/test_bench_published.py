"""The results that ship with the package: written from cells, drawn as the README has them."""

from pathlib import Path

import pandas as pd
import pytest

from workbench.bench import published

ROOT = Path(__file__).parent.parent


def rows(arm: str, scores: list[float], steps: int = 40, calls: float = 320.0) -> pd.DataFrame:
    """Two kinds a seed, 0.1 above and below the seed's score."""
    return pd.DataFrame(
        [
            (arm, steps, seed, kind, score + shift, 20.0, 1000.0, 30.0, calls)
            for seed, score in enumerate(scores)
            for kind, shift in (("fact", 0.1), ("story", -0.1))
        ],
        columns=list(published.COLUMNS),
    )


def test_the_table_literal() -> None:
    # differences from equal are 0.1 and 0.3: mean 0.2, deviation 0.1 sqrt(2), t(1) = 12.706
    frame = pd.concat([rows("equal", [0.4, 0.5], calls=0.0), rows("kernel", [0.5, 0.8])])
    half = 100 * 12.706 * 0.1
    text = published.markdown(frame, 40)
    gain = f"+20.0 [{20 - half:+.1f}, {20 + half:+.1f}]"
    assert text.splitlines()[2:] == [
        "| equal | 0 | 40.0 | 50.0 | 45.0 |  |  |",
        f"| kernel, 1 in 8 | 320 | 50.0 | 80.0 | 65.0 | {gain} |  |",
    ]


def test_a_seed_that_a_method_lacks_stays_empty() -> None:
    frame = pd.concat([rows("equal", [0.4, 0.5, 0.6]), rows("kernel", [0.5])])
    last = published.markdown(frame, 40).splitlines()[-1]
    assert last == "| kernel, 1 in 8 | 320 | 50.0 |  |  | 50.0 |  |  |"


def test_writing_replaces_a_cell_and_keeps_the_others(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "results.parquet"
    published.write(rows("equal", [0.4, 0.5]), path)
    published.write(rows("equal", [0.4, 0.5], steps=100), path)
    published.write(pd.concat([rows("equal", [0.9]), rows("kernel", [0.7])]), path)
    kept = published.read(path).groupby(["arm", "steps", "seed"])["judge"].mean()
    assert kept.round(3).to_dict() == {
        ("equal", 40, 0): 0.9,
        ("equal", 40, 1): 0.5,
        ("equal", 100, 0): 0.4,
        ("equal", 100, 1): 0.5,
        ("kernel", 40, 0): 0.7,
    }


def test_the_readme_is_drawn_from_what_ships() -> None:
    frame = published.read()
    text = (ROOT / "workbench" / "bench" / "README.md").read_text("utf-8")
    for steps in sorted(set(frame["steps"])):
        assert published.markdown(frame, steps) in text
    assert (
        frame["judge"].between(0, 1).all()
        and not frame.duplicated(["arm", "steps", "seed", "kind"]).any()
    )


def test_what_ships_is_small() -> None:
    assert published.location().stat().st_size < 200_000


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nothing\.parquet"):
        published.read(tmp_path / "nothing.parquet")
