"""Texts as one stream of tokens, and the order of its windows in training. Needs no torch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt

Tokens = npt.NDArray[np.uint16] | npt.NDArray[np.uint32]

_TEXTS_AT_ONCE = 1024


def token_stream(texts: Iterable[str], tokenizer_path: Path, bos: int) -> Tokens:
    """The texts' tokens, each text after a `bos`. uint16 where the vocabulary fits, else uint32. Shape (tokens,)."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(tokenizer_path))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    size = tokenizer.get_vocab_size()
    if not 0 <= bos < size:
        raise ValueError(f"{tokenizer_path}: bos ({bos}) is not a token: there are {size}, from 0")
    kind = np.uint16 if size <= 2**16 else np.uint32
    pieces = [np.zeros(0, kind)]
    for some in _chunks(texts):
        encoded = tokenizer.encode_batch_fast(some, add_special_tokens=False)
        pieces += [np.array([bos, *item.ids], kind) for item in encoded]
    return np.asarray(np.concatenate(pieces))


def _chunks(texts: Iterable[str]) -> Iterator[list[str]]:
    left = iter(texts)
    while some := list(islice(left, _TEXTS_AT_ONCE)):
        yield some


def window_order(num_windows: int, seed: int, epoch: int) -> npt.NDArray[np.int64]:
    """A permutation of the windows that depends on the arguments only."""
    return np.random.Generator(np.random.PCG64([seed, epoch])).permutation(num_windows)
