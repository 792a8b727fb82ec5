"""Train a language model on chosen predictions: at some places of a sequence, what is said of it, or what comes next.

The number of sequences in a step follows from their lengths, since a step holds a number of tokens. Sequences of an epoch come
from a function of its number, so that windows may be cut anew each time. Killed at any moment, training goes on from its last
checkpoint to the same bytes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

from curate.errors import RunError, SpecError
from curate.lm.model import CausalLM, Shape
from curate.lm.train import CHECKPOINT, State, torch_threads

_CPU_TOKENS_AT_ONCE, _GPU_TOKENS_AT_ONCE = 2**12, 2**14
_CHECKPOINT_STEPS = 500


@dataclass(frozen=True)
class Example:
    """One sequence: the target at positions[i] is the id targets[i], with a weight. All arrays but `ids` have one length."""

    ids: npt.NDArray[np.int64]
    positions: npt.NDArray[np.int64]
    targets: npt.NDArray[np.int64]
    weights: npt.NDArray[np.float32]
    causal: bool
    """Causal attention; otherwise bidirectional."""


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """Length, batch size and learning rates of a training."""

    tokens: int
    """Training tokens."""
    batch_tokens: int
    lr: float
    """Learning rate of embeddings and norms, which AdamW optimizes."""
    matrix_lr: float
    """Learning rate of all other matrices, which Muon optimizes (Jordan et al. 2024): its steps have equal singular values."""
    weight_decay: float = 0.1
    clip: float = 1.0
    warmup_steps: int = 50
    seed: int = 0

    def pace(self, step: int, tokens: int) -> float:
        """The factor of the learning rates: linear warm-up, then a cosine decay to a twentieth."""
        progress = min(1.0, tokens / self.tokens)
        return min(1.0, (step + 1) / self.warmup_steps) * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * progress)))


class Optimizers:
    """Muon for the matrices inside the model, AdamW for the rest."""

    def __init__(self, model: CausalLM, tuning: Tuning) -> None:
        named = dict(model.named_parameters())
        inside = [p for name, p in named.items() if p.dim() == 2 and name.startswith("layers.")]
        others = [p for name, p in named.items() if p.dim() != 2 or not name.startswith("layers.")]
        self._rates = tuning.matrix_lr, tuning.lr
        self._both = (
            torch.optim.Muon(inside, lr=tuning.matrix_lr, momentum=0.95, weight_decay=tuning.weight_decay),
            torch.optim.AdamW(others, lr=tuning.lr, betas=(0.9, 0.98), weight_decay=tuning.weight_decay, fused=True),
        )

    def zero_grad(self) -> None:
        for optimizer in self._both:
            optimizer.zero_grad()

    def step(self, pace: float) -> None:
        for optimizer, rate in zip(self._both, self._rates, strict=True):
            for group in optimizer.param_groups:
                group["lr"] = rate * pace
            optimizer.step()

    def state_dict(self) -> dict[str, Any]:
        return {str(number): optimizer.state_dict() for number, optimizer in enumerate(self._both)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for number, optimizer in enumerate(self._both):
            optimizer.load_state_dict(state[str(number)])


@dataclass(frozen=True)
class Progress:
    """Steps and tokens so far, of all tokens, and the mean weighted loss of the last steps in nats."""

    step: int
    tokens: int
    total: int
    loss: float


Epoch = Callable[[int], Sequence[Example]]
"""The examples of an epoch, by its number."""


def tune(
    model: CausalLM, tuning: Tuning, epoch: Epoch, folder: Path, about: dict[str, Any], *,
    listener: Callable[[Progress], None] | None = None, device: str = "cpu", threads: int | None = None,
) -> list[float]:  # fmt: skip
    """Train `model` in place; the loss of every step.

    `about` identifies the training: SpecError for a checkpoint in `folder` with another one.
    """
    with torch_threads(threads):
        optimizers = Optimizers(model.to(device).train(), tuning)
        state = State({**about, **asdict(tuning), **_shape(model.shape)}, model, optimizers, [])
        if (folder / CHECKPOINT).exists():
            state.read(folder / CHECKPOINT)
        folder.mkdir(parents=True, exist_ok=True)
        done, tokens = len(state.losses), 0

        def tell() -> None:
            if listener:
                listener(Progress(len(state.losses), tokens, tuning.tokens, float(np.mean(state.losses[-100:]))))

        for step, batch in enumerate(_batches(tuning, epoch)):
            pace = tuning.pace(step, tokens)
            tokens += sum(len(example.ids) for example in batch)
            if step < done:
                continue
            torch.manual_seed(tuning.seed * 1_000_003 + step)  # dropout is the same in a run that was killed
            state.losses.append(_step(model, optimizers, batch, pace, tuning.clip, device))
            if (step + 1) % _CHECKPOINT_STEPS == 0:
                state.write(folder / CHECKPOINT)
            if (step + 1) % 20 == 0:
                tell()
        tell()
        state.write(folder / CHECKPOINT)
        model.eval()
        return state.losses


def _shape(shape: Shape) -> dict[str, Any]:
    return {f"model_{name}": value for name, value in asdict(shape).items()}


def _batches(tuning: Tuning, epoch: Epoch) -> Iterator[list[Example]]:
    """Batches until the token budget is used. Sequences of similar length form a batch; batches are shuffled in every epoch."""
    tokens, number = 0, 0
    while True:
        examples = epoch(number)
        if not examples:
            raise SpecError("there is nothing to learn from: no document has a line")
        draw = np.random.Generator(np.random.PCG64([tuning.seed, number]))
        by_length = sorted(draw.permutation(len(examples)).tolist(), key=lambda i: len(examples[i].ids) // 64)
        steps: list[list[Example]] = [[]]
        for place in by_length:
            longest = max([len(example.ids) for example in [*steps[-1], examples[place]]])
            if steps[-1] and longest * (len(steps[-1]) + 1) > tuning.batch_tokens:
                steps.append([])
            steps[-1].append(examples[place])
        for place in draw.permutation(len(steps)).tolist():
            yield steps[place]
            tokens += sum(len(example.ids) for example in steps[place])
            if tokens >= tuning.tokens:
                return
        number += 1


def _step(
    model: CausalLM, optimizers: Optimizers, batch: Sequence[Example], pace: float, clip: float, device: str
) -> float:  # fmt: skip
    """One step of the optimizers. Returns the weighted mean loss before it, in nats."""
    optimizers.zero_grad()
    weight = float(sum(example.weights.sum() for example in batch))
    total = 0.0
    for part in _parts(batch, _CPU_TOKENS_AT_ONCE if device == "cpu" else _GPU_TOKENS_AT_ONCE):
        rows = torch.tensor([row for row, example in enumerate(part) for _ in example.positions])
        positions, targets, weights = (
            torch.from_numpy(np.concatenate([getattr(example, name) for example in part])).to(device)
            for name in ("positions", "targets", "weights")
        )
        ids, seen = padded(part, model.shape.bos)
        hidden = model.hidden(ids.to(device), seen.to(device))[rows.to(device), positions]
        loss = (F.cross_entropy(model.logits(hidden), targets, reduction="none") * weights).sum() / weight
        loss.backward()  # type: ignore[no-untyped-call]
        total += loss.item()
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), clip).item()
    if not math.isfinite(total + norm):
        raise RunError(f"the loss is {total}, the norm of its gradient {norm}. Lower lr and matrix_lr")
    optimizers.step(pace)
    return total


def _parts(batch: Sequence[Example], tokens: int) -> Iterator[list[Example]]:
    part: list[Example] = []
    for example in batch:
        if part and max(len(e.ids) for e in [*part, example]) * (len(part) + 1) > tokens:
            yield part
            part = []
        part.append(example)
    yield part


def padded(examples: Sequence[Example], filler: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids (examples, longest) and attention masks (examples, 1, longest, longest). Padding is masked, and attends to itself
    only, since a row without any True would give NaN."""
    longest = max(len(example.ids) for example in examples)
    ids = torch.full((len(examples), longest), filler)
    seen = torch.eye(longest, dtype=torch.bool).repeat(len(examples), 1, 1, 1)
    for row, example in enumerate(examples):
        length = len(example.ids)
        ids[row, :length] = torch.from_numpy(example.ids)
        inside = torch.ones(length, length, dtype=torch.bool)
        seen[row, 0, :length, :length] = inside.tril() if example.causal else inside
    return ids, seen
