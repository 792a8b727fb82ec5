"""The probability that a document is kept, from one forward pass of a refiner, as a column. `keep` applies a threshold.

In ProX (Zhou et al. 2024, arXiv:2409.17115) a model writes `keep_doc()` or `drop_doc()`, and outputs with "drop" in them drop
the document. Here the probability of the answer's first token decides: that `keep_doc()` begins, given that either begins. So
nothing is generated, and the threshold can be moved without running the model again. Where neither is among the twenty
likeliest tokens there is no score (null, which `keep` drops as `no_score`); the published code keeps such documents.

A `model` sees the beginning of the document, truncated to the window, as published (2,000 tokens). A `scorer` sees all of it,
and the window with the highest probability counts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from curate.api.batch import Batch, Kernel
from curate.lm.query import Query
from curate.models.card import check_column
from curate.prox.self_test_pages import GOOD, JUNK
from curate.prox.text_prompt import DROP_DOC, KEEP_DOC
from curate.stages.refine.line_classifier import LineClassifier
from curate.stages.refine.lm_stage import LMClient, LMStage, kernel_of, self_test_error, texts_of
from curate.storage.response_log import ResponseLog

_WINDOW = 2000
_MIN_MASS = 0.5
Score = Callable[[Sequence[str | None], ResponseLog], list[tuple[float, float] | None]]
"""For each text, the probability of keep given keep or drop, and the probability of either."""


@dataclass(frozen=True, kw_only=True)
class ProxDoc(LMStage):
    """A refiner's probability that each document is kept."""

    column: str = "prox_keep"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_column(self.column)

    @property
    def writes(self) -> Mapping[str, pa.DataType]:
        return {self.column: pa.float32()}

    def open(self) -> Kernel:
        card = self.card
        client = self.client((card.window if card else self.window or _WINDOW) + 1, bidirectional=card is not None)
        score = _by_classifier(LineClassifier(client, card)) if card else self._by_first_token(client)
        if self.self_test:
            _check_known_pages([found for found in score([*GOOD, JUNK], ResponseLog()) if found is not None])

        def apply(batch: Batch, log: ResponseLog) -> Batch:
            keep = [found and found[0] for found in score(texts_of(batch), log)]
            return batch.put(self.column, pa.array(keep, pa.float32(), from_pandas=True))

        return kernel_of(apply, client)

    def _by_first_token(self, client: LMClient) -> Score:
        prompts, window = self.text_prompts(client.encoder), self.window or _WINDOW
        yes, no = prompts.first_tokens(KEEP_DOC), prompts.first_tokens(DROP_DOC)

        def score(texts: Sequence[str | None], log: ResponseLog) -> list[tuple[float, float] | None]:
            present = [text for text in texts if text is not None]
            queries = [Query(prompts.document(text, window)[0], yes=yes - no, no=no - yes) for text in present]
            scores = iter(client.score(queries, log))
            per_text = [None if text is None else next(scores) for text in texts]
            return [(one.end, one.end_mass) if one else None for one in per_text]

        return score


def _by_classifier(classifier: LineClassifier) -> Score:
    def score(texts: Sequence[str | None], log: ResponseLog) -> list[tuple[float, float] | None]:
        return [(one.keep, one.mass) if one else None for one in classifier.score(texts, log, overlapping=False)]

    return score


def _check_known_pages(scores: Sequence[tuple[float, float]]) -> None:
    """Raises SpecError unless keep or drop is likely for at least half of the known pages."""
    answered = [mass for _, mass in scores if mass >= _MIN_MASS]
    if 2 * len(answered) < len(scores) or not scores:
        masses = ", ".join(f"{mass:.3f}" for _, mass in scores)
        raise self_test_error(
            f"neither '{KEEP_DOC}' nor '{DROP_DOC}' is likely for known pages (probabilities {masses}, wanted {_MIN_MASS})"
        )
