"""What is missing from the answers of a store: one list for notebooks, commands and pages."""

from __future__ import annotations

from pathlib import Path

from workbench.store.cache import LiveCache
from workbench.store.manifest import odd_names
from workbench.store.quarantine import Damaged, quarantined


def find_notices(root: Path, cache: LiveCache, moved_from: str | None) -> list[str]:
    """One line for each thing; empty where nothing is missing.

    Segments that were set aside, now or earlier and by whomever; files that cannot be read at the
    moment; run files and directory names that cannot be used; a store that was moved.

    Args:
        root: the runs directory.
        cache: the rows that are in memory, and what was found when they were read.
        moved_from: where the store was made, if it lies elsewhere now.
    """
    here = [d for d in cache.damaged if d.moved_to == d.path]
    aside: dict[tuple[Path, str], list[Damaged]] = {}
    for one in [*quarantined(root), *here]:
        aside.setdefault((one.path.parents[2], one.path.parent.name), []).append(one)
    notes = []
    for (run, table), found in aside.items():
        more = f" and {len(found) - 1} more" if len(found) > 1 else ""
        notes.append(
            f"run {run.name}: rows of {table} are missing, since {found[0].path.name}{more} is "
            f"damaged ({found[0].reason}); `workbench doctor` lists what was set aside"
        )
    now: dict[Path, list[Path]] = {}
    for left_out in sorted(cache.unreadable):
        now.setdefault(left_out.parent, []).append(left_out)
    for first, *rest in now.values():
        others = f" and {len(rest)} more" if rest else ""
        why = cache.unreadable[first]
        notes.append(f"{first}{others} cannot be read now, its rows are missing: {why}")
    notes += [f"{path} {why}" for path, why in cache.listing.problems.items()]
    for name in odd_names(root):
        notes.append(f"directory {name} is left out: its name is no UTF-8 text; rename it")
    if moved_from is not None:
        notes.append(
            f"the store was made in {moved_from} and now lies in {root}: run "
            "`workbench archive` to rebuild its views for other clients"
        )
    return notes
