"""Training of byte-level BPE tokenizers: on whole texts, or on the words that many groups share."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from curate.errors import DataError
from curate.train.documents import Corpus

BOS = "<|endoftext|>"


def train_cased_tokenizer(texts: Iterable[str], vocab_size: int, path: Path) -> None:
    """A cased tokenizer for language models, written to `path`; the beginning-of-text token has id 0.

    Raises DataError where the texts give fewer entries than `vocab_size`.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=vocab_size, special_tokens=[BOS], initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    if tokenizer.get_vocab_size() < vocab_size:
        raise DataError(f"vocab_size: the documents give {tokenizer.get_vocab_size():,} pieces, not {vocab_size:,}. Lower it.")
    tokenizer.save(str(path.with_suffix(".tmp")))
    os.replace(path.with_suffix(".tmp"), path)


def train_tokenizer(corpus: Corpus, vocab_size: int, min_groups: int, special: Sequence[str], path: Path) -> None:
    """An uncased tokenizer from the words of the documents, written to `path`. Special tokens have the first ids.

    Every word counts once per group, and vocabulary entries occur in at least `min_groups` groups, so that the vocabulary holds
    no names of single sites and is not filled by menus. Raises DataError where the documents give fewer entries than
    `vocab_size`.
    """
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Lowercase()
    splitter = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.pre_tokenizer, tokenizer.decoder = splitter, decoders.ByteLevel()
    words: dict[str, set[str]] = {}
    for text, group in zip(corpus.texts.to_pylist(), corpus.groups, strict=True):
        for line in set(text.lower().split("\n")):
            pieces = splitter.pre_tokenize_str(line)
            words.setdefault(group, set()).update(line[start:end] for _, (start, end) in pieces)
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, special_tokens=list(special), min_frequency=min_groups, show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )  # fmt: skip
    tokenizer.train_from_iterator((sorted(words[group]) for group in sorted(words)), trainer)
    if tokenizer.get_vocab_size() < vocab_size:
        raise DataError(
            f"vocab_size: the documents give {tokenizer.get_vocab_size():,} pieces that {min_groups} groups have, not "
            f"{vocab_size:,}. Lower it, or min_groups."
        )
    tokenizer.save(str(path))
