"""Paths inside a run's folder. No other module spells them.

    data/  dropped/  edited/  values/       the corpus, and what happened to every other document
    recipe.yaml  inputs.json                the lockfile: what the run was made of
    manifest.json  README.md  report.html   what came out
    status.json                             progress, while it runs
    steps/SEGMENT/
      data/  dropped/  edited/  sketch/     one Parquet file per shard
      ledger/SHARD.json                     the shard's manifest, written last: the shard is done
      answers/SHARD/                        what models said, as it came
      failed/SHARD.json                     a shard that cannot be read
      barrier/  decision/  decision.parquet the work and the decision of the global stage before the segment
    steps/output/FILE.json                  a final file's marker

All are relative to the run's folder. `segment` and `shard` are names.
"""

from __future__ import annotations

LOCKFILE = "recipe.yaml"
INPUTS = "inputs.json"
MANIFEST = "manifest.json"
STATUS = "status.json"
DATA_CARD = "README.md"
CORPUS = "data/*.parquet"
"""The corpus as a glob, for loaders."""


def step_folder(segment: str) -> str:
    return f"steps/{segment}"


def shards_folder(segment: str, kind: str) -> str:
    """The files of all shards: `kind` is data, dropped, edited or sketch."""
    return f"steps/{segment}/{kind}"


def shard_file(segment: str, kind: str, shard: str) -> str:
    return f"steps/{segment}/{kind}/{shard}.parquet"


def shard_manifests(segment: str) -> str:
    """The folder of the manifests of all shards that are done."""
    return f"steps/{segment}/ledger"


def shard_manifest(segment: str, shard: str) -> str:
    """Counts and hashes of a shard's files. Written last, so a shard that has one is done."""
    return f"steps/{segment}/ledger/{shard}.json"


def failed_shards(segment: str) -> str:
    return f"steps/{segment}/failed"


def failed_shard(segment: str, shard: str) -> str:
    return f"steps/{segment}/failed/{shard}.json"


def response_log(segment: str, shard: str) -> str:
    """The folder of what models said about a shard's documents."""
    return f"steps/{segment}/answers/{shard}"


def global_stage_folder(segment: str) -> str:
    """Where the tasks of the global stage before a segment leave their files."""
    return f"steps/{segment}/barrier"


def decision_file(segment: str) -> str:
    """The decision of an aggregate, the same for all shards."""
    return f"steps/{segment}/decision.parquet"


def shard_decision_file(segment: str, shard: str) -> str:
    """The decision of a shuffle or a sequential scan on one shard's documents."""
    return f"steps/{segment}/decision/{shard}.parquet"


def decision_counts(segment: str) -> str:
    """What a shuffle or a sequential scan counted. Written last: the decision is made."""
    return f"steps/{segment}/decision/counts.json"


def marker_file(final_file: str) -> str:
    """What a final file is committed with."""
    return f"steps/output/{final_file}.json"


def final_folder(kind: str) -> str:
    """The folder of final files: `kind` is data, dropped, edited or values."""
    return kind


def values_file(data: str) -> str:
    """The file of `values/` that belongs, row by row, to a file of `data/`."""
    return data.replace("data/", "values/", 1)
