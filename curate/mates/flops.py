"""The cost of a loop in floating-point operations, and the share of it that selection takes.

A training token costs 6 FLOPs per parameter, a token that is only read 2 (Kaplan et al. 2020, "Scaling Laws for Neural Language
Models", section 2.1). A probe costs a training step on its own tokens and, in mode `one_step`, a pass over the whole reference
set, which is most of it. The cost of scoring does not depend on the size of the trained model, so selection pays off sooner for
larger models.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from curate.mates.options import Rounds

PARTS = ("training", "probing", "fitting", "scoring")


def training_flops(options: Rounds, num_parameters: int) -> int:
    """One round of training."""
    return 6 * num_parameters * options.steps * options.batch * options.context


def probing_flops(options: Rounds, num_parameters: int, reference_tokens: int) -> int:
    """All probes of a round. `reference_tokens` pass through the model in one evaluation of the reference set."""
    per_probe = {"gradient": 0, "one_step": 2, "both": 2}[options.mode] * num_parameters * reference_tokens
    once = (2 if options.mode == "one_step" else 8) * num_parameters * reference_tokens
    return options.probes * (6 * num_parameters * options.length + per_probe) + once


def total_by_part(rounds: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """FLOPs by part, summed over the records of all rounds."""
    return {part: sum(record["flops"].get(part, 0) for record in rounds) for part in PARTS}


def flops_report(parts: Mapping[str, float]) -> dict[str, float]:
    """The parts, their total, and the fraction of the total that is not training.

    >>> flops_report({"training": 75, "probing": 25})["selection_frac"]
    0.25
    """
    total = sum(parts.values())
    return {**parts, "total": total, "selection_frac": (total - parts["training"]) / total if total else 0.0}
