"""From the folder of a card to a scorer."""

from __future__ import annotations

from pathlib import Path

from curate.models.card import Scorer, load_card


def load_scorer(folder: str) -> Scorer:
    """The scorer a card describes, model loaded."""
    card = load_card(folder)
    from curate.models.fasttext import fasttext_scorer

    return fasttext_scorer(card, str(Path(folder) / card.model))
