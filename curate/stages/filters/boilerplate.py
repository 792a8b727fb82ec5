"""Drop documents made of notices about cookies and privacy, or of lorem ipsum, by NeMo Curator's rule.

boilerplate_paragraphs_frac: paragraphs with one of twelve phrases ("terms of use", "privacy policy", "uses cookies", ...: see
`POLICIES` in text/shares.py) per paragraph; 1 for a document with "lorem ipsum" anywhere. Paragraphs are what lies between
two line breaks in a row (`str.split` at them), empty ones counted; phrases are sought in lower case (`str.lower`). An empty
or null text is one paragraph without a phrase and measures 0.

Source: NVIDIA NeMo Curator, `BoilerPlateStringFilter` (stages/text/filters/heuristic/string.py), its list of phrases
(stages/text/utils/constants.py), and the limit of its pipeline for English; after C4 (Raffel et al. 2020, section 2.2).

Decisions. NeMo's list has fourteen phrases; two hold a shorter one of the list and can decide nothing. `c4_quality` removes
lines with such a phrase; here nothing is removed, and text whose paragraphs are parted by single line breaks is one
paragraph: put this stage behind an extractor that writes blank lines.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, Le

from curate.api.batch import Batch, Kernel
from curate.api.rules import AS_PROFILE, AsProfile, Profile, Rule, RuleStage

Share = Annotated[float, Ge(0), Le(1)]


@dataclass(frozen=True, kw_only=True)
class Boilerplate(RuleStage):
    """Share of paragraphs with a policy phrase, and lorem ipsum."""

    profile: Literal["nemo"] = "nemo"
    max_boilerplate_paragraphs_frac: Share | AsProfile | None = AS_PROFILE
    values: bool = False
    """Write what was measured as column `boilerplate_paragraphs_frac`."""

    profiles = {
        "nemo": Profile(
            "`BoilerPlateStringFilter` of NVIDIA NeMo Curator; its option `remove_if_at_top_or_bottom` does nothing there.",
            (Rule("too_much_boilerplate", "boilerplate_paragraphs_frac", "max_boilerplate_paragraphs_frac", 0.4),),
        )
    }

    def open(self) -> Kernel:
        from curate.text.rules.char_shares import boilerplate_share, count_shares

        def kernel(batch: Batch) -> Batch:
            counts = batch.view("shares", lambda: count_shares(batch.buffers))
            return self.apply_rules(batch, {"boilerplate_paragraphs_frac": boilerplate_share(counts)})

        return kernel
