"""The card of a refiner that `curate fit` trained: the form of its prompt, and its threshold between keep and remove."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from curate.config.options import OptionError, build
from curate.errors import SpecError
from curate.models.card import front_matter, no_card
from curate.storage.store import file_hash

WEIGHTS = "model.safetensors"


@dataclass(frozen=True, kw_only=True)
class RefinerCard:
    """The front matter of a card of kind `prox`."""

    kind: Literal["prox"]
    form: Literal["bidirectional"]
    """The line prompt of `prox/line_prompt.py`, with bidirectional attention."""
    window: int
    """Tokens of a prompt."""
    max_line_tokens: int
    threshold: float
    """Lines whose probability of being kept is below are removed."""
    sha256: str
    """Hash of the weights."""

    @property
    def max_program_tokens(self) -> int:
        """Maximum length of a generated program: the model's context is one and a half windows."""
        return self.window // 2


def load_refiner_card(folder: str) -> RefinerCard:
    """Read and check a card. Raises SpecError saying what is wrong, and when the weights are not the card's."""
    path, weights = Path(folder) / "card.md", Path(folder) / WEIGHTS
    if not path.is_file():
        raise no_card(folder, "A refiner is a folder with a card, weights and a tokenizer")
    front = front_matter(path)
    if front.get("kind") != "prox":
        raise SpecError(f"{path}: kind {front.get('kind')!r}: this stage needs a refiner, of kind 'prox'.")
    try:
        card = build(RefinerCard, {name: front[name] for name in RefinerCard.__dataclass_fields__ if name in front})
    except OptionError as error:
        raise SpecError(f"{path}: {error}") from error
    if not os.path.isfile(weights):
        raise SpecError(f"{path}: {WEIGHTS} is not in {folder!r}. Train it, or copy it there.")
    if (found := file_hash(str(weights))) != card.sha256:
        raise SpecError(f"{path}: the card is of weights with sha256 {card.sha256}, and these have {found}. Copy both again.")
    return card
