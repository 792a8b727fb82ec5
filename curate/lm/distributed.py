"""Several processes that train one model together, each on its share of every batch.

Gradients are added up before a step, so all of them take the same one; the first also writes checkpoints.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, distributed


@dataclass(frozen=True)
class ProcessGroup:
    """One of `size` processes, as which one it counts."""

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        return self.rank == 0

    def share(self, batch: Tensor) -> Tensor:
        """The rows that this process reads."""
        return batch[self.rank :: self.size]

    def add_up(self, tensors: Sequence[Tensor]) -> None:
        """Put the sums over all processes in place of tensors, in one exchange."""
        if self.size == 1:
            return
        whole = torch.cat([tensor.flatten() for tensor in tensors])
        distributed.all_reduce(whole)
        for tensor, part in zip(tensors, torch.split(whole, [tensor.numel() for tensor in tensors]), strict=True):
            tensor.copy_(part.view_as(tensor))

    def sum(self, value: float, device: str) -> float:
        """Over all processes."""
        if self.size == 1:
            return value
        whole = torch.tensor(value, dtype=torch.float64, device=device)
        self.add_up([whole])
        return whole.item()


ALONE = ProcessGroup()
