"""Paragraphs and documents that are known already, by the n-grams that a Bloom filter has seen before them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numba import njit

from curate.text.dedup.bloom import BloomFilter, is_in, put_in


@dataclass(frozen=True)
class Known:
    """What is known of a batch: of every document and of every paragraph, the share of known n-grams, and whether it goes."""

    document_shares: npt.NDArray[np.float64]
    documents: npt.NDArray[np.bool_]
    paragraphs: npt.NDArray[np.bool_]


def sift(
    bloom: BloomFilter,
    documents: npt.NDArray[np.int64],
    paragraphs: npt.NDArray[np.int64],
    hashes: npt.NDArray[np.uint64],
    *,
    document_over: float,
    paragraph_over: float,
) -> Known:
    """Go through documents in order, and put the n-grams of what stays into the filter.

    Document d has paragraphs documents[d] .. documents[d + 1], paragraph p the n-grams hashes[paragraphs[p]:paragraphs[p + 1]].
    A document goes when more than `document_over` of its n-grams were known before it, and leaves nothing behind. Of others
    a paragraph goes when more than `paragraph_over` of its n-grams are known, those of the paragraphs before it included.
    What has no n-grams stays. Limits of 1 let nothing go.
    """
    shares = np.zeros(len(documents) - 1)
    gone, cut = np.zeros(len(documents) - 1, np.bool_), np.zeros(len(paragraphs) - 1, np.bool_)
    _sift(bloom.words, bloom.probes, documents, paragraphs, hashes, document_over, paragraph_over, shares, gone, cut)
    return Known(shares, gone, cut)


@njit(nogil=True, cache=True)
def _sift(words, probes, documents, paragraphs, hashes, document_over, paragraph_over, shares, gone, cut):  # type: ignore[no-untyped-def]
    for row in range(len(shares)):
        start, end = paragraphs[documents[row]], paragraphs[documents[row + 1]]
        known = 0
        for i in range(start, end):
            known += is_in(words, probes, hashes[i])
        shares[row] = known / (end - start) if end > start else 0.0
        gone[row] = shares[row] > document_over
        if gone[row]:
            continue
        for place in range(documents[row], documents[row + 1]):
            size, known = paragraphs[place + 1] - paragraphs[place], 0
            for i in range(paragraphs[place], paragraphs[place + 1]):
                known += is_in(words, probes, hashes[i])
            cut[place] = size > 0 and known / size > paragraph_over
            if not cut[place]:
                for i in range(paragraphs[place], paragraphs[place + 1]):
                    put_in(words, probes, hashes[i])
