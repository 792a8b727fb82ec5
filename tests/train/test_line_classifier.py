"""The linear classifier of lines, and how a threshold is chosen."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from curate.errors import DataError
from curate.train.documents import Corpus
from curate.train.line_classifier import LinearLines, unseen_probabilities
from curate.train.refiner_metrics import refiner_metrics
from curate.train.training_pages import TrainingPage

MENU = ["home news about", "share this page", "log in"]


def page(site: int) -> tuple[list[str], Any]:
    """A menu that all sites share, and a word of the site's own that stays on even sites and goes on odd ones."""
    lines = [*MENU, f"site{site}", "", "crabs wait under the weed until the tide is out"]
    return lines, np.array([False, False, False, site % 2 == 0, False, True])


def test_lines_are_told_by_their_words_and_blank_ones_are_not_judged() -> None:
    pages = [page(site) for site in range(20)] * 60
    model = LinearLines(pages)
    found = np.array([model.probabilities(lines) for lines, _ in pages[:20]])
    wanted = np.array([keep for _, keep in pages[:20]])
    assert ((found > 0.5) == wanted).all()
    assert (found[:, 4] == 0).all()
    assert model.probabilities([]).shape == (0,)


def test_pages_are_judged_by_a_classifier_that_has_not_learnt_their_group() -> None:
    pages = [page(site) for site in range(20)] * 60
    groups = [f"site{site}.example" for site in range(20)] * 60
    found = unseen_probabilities(pages, groups).reshape(-1, 6)
    wanted = np.array([keep for _, keep in pages])
    apart = [0, 1, 2, 4, 5]
    assert ((found > 0.5) == wanted)[:, apart].all()
    assert ((found > 0.5) == wanted)[:, 3].mean() < 0.8  # nothing but the site tells
    with pytest.raises(DataError, match="1 groups of documents are too few"):
        unseen_probabilities(pages[:3], ["one.example"] * 3)


def test_kinds_count_alike_when_the_threshold_is_chosen() -> None:
    """Nine articles want 0.3, where their last line stays; one forum page 0.6, where its last two go."""
    nothing: Any = np.zeros(0, np.float32)
    lines = ["one two three four", "five six seven eight", "nine"]
    articles = [TrainingPage(lines, [], np.array([False, False, True]), np.array([4, 4, 1]), nothing)] * 9
    forum = TrainingPage(lines, [], np.array([False, True, True]), np.array([4, 4, 1]), nothing)
    likely: Any = [np.array([0.9, 0.45, 0.2])] * 9 + [np.array([0.9, 0.5, 0.5])]
    texts = pa.array(["\n".join(lines)] * 10, pa.large_string())
    names = [str(number) for number in range(10)]
    corpus = Corpus(texts, names, names, names, 0, {"page_type": ["article"] * 9 + ["forum"]})

    def chosen(kinds: list[str]) -> float:
        threshold: float = refiner_metrics([*articles, forum], likely, [0.0], corpus, corpus, kinds)["threshold"]
        return threshold

    assert chosen([]) == 0.25
    assert chosen(["page_type"]) == 0.55
