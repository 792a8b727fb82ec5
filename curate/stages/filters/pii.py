"""Replace personal data and secrets in texts: by stand-ins that belong to nobody, or by tags.

Every type of value is matched by its published form (`text/rules/pii.py` names the sources):

- email: a name, `@`, a host with a dot and a last label of letters, in any script that puts blanks between words. Example
  domains (RFC 2606), file names (`image@2x.png`), users within URLs (`https://user@host`) and the service address `git@host`
  stay, and so do obfuscated addresses: `name at domain dot com`, `name @ domain.com`.
- ip: global IPv4 and IPv6 addresses; with `private_ips` those of private networks and links too. Others stay: loopback,
  documentation, multicast, reserved. So do four single digits, and numbers after "version" and similar words.
- phone: `+` and country code; North American and other usual national forms with separators, in ASCII digits; any form
  of 7 to 15 digits after a word such as "Tel". Numbers set aside for fiction stay (555-01XX, Ofcom's for drama), and so do
  numbers with letters for digits (1-800-FLOWERS).
- credit_card: 13 to 19 digits of a known issuer in the usual groups, with a right check digit.
- iban: an account number of its country's length with right check digits, in capitals.
- key: AWS access key ids, tokens of GitHub, Slack, Google, Stripe (live), OpenAI and Anthropic, JWT, PEM private keys.

A stand-in is chosen by a hash of the value, keyed by `seed`: equal values have equal stand-ins in every document and run,
whatever stands around them. E-mail addresses move to example.com, .org and .net, IP addresses into the ranges for
documentation, phone numbers to +1-NPA-555-01XX; the others become a tag, `<credit_card>`. Different values may share a
stand-in. Case makes no difference between e-mail addresses, separators none between numbers.

Decisions. Cards, accounts and keys become tags, since an invented value with valid check digits may be somebody's. Counts are
of values replaced, so a second pass over a text counts none. A dropped document keeps its text. Message ids
(`<1993Apr19.1@host.edu>`) have the form of addresses and are replaced: about 10 % of the matches in Usenet and mail.
`user:password@host` within a URL stays: no type covers it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from annotated_types import Ge, Le

from curate.api.batch import Batch, Edit, Kernel, drop_where, edit_rows
from curate.api.stage import Stage
from curate.schema import TEXT

if TYPE_CHECKING:
    from curate.text.rules.pii import Match

Kind = Literal["email", "ip", "phone", "credit_card", "iban", "key"]

_NAMES = (
    "amber", "anchor", "aspen", "birch", "brook", "cedar", "clover", "coral", "dune", "ember", "fern", "flint",
    "harbor", "hazel", "heron", "iris", "juniper", "lark", "linden", "maple", "marsh", "meadow", "moss", "otter",
    "pebble", "pine", "quill", "reed", "sage", "sparrow", "thistle", "willow",
)  # fmt: skip
_HOSTS = ("example.com", "example.org", "example.net")
_NETWORKS = ("192.0.2", "198.51.100", "203.0.113")
_AREAS = (
    201, 202, 203, 205, 206, 207, 208, 209, 212, 213, 214, 215, 216, 217, 218, 219, 301, 302, 303, 304, 305, 307, 308, 309, 312,
    313, 314, 315, 316, 317, 318, 319, 401, 402, 404, 405, 406, 407, 408, 410, 412, 413, 414, 415, 416, 417, 418, 419,
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Pii(Stage):
    """Replace personal data and secrets."""

    kinds: tuple[Kind, ...] = ("email", "ip", "phone", "credit_card", "iban", "key")
    replacement: Literal["stand_in", "tag"] = "stand_in"
    """`tag` writes <email>, <ip>, <phone> too."""
    private_ips: bool = False
    """Replace addresses of private networks too."""
    max_matches: Annotated[int, Ge(0)] | None = None
    """Drop documents with more values to replace. Dolma's limit is 5."""
    seed: Annotated[int, Ge(0), Le(2**63 - 1)] = 0
    """Key of the hash that chooses stand-ins."""

    revision = 2
    reasons = ("too_much_pii",)

    def __post_init__(self) -> None:
        if not self.kinds or len(set(self.kinds)) < len(self.kinds):
            raise ValueError(f"kinds names one kind or more, each once, and not {list(self.kinds)}")

    @property
    def writes(self) -> Mapping[str, pa.DataType]:
        return {TEXT: pa.large_string(), **{f"pii_{kind}": pa.int64() for kind in self.kinds}}

    def open(self) -> Kernel:
        from curate.text.rules.pii import Finder
        from curate.text.rules.pii_candidates import place_finder

        candidates_of, find = place_finder(), Finder(self.kinds, self.private_ips)

        def kernel(batch: Batch) -> Batch:
            candidates = candidates_of(batch.buffers).tolist()
            rows = [(row, list(in_row)) for row, in_row in groupby(candidates, itemgetter(0))]
            texts = batch[TEXT].take(pa.array([row for row, _ in rows], pa.int64())).to_pylist()
            edited: dict[int, tuple[str, list[Edit]]] = {}
            for (row, in_row), text in zip(rows, texts, strict=True):
                matches = [match for match in find(text, in_row) if not match.reserved]
                edits = [(match.kind, match.start, match.end, self.stand_in(match)) for match in matches]
                edited[row] = _apply(text, edits), edits
            return self._put(batch, edited)

        return kernel

    def _put(self, batch: Batch, edited: Mapping[int, tuple[str, list[Edit]]]) -> Batch:
        """Write the counts, drop documents over `max_matches`, and give the others their new texts."""
        counts: dict[str, npt.NDArray[np.int64]] = {kind: np.zeros(len(batch), np.int64) for kind in self.kinds}
        for row, (_, edits) in edited.items():
            for kind, *_ in edits:
                counts[kind][row] += 1
        for kind, values in counts.items():
            batch = batch.put(f"pii_{kind}", pa.array(values))
        if self.max_matches is not None:
            total = np.sum([*counts.values()], axis=0)
            batch = drop_where(batch, total > self.max_matches, "too_much_pii", value=total, limit=self.max_matches)
        return edit_rows(batch, edited)

    def counts(self, after: Batch) -> Mapping[str, int]:
        """Values replaced in kept documents, by type."""
        kept = pa.array(~after.dropped)
        sums = {kind: pc.sum(after[f"pii_{kind}"].filter(kept)).as_py() for kind in self.kinds}
        return {kind: count for kind, count in sums.items() if count}

    def stand_in(self, match: Match) -> str:
        """The replacement of a value: a stand-in chosen by its hash, or a tag."""
        if self.replacement == "tag" or match.kind not in ("email", "ip", "phone"):
            return f"<{match.kind}>"
        digest = hashlib.blake2b(
            f"{match.kind}:{match.value}".encode(), digest_size=16, key=self.seed.to_bytes(8, "little")
        ).digest()
        draw = _draws(int.from_bytes(digest, "little"))
        if match.kind == "email":
            return f"{_NAMES[next(draw) % len(_NAMES)]}.{next(draw) % 10_000}@{_HOSTS[next(draw) % len(_HOSTS)]}"
        if match.kind == "phone":
            return f"+1-{_AREAS[next(draw) % len(_AREAS)]}-555-{100 + next(draw) % 100:04}"
        if ":" in match.value:
            return f"2001:db8:{next(draw) % 0xFFFF + 1:x}:{next(draw) % 0xFFFF + 1:x}::{next(draw) % 0xFFFF + 1:x}"
        return f"{_NETWORKS[next(draw) % len(_NETWORKS)]}.{next(draw) % 254 + 1}"


def _draws(number: int) -> Iterator[int]:
    """Independent draws from a hash."""
    while True:
        number, draw = divmod(number, 1 << 32)
        yield draw


def _apply(text: str, edits: Sequence[Edit]) -> str:
    parts, position = [], 0
    for _, start, end, replacement in edits:
        parts += [text[position:start], replacement]
        position = end
    return "".join([*parts, text[position:]])
