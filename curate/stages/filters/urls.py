"""Drop documents made of URLs, by NeMo Curator's rule.

url_chars_frac: share of the characters (code points) that are in URLs. A URL begins with `http://` or `https://`, in small
letters, and goes on for at least one ASCII letter, digit, one of ! $ & ( ) * + , - . @ _ or a percent sign with two hexadecimal
digits. An empty or null text measures 1.

Source: NVIDIA NeMo Curator, `UrlsFilter` (stages/text/filters/heuristic/string.py), its default expression
(stages/text/utils/constants.py), and the limit of its pipeline for English.

Decisions. The expression has no slash, question mark, colon or hash sign, so that a URL ends where its path begins, and the
published limit belongs to that: both are kept. A list of links with long paths measures less than expected; lower the limit
where that matters. An empty document is dropped, as there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, Le

from curate.api.batch import Batch, Kernel
from curate.api.rules import AS_PROFILE, AsProfile, Profile, Rule, RuleStage

Share = Annotated[float, Ge(0), Le(1)]


@dataclass(frozen=True, kw_only=True)
class Urls(RuleStage):
    """Drops documents by their share of characters in URLs."""

    profile: Literal["nemo"] = "nemo"
    max_url_chars_frac: Share | AsProfile | None = AS_PROFILE
    values: bool = False
    """Write the measure as column `url_chars_frac`."""

    profiles = {
        "nemo": Profile(
            "`UrlsFilter` of NVIDIA NeMo Curator with its own expression for URLs, which end at the first slash of the path.",
            (Rule("too_many_urls", "url_chars_frac", "max_url_chars_frac", 0.2),),
        )
    }

    def open(self) -> Kernel:
        from curate.text.rules.char_shares import count_shares, share

        def kernel(batch: Batch) -> Batch:
            counts = batch.view("shares", lambda: count_shares(batch.buffers))
            return self.apply_rules(batch, {"url_chars_frac": share(counts, "url_chars")})

        return kernel
