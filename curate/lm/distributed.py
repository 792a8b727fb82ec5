"""Data-parallel training: processes that train one model, each on its share of every batch.

Gradients are all-reduced before a step, so all processes take the same step. The first process also writes checkpoints.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, distributed


@dataclass(frozen=True)
class ProcessGroup:
    """Process `rank` of `size` processes."""

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        return self.rank == 0

    def share(self, batch: Tensor) -> Tensor:
        """The rows of a batch that this process computes."""
        return batch[self.rank :: self.size]

    def add_up(self, tensors: Sequence[Tensor]) -> None:
        """Replace tensors by their sums over all processes, in one all-reduce."""
        if self.size == 1:
            return
        whole = torch.cat([tensor.flatten() for tensor in tensors])
        distributed.all_reduce(whole)
        for tensor, part in zip(tensors, torch.split(whole, [tensor.numel() for tensor in tensors]), strict=True):
            tensor.copy_(part.view_as(tensor))

    def sum(self, value: float, device: str) -> float:
        """The sum of a number over all processes."""
        if self.size == 1:
            return value
        whole = torch.tensor(value, dtype=torch.float64, device=device)
        self.add_up([whole])
        return whole.item()


ALONE = ProcessGroup()
