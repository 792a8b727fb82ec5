"""A scorer card: the front matter of `scorers/NAME-vN/card.md`, which says all that training and serving must share.

    ---
    kind: fasttext
    model: model.bin
    sha256: 1f3c...
    columns: {edu: __label__good}
    transform: [newlines_to_spaces, lowercase]
    end_of_line: drop
    ---
    Prose: training data, intended use, known biases.

The text transform is part of the scorer: a card without one is refused, because a model served other text than it was
trained on gives numbers that mean nothing. So is a card whose `sha256` is not that of its model. `curate fit` writes cards,
with `thresholds` for common shares; for a model from elsewhere one is written by hand. Other keys are for people.

`end_of_line` is about the token `</s>` that fastText appends to every text. It weighs the same in a text of five words as in
one of five thousand, and so makes scores depend on length (Shum et al. 2025, arXiv:2503.00808, appendix A.2): `drop` leaves
it out, for models that were trained without; `keep`, the default, is fastText's own way.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import yaml

from curate.data import known_names
from curate.errors import SpecError, known_values
from curate.schema import HTML, ID, RESERVED, TEXT, URL
from curate.storage import store

TRANSFORMS: dict[str, Callable[[str], str]] = {
    "collapse_whitespace": lambda text: " ".join(text.split()),
    "lowercase": str.lower,
    "newlines_to_spaces": lambda text: re.sub(r"[\r\n]+", " ", text),
    "strip": str.strip,
}
Scores = dict[str, npt.NDArray[np.float32]]


@dataclass(frozen=True, kw_only=True)
class Card:
    """The front matter of a scorer's card."""

    kind: Literal["fasttext"]
    model: str
    """The model's file, beside the card."""
    sha256: str | None = None
    """Hash of the model's file."""
    columns: dict[str, str]
    """Column -> label whose probability it holds."""
    transform: tuple[str, ...]
    end_of_line: Literal["keep", "drop"] = "keep"

    def __post_init__(self) -> None:
        if not self.columns:
            raise ValueError("columns: name at least one column and its label")
        check_transform(self.transform)
        for name in self.columns:
            check_column(name)

    def apply(self, text: str) -> str:
        """The text as the model was trained on it."""
        for name in self.transform:
            text = TRANSFORMS[name](text)
        return text


def check_transform(names: Sequence[str]) -> None:
    """Raises ValueError for a transform that is not known."""
    for name in names:
        if name not in TRANSFORMS:
            raise ValueError(f"transform: {name!r} is unknown. {known_values(name, TRANSFORMS)}")


def check_column(name: str) -> None:
    """Raises ValueError for a column that documents have already, which scores would replace."""
    if name in (*RESERVED, ID, URL, TEXT, HTML):
        raise ValueError(f"column: {name!r} has a meaning of its own. Choose another name.")


def prepare(texts: pa.Array, transform: Sequence[str]) -> pa.Array:
    """A column of texts transformed; null stays null. Equal to `Card.apply` text by text.

    Lower case is by far the most common, and of ASCII it is Arrow's; whatever is not ASCII is left to Python.
    """
    texts = texts.cast(pa.large_string())
    for name in transform:
        if name == "lowercase":
            texts = _where(texts, pc.invert(pc.string_is_ascii(texts)), str.lower, pc.ascii_lower(texts))
        else:
            texts = pa.array(
                [None if text is None else TRANSFORMS[name](text) for text in texts.to_pylist()], pa.large_string()
            )
    return texts


def as_column(texts: Sequence[str | None] | pa.Array | pa.ChunkedArray) -> pa.LargeStringArray:
    """Texts as one Arrow array. Raises TypeError for a single string, which would be split into letters."""
    if isinstance(texts, str):
        raise TypeError("give a list of texts: scorer(['some text'])")
    if isinstance(texts, pa.Array | pa.ChunkedArray):
        texts = texts.cast(pa.large_string())
        return texts.combine_chunks() if isinstance(texts, pa.ChunkedArray) else texts
    return pa.array(texts, pa.large_string())


def _where(texts: pa.Array, mask: pa.Array, function: Callable[[str], str], others: pa.Array) -> pa.Array:
    """`function` of the texts under the mask, and `others` elsewhere."""
    mask = pc.fill_null(mask, False)
    changed = [function(text) for text in texts.filter(mask).to_pylist()]
    return pc.replace_with_mask(others, mask, pa.array(changed, pa.large_string()))


class Scorer(Protocol):
    """Texts in, one array per column out: shape (texts,), float32, NaN where a text is None or has no feature.

    A call is `score(prepare(texts))`. Scorers of equal `view` prepare texts alike, so that several read a text once.
    """

    view: str

    @property
    def columns(self) -> Sequence[str]: ...
    def prepare(self, texts: pa.Array) -> Any: ...
    def score(self, prepared: Any) -> Scores: ...
    def __call__(self, texts: Sequence[str | None] | pa.Array | pa.ChunkedArray) -> Scores: ...


_OTHER_KINDS = {
    "prox": "a refiner, for the stages 'prox', 'prox_doc' and 'prox_chunk'",
    "influence": "an influence model, for the stage 'influence'",
    "tokenizer": "a tokenizer, for the stage 'tokens'",
}


def load_card(folder: str) -> Card:
    """Read and check a card. Raises SpecError saying what is missing, and when the model is not the card's."""
    from curate.config.options import OptionError, build

    path = Path(folder) / "card.md"
    if not path.is_file():
        raise no_card(folder, "A scorer is a folder with a card and a model")
    front = front_matter(path)
    if (other := _OTHER_KINDS.get(str(front.get("kind")))) is not None:
        raise SpecError(f"{path}: this is {other}, and no scorer that gives texts a number.")
    known = ("kind", "model", "sha256", "columns", "transform", "end_of_line")
    if "transform" not in front:
        raise SpecError(f"{path}: no 'transform'. Say how text was prepared in training: {', '.join(TRANSFORMS)}, or [].")
    for name in front:
        if name not in known and (near := difflib.get_close_matches(name, known, n=1, cutoff=0.8)):
            raise SpecError(f"{path}: key {name!r}: did you mean {near[0]!r}? A misspelt key would be passed over.")
    try:
        card = build(Card, {name: front[name] for name in known if name in front})
    except OptionError as error:
        raise SpecError(f"{path}: {error}") from error
    model = Path(folder) / card.model
    if not model.is_file():
        raise SpecError(f"{path}: model {card.model!r} is not in {folder!r}. Train it, or copy it there.")
    if card.sha256 is not None and (found := _hash_of(str(model))) != card.sha256:
        raise SpecError(
            f"{path}: the card is of a model with sha256 {card.sha256}, and {card.model!r} has {found}. "
            "Copy card and model again, together; or correct the card, if you know this model to be the one it describes."
        )
    return card


def no_card(folder: str, wanted: str) -> SpecError:
    """The error for a folder without a model; `wanted` describes what it should hold."""
    what = "has no card.md" if Path(folder).is_dir() else "is not there"
    beside = sorted(path.parent.name for path in Path(folder).absolute().parent.glob("*/card.md"))
    return SpecError(
        f"scorer {folder!r} {what}. {wanted}, as 'curate fit' writes it. Others in its place: {', '.join(beside) or 'none'}. "
        f"By name: {known_values(Path(folder).name, known_names('scorer'))}"
    )


def _hash_of(path: str) -> str:
    status = os.stat(path)
    return _hash_once(path, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=64)
def _hash_once(path: str, size: int, mtime_ns: int) -> str:
    """The hash is cached by the file's state: cards are read often, and models may be large."""
    return store.file_hash(path)


def front_matter(path: Path) -> Mapping[str, Any]:
    """The YAML between the two lines of dashes. Raises SpecError where it is not a mapping."""
    match = re.match(r"---\n(.*?)\n---\n", path.read_text(encoding="utf-8"), re.DOTALL)
    try:
        front = yaml.safe_load(match.group(1)) if match else None
    except yaml.YAMLError as error:
        raise SpecError(f"{path}: the front matter is not YAML: {error}") from error
    if not isinstance(front, dict):
        raise SpecError(f"{path}: no front matter. Begin the card with '---', key: value lines, '---'.")
    return front
