"""Paths inside a run's folder. No other module spells them.

    data/  dropped/  edited/  values/       the corpus, and what happened to every other document
    recipe.yaml  inputs.json                the lockfile: what the run was made of
    manifest.json  README.md  report.html   what came out
    status.json  lease.json                 progress, and which process writes, while it runs
    steps/SEGMENT/
      data/  dropped/  edited/              one Parquet file per shard
      sketch/                               one Parquet file per shard: its summary for the next global stage
      ledger/SHARD.json                     the shard manifest, written last: the shard is done
      answers/SHARD/                        the response log: what models said, as it came
      failed/SHARD.json                     a shard that cannot be read
      logs/SHARD-ATTEMPT.log                what happened while a worker ran the shard, one file per attempt
      barrier/                              intermediate files of the global stage before the segment
      decision/  decision.parquet           the decision of the global stage before the segment
    steps/output/FILE.json                  a final file's marker

All paths are relative to the run's folder. `segment` and `shard` are names.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

LOCKFILE = "recipe.yaml"
INPUTS = "inputs.json"
MANIFEST = "manifest.json"
STATUS = "status.json"
LEASE = "lease.json"
DATA_CARD = "README.md"
CORPUS = "data/*.parquet"
"""The corpus as a glob, for loaders."""
DROPPED_AND_EDITED = ("dropped/*.parquet", "edited/*.parquet")
"""Globs of the files that say what was dropped and edited."""
SUMMARY = "sketch"
"""Folder, and key in a shard manifest, of the summaries for a global stage."""


def step_folder(segment: str) -> str:
    return f"steps/{segment}"


def shards_folder(segment: str, kind: str) -> str:
    """The files of all shards. `kind` is data, dropped, edited or SUMMARY."""
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


def logs_folder(segment: str) -> str:
    """The folder of the logs of all shards."""
    return f"steps/{segment}/logs"


def shard_log(segment: str, shard: str, attempt: str) -> str:
    """The log of one attempt at a shard. Attempts sort in the order in which they began."""
    return f"steps/{segment}/logs/{shard}-{attempt}.log"


def parse_shard_log(file: str) -> tuple[str, str] | None:
    """Shard and attempt of a file in a folder of logs; None for a file that is no log."""
    match = re.fullmatch(r"(.+)-([0-9TZ]+-[0-9a-f]+)\.log", file)
    return (match.group(1), match.group(2)) if match else None


def global_stage_folder(segment: str) -> str:
    """The intermediate files of the global stage before a segment."""
    return f"steps/{segment}/barrier"


def global_stage_folder_around(file: str) -> str:
    """The folder of a global stage that holds this file."""
    return f"{file.split('/barrier/')[0]}/barrier"


def partition_file(segment: str) -> str:
    """How summaries are divided into shard groups."""
    return f"steps/{segment}/barrier/layout.parquet"


def round_file(segment: str, number: int) -> str:
    """What the reduce step of an aggregate passed on to round `number`, from 1."""
    return f"steps/{segment}/barrier/question-{number}.parquet"


def mapped_shard_file(segment: str, number: int, shard: str) -> str:
    """The table that an aggregate mapped a shard's summary to, in round `number`, from 0."""
    return f"steps/{segment}/barrier/round-{number}/{shard}.parquet"


def phase_rows_file(segment: str, number: int, phase: str, part: int) -> str:
    """The rows that one task of a shuffle's phase wrote for the next phase."""
    return f"steps/{segment}/barrier/phase-{number}-{phase}/{part:05d}.rows"


def phase_marker(segment: str, number: int, phase: str, part: int) -> str:
    """Counts of one task of a shuffle's phase. Written last: the task is done."""
    return f"steps/{segment}/barrier/phase-{number}-{phase}/{part:05d}.json"


def shard_group_marker(segment: str, group: int) -> str:
    """Written last for a shard group of a shuffle: the decisions on its shards are there."""
    return f"steps/{segment}/barrier/settled-{group:05d}.json"


def checkpoint_file(segment: str, partition: int, chunk: int) -> str:
    """The state of a sequential scan after a chunk of a partition."""
    return f"steps/{segment}/barrier/state-{partition}-{chunk}.bin"


def chunk_marker(segment: str, partition: int, chunk: int) -> str:
    """Counts of a chunk of a sequential scan. Written last: the chunk is done."""
    return f"steps/{segment}/barrier/leg-{partition}-{chunk}.json"


def decision_file(segment: str) -> str:
    """The decision of an aggregate, the same for all shards."""
    return f"steps/{segment}/decision.parquet"


def shard_decision_file(segment: str, shard: str) -> str:
    """The decision of a shuffle or a sequential scan on one shard's documents."""
    return f"steps/{segment}/decision/{shard}.parquet"


def decision_counts(segment: str) -> str:
    """What a shuffle or a sequential scan counted. Written last: the decision is made."""
    return f"steps/{segment}/decision/counts.json"


def adoptable(files: Iterable[str]) -> list[str]:
    """The files of a step that `--reuse` copies, in the order in which they are copied: what means "done" comes last.

    A decision is copied without the intermediate files it was made of. Logs are not copied: they tell of another run.
    """
    wanted = [file for file in files if "/barrier/" not in file and "/logs/" not in file]
    return sorted(wanted, key=lambda file: ("/ledger/" in file, file.endswith("/decision/counts.json"), file))


def marker_file(final_file: str) -> str:
    """What a final file is committed with."""
    return f"steps/output/{final_file}.json"


def final_file(kind: str, segment: str, number: int) -> str:
    """A final file; `kind` is data, dropped or edited. The names of dropped and edited files have the segment in them."""
    return f"{kind}/{'part' if kind == 'data' else segment}-{number:05d}.parquet"


def values_file(data: str) -> str:
    """The file of `values/` that belongs, row by row, to a file of `data/`."""
    return data.replace("data/", "values/", 1)
