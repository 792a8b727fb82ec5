"""From the folder of a card to a scorer."""

from __future__ import annotations

import os
from os import PathLike
from pathlib import Path

from curate.data import scorer_path
from curate.models.card import Scorer, load_card


def load_scorer(name: str | PathLike[str]) -> Scorer:
    """Load the scorer that a name, or the path of its folder, stands for.

    Raises SpecError when there is none, or the card is wrong.
    """
    folder = scorer_path(os.fspath(name)) or os.fspath(name)
    card = load_card(folder)
    from curate.models.fasttext import fasttext_scorer

    return fasttext_scorer(card, str(Path(folder) / card.model))
