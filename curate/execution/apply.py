"""One stage over a table, in this process: `curate.apply`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pyarrow as pa

from curate.api.batch import Batch
from curate.api.global_stage import GlobalStage
from curate.config.options import OptionError, build
from curate.config.registry import load_class, table_of
from curate.errors import SpecError
from curate.execution.contract_checks import check_contract
from curate.schema import (
    DROP,
    DROP_TYPE,
    EDITS,
    EDITS_TYPE,
    HTML,
    IDENTITY,
    MAX_BATCH_ROWS,
    ORDINAL,
    PROVENANCE,
    TEXT,
    compatible,
)
from curate.stages import STAGES

_BODIES = {TEXT: pa.large_string(), HTML: pa.large_binary()}


def apply_stage(name: str, table: pa.Table, options: Mapping[str, Any]) -> pa.Table:
    """`curate.apply`: one stage over a table, in this process, under the checks of a run.

    Raises SpecError for options or columns that do not fit, ContractError for a stage that breaks the contract.
    """
    cls = load_class(name, table_of("curate.stages", STAGES), "stage")
    if not isinstance(table, pa.Table):
        raise SpecError(f"apply: {type(table).__name__} is no pyarrow.Table. Make one: pyarrow.table({{'text': [...]}})")
    try:
        stage = build(cls, options)
    except OptionError as error:
        raise SpecError(f"stage {name!r}: {error}") from error
    if isinstance(stage, GlobalStage):
        raise SpecError(f"stage {name!r} needs every document of a corpus. Use curate.run().")
    given = table
    for column, kind in stage.reads.items():
        if column not in table.schema.names or not compatible(table.schema.field(column).type, kind):
            raise SpecError(f"stage {name!r} reads {column!r} as {kind}. Columns here: {table.schema.names}.")
        if column in _BODIES:
            given = given.set_column(given.schema.get_field_index(column), column, given[column].cast(_BODIES[column]))
    given = _with_identity(given)
    kernel: Callable[[Batch], Batch] = stage.open()
    done = []
    for records in given.to_batches(max_chunksize=MAX_BATCH_ROWS):
        batch = Batch(records)
        done.append(after := kernel(batch))
        check_contract(f"stage {name!r}", stage, batch, after)
    kinds = {**stage.writes, DROP: DROP_TYPE, **({EDITS: EDITS_TYPE} if TEXT in stage.writes else {})}
    result = table
    for column, kind in kinds.items():
        parts = [batch[column] if column in batch else pa.nulls(len(batch), kind) for batch in done]
        index = result.schema.get_field_index(column)
        values = pa.chunked_array(parts, kind)
        result = result.set_column(index, column, values) if index >= 0 else result.append_column(column, values)
    return result


def _with_identity(table: pa.Table) -> pa.Table:
    """Columns a stage may count on in a run, where the table has none of its own."""
    for name, kind in {**IDENTITY, **PROVENANCE}.items():
        if name not in table.schema.names:
            values = pa.array(range(len(table)), pa.uint64()) if name == ORDINAL else pa.nulls(len(table), kind)
            table = table.append_column(name, values)
    return table
