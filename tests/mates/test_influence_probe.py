"""Oracle data influence on a model small enough to know the answer: bigrams of two sources, a reference of one of them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from curate.lm.model import CausalLM, Shape
from curate.lm.train import torch_threads
from curate.mates.influence_probe import Oracle, Reference, Scored
from curate.train.metrics import auc, spearman

V = 40


class Bigram(nn.Module):
    """Logits of the next id given this one."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.zeros(V, V))

    def forward(self, ids: Tensor) -> Tensor:
        return self.table[ids]


@dataclass
class Toy:
    """A warm model of half A and half B, a reference of A, and sequences of either."""

    model: Bigram | CausalLM
    optimizer: torch.optim.AdamW
    reference: Reference
    probes: list[np.ndarray]
    from_a: np.ndarray

    def oracle(self, kind: type[Oracle] = Oracle) -> Oracle:
        return kind(self.model, self.optimizer, self.reference, clip=1.0)


def adamw(model: nn.Module, lr: float = 0.02) -> torch.optim.AdamW:
    return torch.optim.AdamW(model.parameters(), lr=lr, betas=(0.9, 0.95), weight_decay=0.1)


def warmed(model: Bigram | CausalLM, lr: float = 0.02, steps: int = 300, reference: int = 32) -> Toy:
    draw = np.random.default_rng(5)  # momentum moves all influences alike, up or down by the last batches drawn; here by little
    rows = draw.dirichlet(np.full(V, 0.1), size=(2, V))

    def sequences(source: np.ndarray) -> np.ndarray:
        ids = [draw.integers(0, V, len(source))]
        for _ in range(63):
            at = rows[source, ids[-1]]
            ids.append((at.cumsum(axis=1) < draw.random((len(source), 1))).sum(axis=1).clip(max=V - 1))
        return np.stack(ids, axis=1)

    optimizer = adamw(model, lr)
    for _ in range(steps):
        batch = torch.from_numpy(sequences(draw.integers(0, 2, 8)))
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(batch[:, :-1]).flatten(0, 1), batch[:, 1:].flatten()).backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    wanted = Reference([Scored(ids, 63) for ids in sequences(np.zeros(reference, int))])
    source = draw.integers(0, 2, 600)
    return Toy(model, optimizer, wanted, [*sequences(source)], source == 0)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Which is faster for so small a model."""
    with torch_threads(1):
        yield


@pytest.fixture(scope="module")
def toy() -> Toy:
    return warmed(Bigram())


@pytest.fixture(scope="module")
def right(toy: Toy) -> np.ndarray:
    oracle = toy.oracle()
    return np.array([oracle.one_step(ids) for ids in toy.probes])


class ForgetsWeights(Oracle):
    def _restore_weights(self) -> None:
        pass


class ForgetsMoments(Oracle):
    def _restore_moments(self) -> None:
        pass


def test_influence_is_high_for_what_is_like_the_reference(toy: Toy, right: np.ndarray) -> None:
    assert auc(toy.from_a, right) >= 0.95
    assert (right[toy.from_a] > 0).all()
    assert (right[~toy.from_a] < 0).all()


def test_any_order_of_probes_gives_the_same_bits(toy: Toy, right: np.ndarray) -> None:
    oracle, order = toy.oracle(), np.random.default_rng(1).permutation(len(toy.probes))
    again = np.empty(len(right))
    for number in order:
        again[number] = oracle.one_step(toy.probes[number])
    assert (again == right).all()


def test_probing_leaves_weights_and_moments_as_they_were(toy: Toy) -> None:
    def digest() -> str:
        tensors = [*toy.model.parameters(), *(t for state in toy.optimizer.state.values() for t in state.values())]
        return hashlib.sha256(b"".join(tensor.detach().numpy().tobytes() for tensor in tensors)).hexdigest()

    before, oracle = digest(), toy.oracle()
    oracle.one_step(toy.probes[0])
    oracle.gradient(toy.probes[:4])
    assert digest() == before


def test_forgotten_weights_or_moments_would_be_noticed(right: np.ndarray) -> None:
    """What the tests above stand on: on this toy either mistake is seen in the scores."""
    for mistake, seen in ((ForgetsWeights, "auc"), (ForgetsMoments, "rank")):
        toy = warmed(Bigram())
        oracle = toy.oracle(mistake)
        wrong = np.array([oracle.one_step(ids) for ids in toy.probes])
        if seen == "auc":
            assert 0.4 <= auc(toy.from_a, wrong) <= 0.6
        assert spearman(wrong, right) <= 0.9


def test_a_fresh_optimizer_is_restored_to_having_taken_no_step(toy: Toy) -> None:
    oracle = Oracle(toy.model, adamw(toy.model), toy.reference, clip=1.0)
    first = oracle.one_step(toy.probes[0])
    oracle.one_step(toy.probes[1])
    assert oracle.one_step(toy.probes[0]) == first


@pytest.mark.parametrize("fresh", [False, True])
def test_the_gradient_is_what_one_step_tends_to_as_steps_become_small(toy: Toy, fresh: bool) -> None:
    """The same step, moments, clipping and decay included, times the reference gradient. The parameters are float64, so that
    the difference of two losses is not lost in rounding."""
    model = Bigram().double()
    with torch.no_grad():
        model.load_state_dict(toy.model.state_dict())
    optimizer = adamw(model, lr=1e-6)
    if not fresh:
        state = next(iter(toy.optimizer.state.values()))
        optimizer.state[model.table] = {name: value.double() for name, value in state.items()}
    for clip in (0.05, 1.0):
        oracle = Oracle(model, optimizer, toy.reference, clip=clip)
        exact = np.array([oracle.one_step(ids) for ids in toy.probes[:20]])
        assert oracle.gradient(toy.probes[:20]) == pytest.approx(exact, rel=2e-2, abs=1e-12)


def test_gradient_ranks_as_one_step_does(toy: Toy, right: np.ndarray) -> None:
    assert spearman(toy.oracle().gradient(toy.probes), right) >= 0.9


def test_sequences_of_all_lengths_go_through_a_transformer_together() -> None:
    """A padded end changes nothing, and gradients of single sequences are those of one backward pass each."""
    shape = Shape(vocab_size=V, width=16, layers=2, heads=2, hidden=32, context=64, bos=0)
    toy = warmed(CausalLM(shape), lr=0.003, steps=30, reference=4)
    oracle = toy.oracle()
    some = [ids[:length] for ids, length in zip(toy.probes, (64, 9, 33, 2, 50), strict=False)]
    together = oracle.gradient(some)
    assert together == pytest.approx(np.concatenate([oracle.gradient([ids]) for ids in some]), rel=1e-4, abs=1e-9)
    exact = [oracle.one_step(ids) for ids in some]
    assert np.sign(together).tolist() == np.sign(exact).tolist()


def test_the_loss_on_the_reference_is_the_mean_of_its_tokens_however_it_is_batched(toy: Toy) -> None:
    sequences = [Scored(ids[:length], length // 3) for ids, length in zip(toy.probes[:30], range(6, 66, 2), strict=True)]
    nats, tokens = 0.0, 0
    for sequence in sequences:
        logits = toy.model(torch.from_numpy(sequence.ids[:-1])[None])[0]
        losses = nn.functional.cross_entropy(logits, torch.from_numpy(sequence.ids[1:]), reduction="none")
        nats, tokens = nats + losses[-sequence.scored :].sum().item(), tokens + sequence.scored
    for batch_tokens in (1, 100, 10_000):
        assert Reference(sequences, batch_tokens=batch_tokens).loss(toy.model) == pytest.approx(nats / tokens, rel=1e-5)
    with pytest.raises(ValueError, match="without a token"):
        Reference([Scored(np.array([1]), 0)])
