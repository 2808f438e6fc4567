"""Lines over training that stay short however long the run: bins of steps, each drawn as its mean.

A screen is a thousand points wide; a run of a day has a hundred thousand steps. A line with more
points than ``MOST`` is drawn in bins of 2, 4, 8, ... steps, all of one width.
"""

from __future__ import annotations

import pandas as pd

MOST = 600
"""Points of one line from which on bins are twice as wide."""


def in_bins(frame: pd.DataFrame, width: int) -> pd.DataFrame:
    """Means over bins of steps: bin b holds the steps b * width ... (b + 1) * width - 1.

    Args:
        frame: ``step``, columns of text that tell lines apart, columns of numbers. Numbers that
            are missing do not count.
        width: steps of a bin.

    Returns:
        The same columns; ``step`` is the last one of its bin that the line has.
    """
    if width == 1 or frame.empty:
        return frame
    numbers = [c for c in frame.select_dtypes("number").columns if c != "step"]
    lines = [c for c in frame.columns if c != "step" and c not in numbers]
    means = dict.fromkeys(numbers, "mean")
    binned = frame.groupby([*lines, frame["step"] // width], sort=False).agg(
        {"step": "max", **means}
    )
    whole = binned.droplevel(-1).reset_index() if lines else binned.reset_index(drop=True)
    return whole[list(frame.columns)].sort_values("step", kind="stable", ignore_index=True)


def shortened(frame: pd.DataFrame) -> pd.DataFrame:
    """A whole line of at most ``MOST`` points, in bins where it has more."""
    width = 1
    while (frame["step"] // width).nunique() > MOST:
        width *= 2
    return in_bins(frame, width)


class Growing:
    """Lines that grow by new steps; a bin is drawn once it is whole, so that all are alike.

    Attributes:
        frame: what is drawn.
        width: steps of a bin. When it changes, all that was drawn before is drawn anew.
        seen: the newest step that was added; -1 before the first.
    """

    def __init__(self) -> None:
        self.frame = self._rest = pd.DataFrame()
        self.width = 1
        self.seen = -1

    def add(self, new: pd.DataFrame, newest: int) -> None:
        """Take in rows of steps after ``seen``, in any order.

        Args:
            new: may be empty: a line such as the judge's has rows at few steps.
            newest: the step that the run has reached, which tells what bins are whole.
        """
        if len(new):
            self.seen = int(new["step"].max())
        self._rest = _joined(self._rest, new)
        while newest >= self.width * MOST:  # MOST is even: no bin is left without a partner
            self._draw(self.width * MOST)
            self.width *= 2
            self.frame = in_bins(self.frame, self.width)
        self._draw((newest + 1) // self.width * self.width)

    def end(self) -> None:
        """No step will follow: draw what is left, though its bin is not whole."""
        self._draw(self.seen + 1)

    def _draw(self, until: int) -> None:
        """Draw what waits of the steps before ``until``."""
        if self._rest.empty:
            return
        drawn = self._rest["step"] < until
        self.frame = _joined(self.frame, in_bins(self._rest[drawn], self.width))
        self._rest = self._rest[~drawn]


def _joined(old: pd.DataFrame, new: pd.DataFrame) -> pd.DataFrame:
    if old.empty:
        return new
    return pd.concat([old, new], ignore_index=True) if len(new) else old
