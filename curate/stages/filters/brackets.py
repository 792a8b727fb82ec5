"""Drop documents made of brackets, by NeMo Curator's rule.

brackets_frac: share of the characters (code points) that are one of ( ) [ ] { } or the mathematical angle brackets U+27E8 and
U+27E9. An empty or null text measures 1.

Source: NVIDIA NeMo Curator, `ParenthesesFilter` (stages/text/filters/heuristic/string.py), its expression
(stages/text/utils/constants.py), and the limit of its pipeline for English.

Decisions. The brackets are counted, not what stands between them: NeMo's comment says the latter, its code does the former.
Less-than signs, full-width and CJK brackets do not count. An empty document is dropped, as there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, Le

from curate.api.batch import Batch, Kernel
from curate.api.rules import AS_PROFILE, AsProfile, Profile, Rule, RuleStage

Share = Annotated[float, Ge(0), Le(1)]


@dataclass(frozen=True, kw_only=True)
class Brackets(RuleStage):
    """Drops documents by their share of brackets."""

    profile: Literal["nemo"] = "nemo"
    max_brackets_frac: Share | AsProfile | None = AS_PROFILE
    values: bool = False
    """Write the measure as column `brackets_frac`."""

    profiles = {
        "nemo": Profile(
            "`ParenthesesFilter` of NVIDIA NeMo Curator: the characters ( ) [ ] { } and angle brackets U+27E8, U+27E9.",
            (Rule("too_many_brackets", "brackets_frac", "max_brackets_frac", 0.1),),
        )
    }

    def open(self) -> Kernel:
        from curate.text.rules.char_shares import count_shares, share

        def kernel(batch: Batch) -> Batch:
            counts = batch.view("shares", lambda: count_shares(batch.buffers))
            return self.apply_rules(batch, {"brackets_frac": share(counts, "brackets")})

        return kernel
