"""Train a small causal language model on a stream of tokens: AdamW; warm-up, then a cosine or a plateau and a decay.

A run killed at any moment goes on from its last checkpoint, and on a CPU ends with the parameters, bit for bit, and the log of
a run that was never killed (for a given torch and number of threads). The batch of a step depends on its number, the seed and
the length of the stream, so there is no state of a reader to lose. A training may change its stream on the way
(`TrainSegment`): the optimizer and the learning rate go on, which takes a schedule with a plateau (Hu et al. 2024,
"MiniCPM", section 4).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Generic, Literal, Protocol, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from curate.errors import RunError, SpecError
from curate.lm.distributed import ALONE, ProcessGroup
from curate.lm.token_stream import Tokens, window_order

CHECKPOINT = "checkpoint.pt"
LOG = "log.jsonl"
_OF_SEGMENT = ("stream", "first", "begin")
"""The facts of a checkpoint that depend on its segment."""
# A batch goes through the model in parts, whose gradients add up. On one core, with 4,096 entries in the vocabulary, logits of
# 1,024 tokens at once train 8,400 tokens/s and those of 4,096 tokens 7,000.
_CPU_TOKENS_AT_ONCE, _GPU_TOKENS_AT_ONCE = 2**10, 2**16


@dataclass(frozen=True, kw_only=True)
class Training:
    """How a model is trained. The learning rate climbs to `lr` and falls to `lr * min_lr_frac`, along a cosine, or, with
    `decay_frac`, in a straight line at the end."""

    tokens: int
    """How many are trained on, repeats included; rounded down to whole steps."""
    batch: int
    """Sequences in a step."""
    lr: float
    min_lr_frac: float = 0.1
    warmup_frac: float = 0.02
    decay_frac: float | None = None
    """The last share of the steps, in which the rate falls from a plateau."""
    weight_decay: float = 0.1
    """Weight decay of matrices; the weights of norms have none."""
    betas: tuple[float, float] = (0.9, 0.95)
    clip: float = 1.0
    """The largest norm of a gradient."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """The dtype of matrix products; weights and moments are always float32. On GPUs bfloat16 is several times as fast."""
    seed: int
    checkpoint_every: int
    """Steps."""

    def __post_init__(self) -> None:
        for name in ("tokens", "batch", "lr", "clip", "checkpoint_every"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} ({getattr(self, name)}) is not positive")
        for name in ("min_lr_frac", "warmup_frac", "decay_frac"):
            if getattr(self, name) is not None and not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} ({getattr(self, name)}) is not between 0 and 1")
        if self.weight_decay < 0 or self.seed < 0:
            raise ValueError(f"weight_decay ({self.weight_decay}) or seed ({self.seed}) is negative")
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"betas ({self.betas}) are not in [0, 1)")


@dataclass(frozen=True, kw_only=True)
class TrainSegment:
    """A segment of training: the steps that read one stream, counted from 0."""

    first: int = 0
    until: int | None = None
    """The step after the last; None for the end of the training."""
    begin: Path | None = None
    """The checkpoint after `first` steps from which the segment continues."""


@dataclass(frozen=True)
class StepLog:
    """A line of the log: steps and tokens so far, the loss of this step's batch in nats per token, and its learning rate."""

    step: int
    tokens: int
    loss: float
    lr: float


M = TypeVar("M", bound=nn.Module, covariant=True)


class InitModel(Protocol[M]):
    """The initialisation of a training: `Shape`, or `Base` of `checkpoint.py`."""

    @property
    def context(self) -> int:
        """Context length in tokens."""

    @property
    def vocab_size(self) -> int: ...

    def begin(self, seed: int) -> M:
        """The model, which gives logits (batch, length, vocabulary) of ids (batch, length)."""

    def facts(self) -> dict[str, Any]:
        """The facts that a checkpoint depends on."""


@dataclass(frozen=True)
class Trained(Generic[M]):
    """The model after its last step, and the loss of every step in nats per token, before it was taken."""

    model: M
    losses: tuple[float, ...]
    steps: int
    tokens: int


@dataclass(frozen=True)
class State:
    """The content of a checkpoint."""

    about: dict[str, Any]
    model: nn.Module
    optimizer: Any
    """A torch optimizer, or what has its `state_dict` and `load_state_dict`."""
    losses: list[float]

    def write(self, path: Path) -> None:
        state = {"about": self.about, "losses": self.losses}
        state |= {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}
        torch.save(state, path.with_suffix(".tmp"))
        os.replace(path.with_suffix(".tmp"), path)

    def read(self, path: Path, apart: frozenset[str] = frozenset()) -> None:
        """Restore a checkpoint. Raises SpecError where it differs from this training in other facts than those in `apart`."""
        found = torch.load(path, map_location="cpu", weights_only=True)
        then = found["about"] | {name: self.about[name] for name in apart}
        differ = [f"{name} {then.get(name)} (now {value})" for name, value in self.about.items() if then.get(name) != value]
        if differ:
            raise SpecError(f"{path} was trained with {', '.join(differ)}. Change them back, or train in another folder")
        self.model.load_state_dict(found["model"])
        self.optimizer.load_state_dict(found["optimizer"])
        self.losses[:] = found["losses"]


def train(
    begins: InitModel[M], training: Training, stream: Tokens, folder: Path, *, segment: TrainSegment | None = None,
    listener: Callable[[StepLog], None] | None = None, device: str = "cpu", threads: int | None = None,
    team: ProcessGroup = ALONE,
) -> Trained[M]:  # fmt: skip
    """Train to the end, or to that of a segment, from the last checkpoint in `folder` if there is one. `threads` are torch's,
    meanwhile; with a team, each of its processes calls this. Raises SpecError for checkpoints of another training, RunError
    when the loss is no number any more."""
    segment = segment or TrainSegment()
    plan = _Plan(begins, training, stream, segment)
    if training.batch % team.size:
        raise SpecError(f"batch ({training.batch}) is not a multiple of the {team.size} processes that share it")
    with torch_threads(threads):
        model = begins.begin(training.seed).to(device)
        state = State(_about(begins, training, stream, segment), model, adamw(model, training), [])
        if (folder / CHECKPOINT).exists():
            state.read(folder / CHECKPOINT)
        elif segment.begin is not None:
            state.read(segment.begin, frozenset(_OF_SEGMENT))
            if len(state.losses) != segment.first:
                raise SpecError(
                    f"{segment.begin} has {len(state.losses)} steps behind it, and the segment begins after {segment.first}"
                )
        folder.mkdir(parents=True, exist_ok=True)
        # The log is written anew from the checkpoint, which leaves out steps that were logged and lost.
        with open(folder / LOG if team.leads else os.devnull, "w", buffering=1) as log:
            log.writelines(_line(plan.step(number, loss)) for number, loss in enumerate(state.losses))
            for number in range(len(state.losses), plan.until):
                loss = _take(state, plan.batch(number), plan.lr(number), training, device, team)
                state.losses.append(loss)
                log.write(_line(plan.step(number, loss)))
                last = (number + 1) % training.checkpoint_every == 0 or number + 1 == plan.until
                if last and team.leads:
                    state.write(folder / CHECKPOINT)
                if listener:
                    listener(plan.step(number, loss))
    return Trained(model, tuple(state.losses), plan.until, plan.until * plan.tokens_per_step)


class _Plan:
    """The batch and the learning rate of every step, as functions of its number."""

    def __init__(self, begins: InitModel[nn.Module], training: Training, stream: Tokens, segment: TrainSegment) -> None:
        self.context, self.training, self.stream, self.first = begins.context, training, stream, segment.first
        self.tokens_per_step = training.batch * begins.context
        self.steps = training.tokens // self.tokens_per_step
        self.until = self.steps if segment.until is None else segment.until
        self.num_windows = (len(stream) - 1) // begins.context
        if not self.steps:
            raise SpecError(f"tokens ({training.tokens}) are less than one step of {self.tokens_per_step}. Raise tokens")
        if not 0 <= segment.first < self.until <= self.steps:
            raise SpecError(
                f"a segment from step {segment.first} to {self.until}, and the training has steps 0 to {self.steps}"
            )
        if not self.num_windows:
            raise SpecError(f"a stream of {len(stream)} tokens has no window of {begins.context + 1}. Give more text")
        if stream.max() >= begins.vocab_size:
            raise SpecError(f"the stream has token {stream.max()}, the model {begins.vocab_size}. Is it the model's tokenizer?")

    def batch(self, number: int) -> Tensor:
        """Windows (batch, context + 1). They share one token at each seam, so that every token but the first is a target."""
        first = (number - self.first) * self.training.batch
        rows = [self._window(drawn) for drawn in range(first, first + self.training.batch)]
        return torch.from_numpy(np.stack(rows).astype(np.int64))

    def _window(self, drawn: int) -> Tokens:
        epoch, place = divmod(drawn, self.num_windows)
        start = int(_order(self.num_windows, self.training.seed, epoch)[place]) * self.context
        return self.stream[start : start + self.context + 1]

    def lr(self, number: int) -> float:
        top, warmup = self.training.lr, round(self.training.warmup_frac * self.steps)
        if number < warmup:
            return top * (number + 1) / warmup
        low = top * self.training.min_lr_frac
        if self.training.decay_frac is not None:
            last = round(self.training.decay_frac * self.steps)
            return top - (top - low) * max(0, number + 1 - self.steps + last) / max(1, last)
        progress = (number - warmup) / max(1, self.steps - 1 - warmup)
        return low + (top - low) * 0.5 * (1 + math.cos(math.pi * progress))

    def step(self, number: int, loss: float) -> StepLog:
        return StepLog(number + 1, (number + 1) * self.tokens_per_step, loss, self.lr(number))


_order = lru_cache(maxsize=2)(window_order)  # A batch may end one epoch and begin the next.


def _take(state: State, batch: Tensor, lr: float, training: Training, device: str, team: ProcessGroup) -> float:
    """One step of the optimizer. Returns the loss before it, in nats per token."""
    state.optimizer.zero_grad()
    predicted = batch[:, 1:].numel()
    mine = team.share(batch).to(device)
    ids, targets, total = mine[:, :-1], mine[:, 1:], 0.0
    at_once = max(1, (_CPU_TOKENS_AT_ONCE if mine.device.type == "cpu" else _GPU_TOKENS_AT_ONCE) // ids.shape[1])
    for some, wanted in zip(torch.split(ids, at_once), torch.split(targets, at_once), strict=True):
        with torch.autocast(mine.device.type, torch.bfloat16, enabled=training.dtype == "bfloat16"):
            logits = state.model(some).float()
        loss = F.cross_entropy(logits.flatten(0, 1), wanted.flatten(), reduction="sum") / predicted
        loss.backward()  # type: ignore[no-untyped-call]
        total += loss.item()
    team.add_up([parameter.grad for parameter in state.model.parameters() if parameter.grad is not None])
    total = team.sum(total, device)
    norm = torch.nn.utils.clip_grad_norm_(state.model.parameters(), training.clip).item()
    if not math.isfinite(total + norm):
        step = len(state.losses) + 1
        raise RunError(f"step {step}: the loss is {total}, the norm of its gradient {norm}. Lower lr or raise warmup_frac")
    for group in state.optimizer.param_groups:
        group["lr"] = lr
    state.optimizer.step()
    return total


def adamw(model: torch.nn.Module, training: Training) -> torch.optim.AdamW:
    """The optimizer that a checkpoint's moments belong to."""
    parameters = list(model.parameters())
    groups = [
        {"params": [p for p in parameters if p.dim() == 2], "weight_decay": training.weight_decay},
        {"params": [p for p in parameters if p.dim() != 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=training.lr, betas=training.betas, fused=True)


def _about(begins: InitModel[nn.Module], training: Training, stream: Tokens, segment: TrainSegment) -> dict[str, Any]:
    """Everything that the parameters depend on. The checkpoint interval is not part of it."""
    fields = {name: value for name, value in asdict(training).items() if name != "checkpoint_every"}
    if training.dtype == "float32":
        del fields["dtype"]  # which a checkpoint of an earlier version does not know
    begin = hashlib.sha256(segment.begin.read_bytes()).hexdigest() if segment.begin else None
    stream_sha256 = hashlib.sha256(np.ascontiguousarray(stream).data).hexdigest()
    return begins.facts() | fields | dict(zip(_OF_SEGMENT, (stream_sha256, segment.first, begin), strict=True))


def _line(step: StepLog) -> str:
    return json.dumps(asdict(step)) + "\n"


@contextlib.contextmanager
def torch_threads(threads: int | None) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
