"""The public API for authors of stages and sources. A plug-in needs nothing else of `curate`.

A plug-in is a package that names its classes under the entry-point groups `curate.stages` and `curate.sources`:

    [project.entry-points."curate.stages"]
    my_stage = "my_package:MyStage"

Subclass `Stage` for work on one document at a time, `RuleStage` for measured values with limits, `Aggregate`, `Shuffle` or
`SequentialScan` for decisions that need the whole corpus, `PathSource` or `Source` for a format of input files.
"""

from curate.api.batch import Batch, Edit, Kernel, Mask, apply_edits, drop_where, edit_rows, edit_text
from curate.api.global_stage import (
    KEY,
    Aggregate,
    Columns,
    Decision,
    GlobalStage,
    NextRound,
    Phase,
    PhaseResult,
    SequentialScan,
    Shuffle,
    decided_rows,
    key_ranges,
)
from curate.api.rules import AS_PROFILE, AsProfile, Measures, Profile, Rule, RuleStage
from curate.api.source import TOO_LARGE, PathSource, ReadReport, Shard, Source, batched, drop_reason, split_by_bytes
from curate.api.stage import LoggedKernel, Stage
from curate.config.options import AssetPath, DatasetPath, PatternPath, ScorerPath, TokenizerPath
from curate.errors import DataError, SpecError, known_values
from curate.schema import (
    DROP,
    DROP_TYPE,
    EDITS,
    EDITS_TYPE,
    HTML,
    ID,
    IDENTITY,
    ORDINAL,
    PROVENANCE,
    TEXT,
    URL,
    keyed_hash,
    ordinal,
)
from curate.storage.response_log import ResponseLog
from curate.storage.store import InputFile, open_decompressed, open_file, passing_faults

__all__ = [
    "AS_PROFILE",
    "DROP",
    "DROP_TYPE",
    "EDITS",
    "EDITS_TYPE",
    "HTML",
    "ID",
    "IDENTITY",
    "KEY",
    "ORDINAL",
    "PROVENANCE",
    "TEXT",
    "TOO_LARGE",
    "URL",
    "Aggregate",
    "AsProfile",
    "AssetPath",
    "Batch",
    "Columns",
    "DataError",
    "DatasetPath",
    "Decision",
    "Edit",
    "GlobalStage",
    "InputFile",
    "Kernel",
    "LoggedKernel",
    "Mask",
    "Measures",
    "NextRound",
    "PathSource",
    "PatternPath",
    "Phase",
    "PhaseResult",
    "Profile",
    "ReadReport",
    "ResponseLog",
    "Rule",
    "RuleStage",
    "ScorerPath",
    "SequentialScan",
    "Shard",
    "Shuffle",
    "Source",
    "SpecError",
    "Stage",
    "TokenizerPath",
    "apply_edits",
    "batched",
    "decided_rows",
    "drop_reason",
    "drop_where",
    "edit_rows",
    "edit_text",
    "key_ranges",
    "keyed_hash",
    "known_values",
    "open_decompressed",
    "open_file",
    "ordinal",
    "passing_faults",
    "split_by_bytes",
]
