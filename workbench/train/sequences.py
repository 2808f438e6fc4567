"""Token rows of the scoring pass: prompt, completion, answer, and how they are masked.

::

    trunk   p1 p2 c1 c2 EOS
    branch            c2' l1 a1 a2     c2' repeats c2; l1 is the lead, seen but not scored
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

TokenIds = Sequence[int]
IGNORE = -100
"""Label of a position whose log-probability is not wanted."""


@dataclass(frozen=True)
class TokenRow:
    """One sequence of the pass; ``start`` and ``trunk`` bound the completion inside ``tokens``."""

    tokens: list[int]
    start: int
    trunk: int
    kept: int  # trunk without its end token: what an answer may see
    lead: int  # tokens of the branch between the repeated token and the answer
    answered: bool

    @classmethod
    def build(
        cls,
        prompt: list[int],
        completion: list[int],
        answer: TokenIds | None,
        lead: TokenIds,
        eos_ids: Sequence[int],
        limit: int | None,
    ) -> TokenRow:
        """Lay out one row; the answer is cut where the model's context ends.

        Raises:
            ValueError: When there is neither prompt nor completion.
        """
        trunk = prompt + completion
        if not trunk:
            raise ValueError("a row has neither prompt nor completion tokens; it has no state")
        ended = bool(completion) and completion[-1] in eos_ids and len(trunk) > 1
        kept = len(trunk) - ended
        answer = list(answer or [])[: max(0, limit - kept - len(lead)) if limit else None]
        branch = [trunk[kept - 1], *lead, *answer] if answer else []
        return cls(trunk + branch, len(prompt), len(trunk), kept, len(lead), bool(answer))

    def straight(self) -> TokenRow:
        """The answer after the completion as a row of its own, for models that cannot branch."""
        tokens = self.tokens[: self.kept] + self.tokens[self.trunk + 1 :]
        return TokenRow(tokens, self.kept + self.lead, len(tokens), len(tokens), 0, False)

    def without_answer(self) -> TokenRow:
        """Prompt and completion alone."""
        return replace(self, tokens=self.tokens[: self.trunk], answered=False)


def padded(
    rows: Sequence[TokenRow], branching: bool, dtype: torch.dtype
) -> dict[str, torch.Tensor]:
    """Inputs of one forward: ids and labels (n, L), a mask, positions where rows branch.

    Args:
        rows: n rows.
        branching: Whether answers are branches, which need a mask per row.
        dtype: Number format of such a mask: the model's.
    """
    length = max(len(row.tokens) for row in rows)
    ids = torch.zeros(len(rows), length, dtype=torch.long)
    labels = torch.full((len(rows), length), IGNORE)
    for i, row in enumerate(rows):
        ids[i, : len(row.tokens)] = torch.tensor(row.tokens)
        labels[i, row.start : len(row.tokens)] = ids[i, row.start : len(row.tokens)]
        if len(row.tokens) > row.trunk:
            # the repeated token that opens the branch, and the lead, are no answer
            labels[i, row.trunk : row.trunk + 1 + row.lead] = IGNORE
    mask = {"attention_mask": _padding_mask(rows, length)}
    if branching:
        mask = _branch_mask(rows, length, dtype)
    return {"input_ids": ids, "labels": labels, **mask}


def _padding_mask(rows: Sequence[TokenRow], length: int) -> torch.Tensor:
    """(n, L) 1 on tokens, 0 on the padding behind them."""
    lengths = torch.tensor([len(row.tokens) for row in rows])
    return (torch.arange(length) < lengths[:, None]).long()


def _branch_mask(
    rows: Sequence[TokenRow], length: int, dtype: torch.dtype
) -> dict[str, torch.Tensor]:
    """Additive mask (n, 1, L, L) and positions (n, L) of trunks with branches."""
    trunk = torch.tensor([row.trunk for row in rows])[:, None]
    kept = torch.tensor([row.kept for row in rows])[:, None]
    index = torch.arange(length)
    on_branch = index >= trunk  # (n, L); padding behind a row is seen by no token before it
    causal = index[None, :] <= index[:, None]  # (L, L) query x key
    text = (index < kept - 1)[:, None, :]  # keys that the branch shares with the trunk
    own = on_branch[:, None, :] & causal
    visible = torch.where(on_branch[:, :, None], text | own, causal & ~on_branch[:, None, :])
    mask = torch.zeros(visible.shape, dtype=dtype).masked_fill(~visible, torch.finfo(dtype).min)
    positions = torch.where(on_branch, index - trunk + kept - 1, index)
    lengths = torch.tensor([len(row.tokens) for row in rows])[:, None]
    positions = torch.where(index < lengths, positions, 0)  # padding stays inside the context
    return {"attention_mask": mask[:, None], "position_ids": positions}
