"""Checks of the stage contract: same rows, same order, declared columns, edits that lead to the new text."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate.api.batch import Batch, apply_edits
from curate.api.stage import Stage
from curate.errors import ContractError
from curate.schema import DROP, DROP_TYPE, EDITS, EDITS_TYPE, ID, ORDINAL, TEXT


def contract_error(before: pa.Array, after: pa.Array, edits: pa.Array) -> int | None:
    """The first row whose edits, applied to the old text, do not give the new one; None when all do."""
    before, after = before.cast(pa.large_string()), after.cast(pa.large_string())
    edited = edits.is_valid()
    still = pc.if_else(edited, None, before), pc.if_else(edited, None, after)
    if not still[0].equals(still[1]):
        pairs = zip(still[0].to_pylist(), still[1].to_pylist(), strict=True)
        return next(row for row, (old, new) in enumerate(pairs) if old != new)
    for row in np.flatnonzero(edited.to_numpy(zero_copy_only=False)).tolist():
        if apply_edits(before[row].as_py() or "", edits[row].as_py()) != after[row].as_py():
            return int(row)
    return None


def check_rows(where: str, before: Batch, after: Batch) -> None:
    if len(before) != len(after):
        raise ContractError(
            f"{where}, document {before[ID][0].as_py()!r}: {len(before)} rows in, {len(after)} out. "
            "A stage returns the same rows; drop documents with drop_where()."
        )
    if not after[ORDINAL].equals(before[ORDINAL]):
        first = int(np.flatnonzero(after.ordinals != before.ordinals)[0])
        raise ContractError(f"{where}, document {before[ID][first].as_py()!r}: the order of rows changed. Keep it.")


def check_contract(where: str, stage: Stage, before: Batch, after: Batch) -> None:
    """Every promise of a stage about one batch."""
    check_rows(where, before, after)
    check_columns(where, stage, before, after)
    if TEXT in stage.writes and not stage.rebases:
        check_edits(where, before, after)
    check_reasons(where, stage.reasons, after)


def check_columns(where: str, stage: Stage, before: Batch, after: Batch) -> None:
    writes = {**stage.writes, DROP: DROP_TYPE, **({EDITS: EDITS_TYPE} if TEXT in stage.writes else {})}
    for name in after.names:
        kind = after[name].type
        if name not in writes:
            if name not in before or not _same(before[name], after[name]):
                raise ContractError(f"{where}: column {name!r} is written but not declared. Add it to the stage's writes.")
        elif kind != writes[name]:
            raise ContractError(f"{where}: column {name!r} is {kind}, declared as {writes[name]}.")
    for name in stage.writes:
        if name not in after:
            raise ContractError(f"{where}: column {name!r} is declared but was not written.")
    for name in before.names:
        if name not in after:
            raise ContractError(f"{where}: column {name!r} is gone. A stage adds columns and removes none.")


def check_reasons(where: str, reasons: Collection[str], after: Batch, *, own: Collection[str] = ()) -> None:
    """Every drop reason given is declared by the stage, or one of the runner's `own`."""
    if not after.dropped.any():
        return
    given = pc.unique(pc.struct_field(after[DROP], "reason").filter(after[DROP].is_valid())).to_pylist()
    unknown = sorted(str(reason) for reason in given if reason not in (*reasons, *own))
    if unknown:
        first = int(np.flatnonzero(after.dropped)[0])
        raise ContractError(
            f"{where}, document {after[ID][first].as_py()!r}: reason {unknown[0]!r} is not declared. "
            f"Declared: {', '.join(reasons) or 'none'}. Add it to the stage's reasons."
        )


def check_edits(where: str, before: Batch, after: Batch) -> None:
    """A text that changed has edits, which lead from the old text to the new one."""
    if EDITS not in after:
        if not after[TEXT].cast(pa.large_string()).equals(before[TEXT].cast(pa.large_string())):
            raise ContractError(f"{where}: the text changed without edits. Use edit_text(), or set rebases = True.")
        return
    wrong = contract_error(before[TEXT], after[TEXT], after[EDITS])
    if wrong is not None:
        raise ContractError(
            f"{where}, document {before[ID][wrong].as_py()!r}: the edits do not lead from the old text to the new one."
        )


def _same(one: pa.Array, other: pa.Array) -> bool:
    """Equal values; arrays over the same memory are seen at a glance."""
    if one.offset == other.offset and len(one) == len(other):
        addresses = [[b and b.address for b in array.buffers()] for array in (one, other)]
        if addresses[0] == addresses[1]:
            return True
    return bool(one.equals(other))
