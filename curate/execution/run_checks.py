"""Checks of the driver over a whole run: split files are read without gaps, drops are as expected, counts balance."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Sequence

from curate.api.source import Shard
from curate.errors import AccountingError, ExpectError
from curate.execution.summary import Summary
from curate.pipeline.steps import Segment
from curate.storage.run_dir import shard_manifest
from curate.storage.store import Store

_END_OF_FILE = -1
EXPECT_AFTER = 10_000
"""Documents a stage must have seen before `expect:` may stop a run that is not over."""


def check_file_splits(store: Store, segment: Segment, shards: Sequence[Shard], failed: Container[str]) -> None:
    """Raises AccountingError unless each shard of a file begins with the record after the last one of the shard before.

    Looks at files that were split by bytes, in the first segment. A failed shard has no known end.
    """
    expected: dict[int, int] = {}
    pieces = Counter(shard.file_index for shard in shards)
    for shard in shards:
        if pieces[shard.file_index] < 2:
            continue
        if shard.name in failed:
            expected.pop(shard.file_index, None)
            continue
        manifest = store.read_json(shard_manifest(segment.name, shard.name))
        position = expected.get(shard.file_index)
        if position is not None and manifest["first"] is not None and manifest["first"] != position:
            raise AccountingError(
                f"shard {shard.name!r} begins at byte {manifest['first']} of {shard.url!r}, but the piece before it ends at "
                f"{'the end of the file' if position == _END_OF_FILE else position}. Set split_bytes above the file's size."
            )
        expected[shard.file_index] = _END_OF_FILE if manifest["next"] is None else manifest["next"]


def check_expectations(segment: Segment, summary: Summary, *, final: bool) -> None:
    """Raises ExpectError when a stage of the segment drops a share of its documents outside its `expect:` range.

    Before the segment is over (not `final`), only stages that have seen EXPECT_AFTER documents are checked.
    """
    for step in segment.stages:
        counts = summary.stages.get(step.name)
        if not step.expect or not counts or counts.rows_in < (1 if final else EXPECT_AFTER):
            continue
        share = sum(counts.dropped.values()) / counts.rows_in
        if not step.expect.low <= share <= step.expect.high:
            raise ExpectError(
                f"{step.location}: stage {step.name!r} dropped {share:.1%} of {counts.rows_in:,} documents, expected "
                f"{step.expect.low:.1%}..{step.expect.high:.1%}. Most frequent: {counts.dropped.most_common(3)}. "
                f"Read them with: curate sample {summary.out} --stage {step.name}"
            )


def check_totals(summary: Summary) -> None:
    """Raises AccountingError unless documents in = out + dropped + failed, in the counts and in the final files."""
    lost = sum(sum(counts.dropped.values()) + counts.failed for counts in summary.stages.values())
    if summary.documents_in != summary.documents_out + lost:
        raise AccountingError(
            f"{summary.documents_in} documents in, {summary.documents_out} out, {lost} dropped or failed: "
            "they do not balance. This is a bug: please report it."
        )
    for kind, wanted in (("data", summary.documents_out), ("dropped", lost)):
        written = sum(record["rows"] for name, record in summary.files.items() if name.startswith(f"{kind}/"))
        if written != wanted:
            raise AccountingError(f"{kind}/ holds {written} rows, the counts say {wanted}. This is a bug: please report it.")
