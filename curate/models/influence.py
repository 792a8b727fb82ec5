"""The card of an influence model that `curate fit` trained: its windows, and the scale of its scores."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from curate.config.options import OptionError, build
from curate.errors import SpecError
from curate.models.card import front_matter, no_card
from curate.storage.store import file_hash

FILES = ("model.safetensors", "head.safetensors", "tokenizer.json", "config.json")


@dataclass(frozen=True, kw_only=True)
class InfluenceCard:
    """The front matter of a card of kind `influence`."""

    kind: Literal["influence"]
    window: int
    """Tokens of a window."""
    max_windows: int
    """Windows per text; the rest of the text is not read."""
    label_mean: float
    label_std: float
    """Standard deviation of the training labels: a score of 1 is one above their mean."""
    sha256: dict[str, str]
    """Hash of each file."""


def load_influence_card(folder: str) -> InfluenceCard:
    """Read and check a card. Raises SpecError saying what is wrong, and when the files are not the card's."""
    path = Path(folder) / "card.md"
    if not path.is_file():
        raise no_card(folder, "An influence model is a folder with a card, weights and a tokenizer")
    front: Any = front_matter(path)
    if front.get("kind") != "influence":
        raise SpecError(
            f"{path}: kind {front.get('kind')!r}: this stage needs a model of kind 'influence'. 'score' runs others."
        )
    try:
        card = build(InfluenceCard, {name: front[name] for name in InfluenceCard.__dataclass_fields__ if name in front})
    except OptionError as error:
        raise SpecError(f"{path}: {error}") from error
    for name in FILES:
        if not (Path(folder) / name).is_file():
            raise SpecError(f"{path}: {name} is not in {folder!r}. Copy the folder again, whole.")
        if (found := file_hash(str(Path(folder) / name))) != card.sha256.get(name):
            raise SpecError(
                f"{path}: the card is of a {name} with sha256 {card.sha256.get(name)}, this has {found}. Copy both again."
            )
    return card
