"""What a language model is asked in one forward pass, and the probabilities that it answers with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Query:
    """A prompt, and the token ids whose probabilities are wanted."""

    ids: Sequence[int]
    positions: Sequence[int] = ()
    """Indices into `ids` at which `pair` is compared. Needs a bidirectional model."""
    pair: tuple[int, int] = (0, 0)
    """At each position, the probability of the first id is wanted, given that it is one of the two."""
    yes: frozenset[int] = frozenset()
    no: frozenset[int] = frozenset()
    """For the token after the prompt, the probability of `yes` is wanted, given that it is in `yes` or `no`."""


@dataclass(frozen=True)
class QueryScores:
    """The probabilities that a query asks for."""

    positions: npt.NDArray[np.float32]
    """Shape (positions,)."""
    end: float
    """NaN without `yes`, and where neither `yes` nor `no` is among the likeliest tokens."""
    end_mass: float
    """The probability that the next token is in `yes` or `no`."""
