"""Which texts are kept of dropped and edited documents: the smallest keyed hashes."""

from __future__ import annotations

import heapq
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from curate.schema import mix

SAMPLE_KEY = 0x5EED


class BottomK:
    """The k smallest hashes seen per key: a uniform sample that neither order nor split can change."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._heaps: dict[str, list[int]] = {}

    def offer(self, key: str, hashes: npt.NDArray[np.uint64]) -> npt.NDArray[np.bool_]:
        """Take hashes in; true where a hash is (so far) among the k smallest of its key."""
        heap = self._heaps.setdefault(key, [])
        taken = np.zeros(len(hashes), np.bool_)
        for index, value in enumerate(hashes.tolist()):
            if len(heap) < self.size:
                heapq.heappush(heap, -value)
                taken[index] = True
            elif heap and value < -heap[0]:
                heapq.heapreplace(heap, -value)
                taken[index] = True
        return taken

    def as_json(self) -> dict[str, list[int]]:
        return {key: sorted(-value for value in heap) for key, heap in sorted(self._heaps.items())}

    def merge(self, other: Mapping[str, list[int]]) -> None:
        for key, hashes in other.items():
            self.offer(key, np.array(hashes, np.uint64))

    def threshold(self, key: str) -> int:
        """Hashes up to this one are in the sample; -1 when none is."""
        heap = self._heaps.get(key)
        return -heap[0] if heap else -1


def sampled_texts(text: pa.Array, samples: BottomK, keys: list[str], ordinals: npt.NDArray[np.uint64]) -> pa.Array:
    """The texts, null where a row is not in the sample of its key. Shapes: all (rows,)."""
    hashes = mix(ordinals, SAMPLE_KEY)
    taken = np.zeros(len(keys), np.bool_)
    names = np.array(keys)
    for key in dict.fromkeys(keys):
        mine = names == key
        taken[mine] = samples.offer(key, hashes[mine])
    return pc.if_else(pa.array(taken), text, pa.scalar(None, pa.large_string()))
