"""Training a fastText classifier: a softmax over the mean of the features' rows, by stochastic gradient descent.

The update is fastText's (Joulin et al. 2016, arXiv:1607.01759; `Model::update`, `SoftmaxLoss::forward`): for a text of n
features with rows in_f, h is their mean, p the softmax of out . h; out_k += lr (y_k - p_k) h and every in_f += lr/n sum_k
(y_k - p_k) out_k. Rows of the input start uniform in [-1/dim, 1/dim], those of the output at zero, and the rate falls to
zero in a line. Texts come in a new order each epoch, drawn from the seed.

Why not the library: fasttext 0.9.3 fills a tenth of its input matrix when it trains on one thread and leaves the rest as
memory was, so that no two models are alike; and it can neither keep a word out of the vocabulary it stores nor leave `</s>`
out of the mean. One thread gives equal bytes here. Several share the matrices without locks, as fastText's do (Hogwild, Niu
et al. 2011), and then runs differ.

A model of K labels is stored with rows of K - 1 numbers: what a feature adds to the logits less that of the first label.
The softmax does not change, files become a hundred times smaller, and fastText loads them as any other.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Annotated

import numpy as np
import numpy.typing as npt
from annotated_types import Ge, Gt, Le
from numba import njit

from curate.errors import RunError
from curate.text.words.fasttext import fold

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Hyperparameters:
    """fastText's, with the values of PreSelect (Shum et al. 2025, arXiv:2503.00808, table 5) as defaults."""

    lr: Annotated[float, Gt(0)] = 0.1
    dim: Annotated[int, Ge(1), Le(1000)] = 100
    epochs: Annotated[int, Ge(1)] = 5
    word_ngrams: Annotated[int, Ge(1), Le(5)] = 2
    bucket: Annotated[int, Ge(1), Le(2**30)] = 2_000_000
    """Rows for n-grams: with 100 numbers each, 0.8 GB while training, and 8 MB in the model."""


@dataclass(frozen=True)
class Examples:
    """Texts as rows of a model: features flat[offsets[i]:offsets[i + 1]] of text i, and its label."""

    flat: npt.NDArray[np.int32]
    offsets: npt.NDArray[np.int64]
    labels: npt.NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.labels)


def train(examples: Examples, num_rows: int, num_labels: int, chosen: Hyperparameters, *, seed: int, threads: int) -> Floats:
    """Train, and give what every feature adds to the logits but the first. Shape (rows, labels - 1).

    Raises RunError when weights stop being numbers, which a smaller `lr` cures.
    """
    draw = np.random.Generator(np.random.PCG64(seed))
    input = draw.random((num_rows, chosen.dim), np.float32)
    input -= np.float32(0.5)
    input *= np.float32(2 / chosen.dim)
    output = np.zeros((num_labels, chosen.dim), np.float32)
    texts = (examples.flat, examples.offsets, examples.labels)
    for epoch in range(chosen.epochs):
        order = draw.permutation(len(examples))
        rates = chosen.lr * (1 - (epoch + np.arange(len(order)) / max(1, len(order))) / chosen.epochs)
        parts = [slice(part, None, threads) for part in range(threads)]
        with ThreadPoolExecutor(threads) as pool:
            work = [partial(_descend, *texts, order[part], rates[part], input, output) for part in parts]
            for done in [pool.submit(one) for one in work]:
                done.result()
    logits = np.empty((num_rows, num_labels), np.float64)
    fold(input, output.astype(np.float64), logits)
    weights = (logits[:, 1:] - logits[:, :1]).astype(np.float32)
    if not np.isfinite(weights).all():
        raise RunError(f"weights are no longer numbers at lr {chosen.lr}. Lower it.")
    return weights


def predict(examples: Examples, weights: Floats) -> npt.NDArray[np.float64]:
    """Probabilities of labels; NaN for a text without a feature, as in serving. Shape (texts, labels)."""
    logits = np.zeros((len(examples), weights.shape[1] + 1))
    _logits(examples.flat, examples.offsets, weights, logits)
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares /= shares.sum(axis=1, keepdims=True)
    shares[np.diff(examples.offsets) == 0] = np.nan
    return np.asarray(shares)


@njit(nogil=True, cache=True)
def _descend(flat, offsets, labels, order, rates, input, output):  # type: ignore[no-untyped-def]
    """One pass over the texts of `order`, both matrices changed in place."""
    num_labels, dim = output.shape
    hidden, step, shares = np.empty(dim, np.float32), np.empty(dim, np.float32), np.empty(num_labels, np.float64)
    for place in range(len(order)):
        text = order[place]
        start, end = offsets[text], offsets[text + 1]
        if start == end:
            continue
        hidden[:] = 0
        for f in range(start, end):
            row = flat[f]
            for d in range(dim):
                hidden[d] += input[row, d]
        size = np.float32(end - start)
        for d in range(dim):
            hidden[d] /= size
        _softmax(hidden, output, shares)
        step[:] = 0
        for k in range(num_labels):
            rate = np.float32(rates[place] * ((k == labels[text]) - shares[k]))
            for d in range(dim):
                step[d] += rate * output[k, d]
                output[k, d] += rate * hidden[d]
        for d in range(dim):
            step[d] /= size
        for f in range(start, end):
            row = flat[f]
            for d in range(dim):
                input[row, d] += step[d]


@njit(inline="always")
def _softmax(hidden, output, shares):  # type: ignore[no-untyped-def]
    top = -np.inf
    for k in range(len(shares)):
        total = 0.0
        for d in range(len(hidden)):
            total += output[k, d] * hidden[d]
        shares[k] = total
        top = max(top, total)
    total = 0.0
    for k in range(len(shares)):
        shares[k] = np.exp(shares[k] - top)
        total += shares[k]
    for k in range(len(shares)):
        shares[k] /= total


@njit(nogil=True, cache=True)
def _logits(flat, offsets, weights, logits):  # type: ignore[no-untyped-def]
    for text in range(len(offsets) - 1):
        start, end = offsets[text], offsets[text + 1]
        for f in range(start, end):
            for k in range(weights.shape[1]):
                logits[text, k + 1] += weights[flat[f], k]
        for k in range(weights.shape[1]):
            logits[text, k + 1] /= max(1, end - start)
