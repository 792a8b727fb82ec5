"""The probability that a document should stay, as a refiner gives it: one forward pass, and a column. `keep` decides.

ProX (Zhou et al. 2024, arXiv:2409.17115) has a model write `keep_doc()` or `drop_doc()`, and drops what has "drop" in its
answer. The first token of the answer says the same with a probability: that of the beginnings of `keep_doc()` against those of
`drop_doc()`. So nothing is generated, and a threshold moves without asking again. Where neither is among the twenty likeliest
there is no score (null, which `keep` drops as `no_score`); the published code would keep the document.

With a `model` the document is cut to the window, and its beginning counts, as published (2,000 tokens). A `scorer` reads all of
it, and its best window counts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from curate.api.batch import Batch, Kernel
from curate.models.card import check_column
from curate.models.lm_types import Ask
from curate.prox.self_test_pages import GOOD, JUNK
from curate.prox.text_prompt import DROP_DOC, KEEP_DOC
from curate.stages.refine.line_classifier import LineClassifier
from curate.stages.refine.lm_stage import Asker, LMStage, closing, refuse, texts_of
from curate.storage.response_log import ResponseLog

_WINDOW = 2000
_MIN_MASS = 0.5
Judged = tuple[float, float]
"""The probability of keep against drop, and that of either."""


@dataclass(frozen=True, kw_only=True)
class ProxDoc(LMStage):
    """A refiner's opinion of whole documents."""

    column: str = "prox_keep"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_column(self.column)

    @property
    def writes(self) -> Mapping[str, pa.DataType]:
        return {self.column: pa.float32()}

    def open(self) -> Kernel:
        card = self.card
        asker = self.asker((card.window if card else self.window or _WINDOW) + 1, reads=card is not None)
        judge = _by_reading(LineClassifier(asker, card)) if card else self._by_first_word(asker)
        if self.self_test:
            _test([judged for judged in judge([*GOOD, JUNK], ResponseLog()) if judged is not None])

        def ask(batch: Batch, answers: ResponseLog) -> Batch:
            shares = [judged and judged[0] for judged in judge(texts_of(batch), answers)]
            return batch.put(self.column, pa.array(shares, pa.float32(), from_pandas=True))

        return closing(ask, asker)

    def _by_first_word(self, asker: Asker) -> Judge:
        prompts, window = self.text_prompts(asker.encoder), self.window or _WINDOW
        yes, no = prompts.first_words(KEEP_DOC), prompts.first_words(DROP_DOC)

        def judge(texts: Sequence[str | None], answers: ResponseLog) -> list[Judged | None]:
            asks = [Ask(prompts.document(text, window)[0], yes=yes - no, no=no - yes) for text in texts if text is not None]
            decided = iter(asker.decide(asks, answers))
            found = [next(decided) if text is not None else None for text in texts]
            return [(one.end, one.end_mass) if one else None for one in found]

        return judge


Judge = Callable[[Sequence[str | None], ResponseLog], list[Judged | None]]


def _by_reading(reader: LineClassifier) -> Judge:
    def judge(texts: Sequence[str | None], answers: ResponseLog) -> list[Judged | None]:
        return [(reading.keep, reading.mass) if reading else None for reading in reader.read(texts, answers, overlapping=False)]

    return judge


def _test(found: Sequence[Judged]) -> None:
    """At least half of the known pages must have an answer of the kind that is looked for."""
    answered = [mass for _, mass in found if mass >= _MIN_MASS]
    if 2 * len(answered) < len(found) or not found:
        masses = ", ".join(f"{mass:.3f}" for _, mass in found)
        raise refuse(
            f"neither '{KEEP_DOC}' nor '{DROP_DOC}' is likely for known pages (probabilities {masses}, wanted {_MIN_MASS})"
        )
