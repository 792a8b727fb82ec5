"""Oracle data influence: by how much one optimizer step on one sequence lowers the loss on a reference.

Influence is loss before - loss after: higher is better. Two ways to find it, from the weights and moments of a checkpoint:

- `one_step` takes the step and measures the reference again (Yu et al. 2024, "MATES", arXiv:2406.06046, section 4.1);
- `gradient` takes the same step on paper, as the optimizer would, clipping and moments included, and multiplies it by the
  gradient of the reference loss: exact to first order in the learning rate, without a look at the reference per sequence.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from curate.errors import RunError

I64 = npt.NDArray[np.int64]
IGNORED = -100
_GRADIENT_BYTES = 2**29
"""Gradients of single sequences that are held at once."""


@dataclass(frozen=True)
class Scored:
    """Token ids, of which the last `scored` are targets."""

    ids: I64
    scored: int


class Reference:
    """A reference set: sequences whose loss is the mean over all their scored tokens, in nats.

    (MATES's code has the mean of the means of batches, which changes with the size of a batch.)
    """

    def __init__(self, sequences: Sequence[Scored], *, batch_tokens: int = 8192, device: str = "cpu") -> None:
        self.tokens = sum(sequence.scored for sequence in sequences)
        if not self.tokens:
            raise ValueError("a reference without a token to predict")
        self.tokens_read = sum(len(sequence.ids) - 1 for sequence in sequences)
        """Tokens that pass through the model in one evaluation."""
        self.batches = [padded(batch, device) for batch in _batches(sequences, batch_tokens)]

    def loss(self, model: nn.Module) -> float:
        with torch.inference_mode():
            return sum(self._sum(model, ids, targets).item() for ids, targets in self.batches) / self.tokens

    def gradient(self, model: nn.Module) -> list[Tensor]:
        """The gradient of the loss, one tensor per parameter."""
        parameters = list(model.parameters())
        total = [torch.zeros_like(parameter) for parameter in parameters]
        for ids, targets in self.batches:
            part = torch.autograd.grad(self._sum(model, ids, targets), parameters, allow_unused=True)
            for whole, some in zip(total, part, strict=True):
                if some is not None:
                    whole.add_(some, alpha=1 / self.tokens)
        return total

    def _sum(self, model: nn.Module, ids: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(model(ids).flatten(0, 1), targets.flatten(), reduction="sum", ignore_index=IGNORED)


class Oracle:
    """Measures the influence of sequences on a checkpoint, which is restored after every measurement.

    `model` gives logits (batch, length, vocabulary) of ids (batch, length), not in half precision; `optimizer` is AdamW, with
    the learning rate of the step and with its moments, if it has taken any.
    """

    def __init__(self, model: nn.Module, optimizer: torch.optim.AdamW, reference: Reference, *, clip: float) -> None:
        self._model, self._optimizer, self._reference, self._clip = model.eval(), optimizer, reference, clip
        self._weights = [parameter.detach().clone() for parameter in model.parameters()]
        self._moments = {
            parameter: {name: _copy(value) for name, value in state.items()} for parameter, state in optimizer.state.items()
        }
        self._device = self._weights[0].device
        self.before = reference.loss(model)
        """The reference loss of the checkpoint, in nats per token."""
        self._toward: list[Tensor] | None = None

    def one_step(self, ids: I64) -> float:
        """The influence of a sequence: one step on the mean loss of its tokens but the first. Raises RunError where the loss
        after it is no number."""
        self._step(ids)
        after = self._reference.loss(self._model)
        self._restore_weights()
        self._restore_moments()
        if not math.isfinite(after):
            raise RunError(f"after a step on a sequence of {len(ids)} tokens the reference loss is {after}. Lower lr")
        return self.before - after

    def gradient(self, sequences: Sequence[I64]) -> npt.NDArray[np.float64]:
        """First-order influences of sequences, some at a time in one backward pass. Shape (sequences,)."""
        if self._toward is None:
            self._toward = self._reference.gradient(self._model)
        found = np.empty(len(sequences))
        at_once = max(1, _GRADIENT_BYTES // (4 * sum(weight.numel() for weight in self._weights)))
        order = sorted(range(len(sequences)), key=lambda number: (len(sequences[number]), number))
        for start in range(0, len(order), at_once):
            some = order[start : start + at_once]
            ids, targets = padded([Scored(sequences[n], len(sequences[n]) - 1) for n in some], str(self._device))
            found[some] = self._first_order(self._gradients(ids, targets)).numpy()
        return found

    def _step(self, ids: I64) -> None:
        inputs, targets = padded([Scored(ids, len(ids) - 1)], str(self._device))
        self._optimizer.zero_grad()
        _mean_loss(self._model(inputs), targets).backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self._model.parameters(), self._clip)
        self._optimizer.step()

    @torch.no_grad()
    def _restore_weights(self) -> None:
        for parameter, weight in zip(self._model.parameters(), self._weights, strict=True):
            parameter.copy_(weight)

    def _restore_moments(self) -> None:
        for parameter, state in [*self._optimizer.state.items()]:
            if parameter not in self._moments:
                del self._optimizer.state[parameter]
                continue
            for name, value in self._moments[parameter].items():
                if isinstance(value, Tensor):
                    state[name].copy_(value)
                else:
                    state[name] = value

    def _gradients(self, ids: Tensor, targets: Tensor) -> list[Tensor]:
        """Per-sequence gradients of the mean loss: for every parameter a tensor (sequences, ...)."""
        names, parameters = zip(*self._model.named_parameters(), strict=True)

        def loss(weights: tuple[Tensor, ...], one: Tensor, wanted: Tensor) -> Tensor:
            logits = functional_call(self._model, dict(zip(names, weights, strict=True)), (one[None],))
            return _mean_loss(logits, wanted[None])

        weights = tuple(parameter.detach() for parameter in parameters)
        with sdpa_kernel(SDPBackend.MATH):  # the others are no batch of single sequences to vmap
            return list(vmap(grad(loss), in_dims=(None, 0, 0))(weights, ids, targets))

    @torch.no_grad()
    def _first_order(self, gradients: Sequence[Tensor]) -> Tensor:
        """The reference gradient times what AdamW would subtract. Shape (sequences,), float64."""
        assert self._toward is not None
        norms = torch.stack([gradient.flatten(1).norm(dim=1) for gradient in gradients]).norm(dim=0)
        shrink = (self._clip / (norms + 1e-6)).clamp(max=1.0)  # as clip_grad_norm_ does
        total = torch.zeros(len(norms), dtype=torch.float64)
        place = {parameter: number for number, parameter in enumerate(self._model.parameters())}
        for group in self._optimizer.param_groups:
            lr, (beta1, beta2) = group["lr"], group["betas"]
            for parameter in group["params"]:
                number = place[parameter]
                g = gradients[number].flatten(1) * shrink[:, None]
                toward, weight = self._toward[number].flatten(), self._weights[number].flatten()
                state = self._moments.get(parameter)
                step = 1 + (float(state["step"]) if state else 0.0)
                first, second = g * (1 - beta1), g.square_().mul_(1 - beta2)
                if state:
                    first += beta1 * state["exp_avg"].flatten()
                    second += beta2 * state["exp_avg_sq"].flatten()
                second.sqrt_().div_(math.sqrt(1 - beta2**step)).add_(group["eps"])
                along = first.div_(second) @ toward / (1 - beta1**step)
                total += lr * (along + group["weight_decay"] * (weight @ toward)).double().cpu()
        return total


def _mean_loss(logits: Tensor, targets: Tensor) -> Tensor:
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED)


def padded(sequences: Sequence[Scored], device: str) -> tuple[Tensor, Tensor]:
    """Ids and targets (sequences, longest - 1). Padding comes after all targets, so a causal model does not attend to it."""
    longest = max(len(sequence.ids) for sequence in sequences) - 1
    ids = torch.zeros(len(sequences), longest, dtype=torch.int64)
    targets = torch.full((len(sequences), longest), IGNORED)
    for row, sequence in enumerate(sequences):
        end = len(sequence.ids) - 1
        ids[row, :end] = torch.from_numpy(sequence.ids[:-1])
        targets[row, end - sequence.scored : end] = torch.from_numpy(sequence.ids[len(sequence.ids) - sequence.scored :])
    return ids.to(device), targets.to(device)


def _batches(sequences: Sequence[Scored], tokens: int) -> Iterator[list[Scored]]:
    """Sequences of like length together, the longest first, so that memory runs out at once or not at all."""
    batch: list[Scored] = []
    for sequence in sorted(sequences, key=lambda sequence: -len(sequence.ids)):
        if batch and (len(batch) + 1) * len(batch[0].ids) > tokens:
            yield batch
            batch = []
        batch.append(sequence)
    if batch:
        yield batch


def _copy(value: Any) -> Any:
    return value.detach().clone() if isinstance(value, Tensor) else value
