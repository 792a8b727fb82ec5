"""Drop documents made of notices about cookies and privacy, or of lorem ipsum, by NeMo Curator's rule.

boilerplate_paragraphs_frac: share of the paragraphs that contain one of twelve phrases ("terms of use", "privacy policy",
"uses cookies", ...: `POLICIES` in text/rules/char_shares.py), in lower case (`str.lower`); 1 for a document that contains
"lorem ipsum". Paragraphs are separated by two line breaks in a row, and empty ones count. An empty or null text is one
paragraph without a phrase and measures 0.

Source: NVIDIA NeMo Curator, `BoilerPlateStringFilter` (stages/text/filters/heuristic/string.py), its list of phrases
(stages/text/utils/constants.py), and the limit of its pipeline for English; after C4 (Raffel et al. 2020, section 2.2).

Decisions. NeMo's list has fourteen phrases; two contain a shorter one of the list and never matter. `c4_quality` removes lines
with such a phrase; this stage removes nothing. A text whose paragraphs are separated by single line breaks is one paragraph:
put this stage after an extractor that writes blank lines.
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
    """Drops documents by the share of paragraphs with a policy phrase, and for lorem ipsum."""

    profile: Literal["nemo"] = "nemo"
    max_boilerplate_paragraphs_frac: Share | AsProfile | None = AS_PROFILE
    values: bool = False
    """Write the measure as column `boilerplate_paragraphs_frac`."""

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
