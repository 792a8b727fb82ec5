"""Every exception this package raises on purpose.

CurateError
├── SpecError            the user's input is wrong (pipeline file, option, missing file)        exit code 1
│   └── DriftError       an output directory was built from another pipeline or other inputs    exit code 1
└── RunError             a run failed; the message names shard and document                     exit code 2
    ├── DataError        an input shard that cannot be read
    ├── ContractError    a stage broke its promise: a bug in the stage, never in the data
    ├── AccountingError  the counts of a step do not balance
    ├── ExpectError      a stage dropped a share outside its `expect:` range
    ├── LeaseError       another run is writing to the same output directory
    └── TransientError   a fault of network or storage; the only error that is retried

Messages say where, what, the known values and the way out. `cli.main` is the only place that turns one into text.
"""

import difflib
from collections.abc import Iterable


class CurateError(Exception):
    """Base of all errors raised on purpose."""

    exit_code = 2


class SpecError(CurateError):
    """The user's input is wrong."""

    exit_code = 1


class DriftError(SpecError):
    """An output directory belongs to another pipeline or other inputs."""


class RunError(CurateError):
    """A run failed."""


class DataError(RunError):
    """An input shard cannot be read."""


class ContractError(RunError):
    """A stage broke the contract of `curate.api.stage`."""


class AccountingError(RunError):
    """Counts do not balance: something was lost or invented."""


class ExpectError(RunError):
    """A stage dropped a share of its documents outside the range the pipeline file expects."""


class LeaseError(RunError):
    """Another run holds the output directory."""


class TransientError(RunError):
    """Storage or network failed in a way that may pass."""


# Packages that only some commands and stages need, and the extra that brings them.
EXTRAS = {
    "datasets": "hub", "duckdb": "serve", "fasttext": "fasttext", "flask": "serve", "gcsfs": "gcs", "httpx": "lm",
    "huggingface_hub": "hub", "s3fs": "s3", "safetensors": "lm", "spacy": "spacy", "torch": "lm", "transformers": "lm",
    "vllm": "vllm",
}  # fmt: skip


def install_hint(package: str) -> str:
    """How to install a package that is missing: by the extra that brings it.

    >>> install_hint("flask")
    "Install it: pip install 'curate-data[serve]'"
    """
    return f"Install it: pip install '{f'curate-data[{EXTRAS[package]}]' if package in EXTRAS else package}'"


def known_values(name: str, known: Iterable[str]) -> str:
    """End of a message about a name that is not in `known`.

    >>> known_values("min_word", ["max_words", "min_words"])
    "Did you mean 'min_words' or 'max_words'? Known: max_words, min_words."
    """
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=2, cutoff=0.6)
    hint = f"Did you mean {' or '.join(repr(n) for n in near)}? " if near else ""
    return f"{hint}Known: {', '.join(names)}."
