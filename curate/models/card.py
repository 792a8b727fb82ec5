"""A scorer card: the front matter of `scorers/NAME-vN/card.md`, which says all that training and serving must share.

    ---
    kind: fasttext
    model: model.ftz
    columns: {edu: __label__good}
    transform: [newlines_to_spaces, lowercase]
    ---
    Prose: training data, intended use, known biases.

The text transform is part of the scorer: a card without one is refused, because a model served other text than it was
trained on gives numbers that mean nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt
import yaml

from curate.errors import SpecError, known_values

TRANSFORMS: dict[str, Callable[[str], str]] = {
    "collapse_whitespace": lambda text: " ".join(text.split()),
    "lowercase": str.lower,
    "newlines_to_spaces": lambda text: re.sub(r"[\r\n]+", " ", text),
    "strip": str.strip,
}


@dataclass(frozen=True, kw_only=True)
class Card:
    """What a card says."""

    kind: Literal["fasttext"]
    model: str
    columns: dict[str, str]
    """Column -> label whose probability it holds."""
    transform: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.columns:
            raise ValueError("columns: name at least one column and its label")
        for name in self.transform:
            if name not in TRANSFORMS:
                raise ValueError(f"transform: {name!r} is unknown. {known_values(name, TRANSFORMS)}")

    def apply(self, text: str) -> str:
        """The text as the model was trained on it."""
        for name in self.transform:
            text = TRANSFORMS[name](text)
        return text


class Scorer(Protocol):
    """Texts in, one array per column out: shape (texts,), float32, NaN where a text is None."""

    @property
    def columns(self) -> Sequence[str]: ...
    def __call__(self, texts: Sequence[str | None]) -> dict[str, npt.NDArray[np.float32]]: ...


def load_card(folder: str) -> Card:
    """Read and check a card. Raises SpecError saying what is missing."""
    from curate.options import OptionError, build

    path = Path(folder) / "card.md"
    if not path.is_file():
        raise SpecError(f"scorer {folder!r} has no card.md. A scorer is a folder with a card and a model.")
    front = _front_matter(path)
    known = ("kind", "model", "columns", "transform")
    if "transform" not in front:
        raise SpecError(f"{path}: no 'transform'. Say how text was prepared in training: {', '.join(TRANSFORMS)}, or [].")
    try:
        card = build(Card, {name: front[name] for name in known if name in front})
    except OptionError as error:
        raise SpecError(f"{path}: {error}") from error
    if not (Path(folder) / card.model).is_file():
        raise SpecError(f"{path}: model {card.model!r} is not in {folder!r}. Train it, or copy it there.")
    return card


def _front_matter(path: Path) -> Mapping[str, Any]:
    match = re.match(r"---\n(.*?)\n---\n", path.read_text(encoding="utf-8"), re.DOTALL)
    try:
        front = yaml.safe_load(match.group(1)) if match else None
    except yaml.YAMLError as error:
        raise SpecError(f"{path}: the front matter is not YAML: {error}") from error
    if not isinstance(front, dict):
        raise SpecError(f"{path}: no front matter. Begin the card with '---', key: value lines, '---'.")
    return front


def load_scorer(folder: str) -> Scorer:
    """The scorer a card describes, model loaded."""
    card = load_card(folder)
    from curate.models.fasttext import FastTextScorer

    return FastTextScorer(card, str(Path(folder) / card.model))
