"""The terms of the field and of this workbench, one plain sentence each.

The one source of the pages' tooltips and of the README's table (``glossary_markdown``).
"""

from __future__ import annotations

GLOSSARY: dict[str, str] = {
    "policy": "The language model that is trained.",
    "reference": "A frozen copy of the policy from before training, or the one last synchronised, "
    "that distances such as the KL term are measured from.",
    "rollout": "One completion that the policy sampled for a prompt, with everything logged of it.",
    "group": "The completions of one prompt in one step; GRPO compares each with its group.",
    "step": "One update of the policy, from the groups of a few prompts.",
    "objective": "One reward that a completion is scored by; a run has several that may conflict.",
    "weights": "How much each objective counts for a completion; they sum to 1.",
    "scalarizer": "Who chooses the weights that turn the rewards of a completion into one number.",
    "scalar reward": "The weighted sum of a completion's rewards.",
    "advantage": "How far a completion lies above or below its group; what the policy learns from.",
    "GRPO": "Group Relative Policy Optimization: rewards are weighted and summed, then normalised "
    "in the group (`sum_then_normalize`).",
    "GDPO": "Normalises each objective in the group first and sums after that "
    "(`normalize_then_sum`), so that objectives of different spread count alike.",
    "Conductor": "MAESTRO's scalarizer: a small network that reads the policy's last hidden state "
    "and chooses the weights of each completion.",
    "terminal hidden state": "The policy's last-layer vector at the last token of a completion; "
    "the context that the Conductor reads.",
    "emphasis": "The share of the weight that goes to the objective that the Conductor drew; the "
    "rest is split equally.",
    "emphasis entropy": "How open the Conductor's choice is, from 0 (always one objective) to 1 "
    "(all equally likely).",
    "meta-reward": "What the Conductor learns from: the advantage of the completion, or an anchor.",
    "anchor": "A trusted score that is known for a few groups only and that the Conductor learns "
    "from.",
    "shuffled anchor": "A control: the trusted scores are permuted inside each group, so that "
    "nothing can be learned from them.",
    "judge": "The score that says how good a completion is; a run is measured by it, and trained "
    "by it only where an anchor is configured.",
    "probe": "A fixed prompt that is sampled again and again during training, to be followed.",
    "held-out": "Never used in training, nor to choose anything; what the final numbers are from.",
    "flat group": "A group in which all completions have the same value of an objective, so that "
    "this objective teaches nothing there.",
    "degenerate group": "A group whose advantages are all zero: the policy learns nothing from it.",
    "self-favouring": "Weights that lie on objectives whose rewards are high already.",
    "what-if": "The advantages of logged rollouts computed again under other weights; nothing is "
    "trained.",
    "Pareto front": "The runs that no other run beats on every objective.",
    "hypervolume": "How much of the space of objectives a set of runs covers above a reference "
    "point; larger is better.",
    "SAW": "Stage-aware weighting: an objective counts as much as its rewards vary in the batch, "
    "relative to their mean.",
    "DRO, RPO, KTO, SFT": "Ways to learn from logged completions and their rewards without "
    "sampling new ones.",
    "segment": "A file of rows that a run has written and that never changes; all views of the "
    "store read them.",
}
"""Term -> what it means; in an order that can be read from top to bottom."""


def meaning(term: str) -> str:
    """What a term means, for a tooltip. Raises KeyError with the terms there are."""
    if term not in GLOSSARY:
        raise KeyError(f"no term {term!r}; there are {', '.join(GLOSSARY)}")
    return GLOSSARY[term]


def glossary_markdown() -> str:
    """The terms as a Markdown table."""
    rows = [f"| {term} | {text} |" for term, text in GLOSSARY.items()]
    return "\n".join(["| term | meaning |", "| --- | --- |", *rows, ""])
