"""fastText models as scorers and language identifiers. The only module that imports fasttext.

Two ways to the same scores. A softmax classifier of words and word n-grams, which is what quality scorers are, is folded
(`fasttext_file.py`) and summed by a kernel over Arrow buffers, 3 times as fast as the library and in a fraction of its
memory; scores agree to 1e-6. Any other model (letter n-grams, many labels, other losses) goes through the library.

The package's own `predict` breaks on numpy 2 (it asks for a view where a copy is needed), so the compiled module behind
it is called directly. Probabilities may exceed 1 by rounding and are clamped.
"""

from __future__ import annotations

import importlib.util
import pickle
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curate.errors import SpecError, install_hint
from curate.models.card import Card, Scores, as_column, prepare
from curate.models.fasttext_file import FoldedModel, ModelFile
from curate.process import Child, Function
from curate.text.unicode.buffers import text_buffers
from curate.text.words.fasttext import Tokens, cut_tokens, mean_weights

SEPARATED_ANYWAY = "newlines_to_spaces"
"""A transform that leaves fastText's tokens as they are: line ends separate them as blanks do."""


def load_model(path: str) -> Any:
    """The compiled model behind a .bin or .ftz file. Raises SpecError when fasttext or the model cannot be loaded."""
    try:
        import fasttext
    except ImportError as error:
        raise SpecError(f"this fastText model needs the package 'fasttext'. {install_hint('fasttext')}") from error
    fasttext.FastText.eprint = lambda *args, **kwargs: None
    try:
        return fasttext.load_model(path).f
    except ValueError as error:
        raise SpecError(f"{path!r} is not a fastText model: {error}") from error


def probabilities(model: Any, lines: Sequence[str], top: int, *, end_of_line: bool = True) -> list[dict[str, float]]:
    """Per line the `top` most probable labels (-1: all). Lines must not hold line breaks."""
    end = "\n" if end_of_line else ""
    labels, predicted = model.multilinePredict([f"{line}{end}" for line in lines], top, 0.0, "strict")
    return [
        {label: min(1.0, float(p)) for p, label in zip(row, names, strict=True)}
        for row, names in zip(predicted, labels, strict=True)
    ]


def fasttext_scorer(card: Card, path: str) -> FoldedScorer | LibraryScorer:
    """The scorer of a card. Raises SpecError when the model cannot be read or lacks a label that the card names."""
    file = ModelFile(path)
    for label in card.columns.values():
        if label not in file.labels:
            raise SpecError(f"{path!r} has no label {label!r}. Known: {', '.join(sorted(file.labels))}.")
    if file.folds:
        return FoldedScorer(card, file.fold(end_of_line=card.end_of_line == "keep"))
    return LibraryScorer(card, load_model(path))


class FoldedScorer:
    """A classifier as a sum of what each word and n-gram weighs."""

    def __init__(self, card: Card, model: FoldedModel) -> None:
        self._card, self._model = card, model
        self._transform = tuple(name for name in card.transform if name != SEPARATED_ANYWAY)
        self.view = f"fasttext_tokens:{','.join(self._transform)}"

    @property
    def columns(self) -> Sequence[str]:
        return list(self._card.columns)

    def prepare(self, texts: pa.Array) -> Tokens:
        null = np.asarray(texts.is_null().to_numpy(zero_copy_only=False))
        return cut_tokens(text_buffers(prepare(texts, self._transform)), null)

    def score(self, tokens: Tokens) -> Scores:
        found = self._model.probabilities(mean_weights(tokens, self._model.features, self._model.weights))
        found[tokens.null] = np.nan
        return {column: found[:, self._model.labels.index(label)].copy() for column, label in self._card.columns.items()}

    def __call__(self, texts: Sequence[str | None] | pa.Array | pa.ChunkedArray) -> Scores:
        return self.score(self.prepare(as_column(texts)))


@dataclass(frozen=True)
class Lines:
    """Texts made ready for the library, None where there is none."""

    lines: npt.NDArray[np.object_]

    def __getitem__(self, rows: Any) -> Lines:
        return Lines(self.lines[rows])


class LibraryScorer:
    """A classifier asked through the library, text by text."""

    def __init__(self, card: Card, model: Any) -> None:
        self._card, self._model = card, model
        self.view = f"lines:{','.join(card.transform)}"

    @property
    def columns(self) -> Sequence[str]:
        return list(self._card.columns)

    def prepare(self, texts: pa.Array) -> Lines:
        ready = prepare(texts, self._card.transform).to_pylist()
        lines = [None if text is None else text.replace("\n", " ") for text in ready]
        return Lines(np.array([*lines, None], np.object_)[:-1])

    def score(self, prepared: Lines) -> Scores:
        asked = [line or "" for line in prepared.lines]
        found = probabilities(self._model, asked, -1, end_of_line=self._card.end_of_line == "keep")
        null = np.array([line is None for line in prepared.lines], np.bool_)
        return {
            # A text without a single feature has no prediction at all.
            column: np.where(null, np.nan, [row.get(label, np.nan) for row in found]).astype(np.float32)
            for column, label in self._card.columns.items()
        }

    def __call__(self, texts: Sequence[str | None] | pa.Array | pa.ChunkedArray) -> Scores:
        return self.score(self.prepare(as_column(texts)))


def text_vectors(learn: Sequence[str], texts: Sequence[str], dimensions: int = 100) -> npt.NDArray[np.float64] | None:
    """Vectors of texts, from a skip-gram model of the texts in `learn`, one thread. Shape (texts, dimensions). None where
    fasttext is not installed, or training ends in NaN.

    In a process of its own: on one thread fastText 0.9.3 leaves nine tenths of its matrix uninitialised, which in a new process
    are zeros, and in one that has used memory before anything, NaN included.
    """
    if importlib.util.find_spec("fasttext") is None:
        return None
    child = Child(_vectors_of)
    try:
        found = pickle.loads(child.call(pickle.dumps((list(learn), list(texts), dimensions))))
    except RuntimeError:
        return None
    finally:
        child.close()
    return np.asarray(found, np.float64)


def _vectors_of() -> Function:
    import fasttext

    def apply(payload: bytes) -> bytes:
        learn, texts, dimensions = pickle.loads(payload)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "texts.txt"
            path.write_text("".join(f"{' '.join(text.split())}\n" for text in learn), "utf-8")
            model = fasttext.train_unsupervised(str(path), dim=dimensions, thread=1, minCount=2, bucket=200_000, verbose=0)
        return pickle.dumps(np.array([model.get_sentence_vector(" ".join(text.split())) for text in texts]))

    return apply
