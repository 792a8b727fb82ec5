"""Tiny fastText classifiers, trained where a test needs one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path


def train(folder: Path, card: str, texts: Mapping[str, Sequence[str]]) -> Path:
    """A folder with a card and a `model.bin` that tells the labels apart, learnt from some texts of each."""
    import fasttext

    folder.mkdir()
    lines = [f"__label__{label} {text}" for label, examples in texts.items() for text in examples]
    (folder / "train.txt").write_text("\n".join(lines * 25) + "\n")
    # Eleven threads: in fasttext 0.9.3 each fills a tenth of the input matrix, rounded down, and the eleventh what ten
    # leave over; whatever is not filled holds what memory held before, often NaN.
    model = fasttext.train_supervised(str(folder / "train.txt"), epoch=50, lr=0.1, dim=8, thread=11, verbose=0)
    model.save_model(str(folder / "model.bin"))
    (folder / "card.md").write_text(card)
    return folder
