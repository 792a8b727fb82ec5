"""Extract text, title and date of pages by trafilatura or resiliparse, in a child process that may hang, crash or eat memory.

Limits on the page itself (bytes, nodes, depth) are checked first and give the same drop reason on every machine. Limits on CPU
time and memory come after them; ordinary pages do not come near. A page that exceeds these ends its child process and is
dropped. The pages after it get a new child.
"""

from __future__ import annotations

import pickle
import weakref
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

import numpy as np
import pyarrow as pa
from annotated_types import Ge, Gt, Le

from curate.api.batch import Batch, Kernel, drop_where
from curate.api.stage import Stage
from curate.process import Child, ChildDied, ChildTimeout
from curate.schema import FETCHED_AT_TYPE, HTML, TEXT

if TYPE_CHECKING:
    from curate.text.html.extract import Extracted, Page, Refused, Settings

    Result: TypeAlias = Extracted | Refused | None

TOO_LARGE = "html_too_large"
TIMEOUT = "extraction_timeout"


@dataclass(frozen=True, kw_only=True)
class Extract(Stage):
    """Pages to text. Plain text (by its Content-Type) is decoded and passed through."""

    engine: Literal["trafilatura", "resiliparse"] = "trafilatura"
    """trafilatura finds the main text somewhat better, resiliparse is four times as fast."""
    content: Literal["main", "all"] = "main"
    """The main text, or all that is visible, which is resiliparse's with either engine."""
    favor: Literal["balanced", "precision", "recall"] = "balanced"
    """On which side trafilatura errs about what belongs to the main text."""
    repair: bool = True
    """Undo mojibake in lines that show signs of it."""
    max_html_bytes: Annotated[int, Ge(1)] = 8 * 2**20
    max_nodes: Annotated[int, Ge(1)] = 200_000
    """Every `<` but those of closing tags, counted before parsing."""
    max_depth: Annotated[int, Ge(1), Le(2_000)] = 512
    """Elements inside each other. Chromium stops at 512; beyond 2,048 the parser would silently lose text."""
    max_cpu_s: Annotated[float, Gt(0)] = 60.0
    """CPU time for one page."""
    max_memory_bytes: Annotated[int, Ge(2**28)] | None = 4 * 2**30
    """Address space of the child process."""

    rebases = True
    reasons = (
        TOO_LARGE,
        "too_many_nodes",
        "too_deep",
        "unreadable_html",
        "no_text",
        TIMEOUT,
        "extraction_crash",
    )

    def __post_init__(self) -> None:
        if self.favor != "balanced" and (self.engine, self.content) != ("trafilatura", "main"):
            raise ValueError(
                f"favor: {self.favor} is for trafilatura's main text, and this is engine: {self.engine} with "
                f"content: {self.content}. Leave 'favor' out"
            )

    @property
    def reads(self) -> Mapping[str, pa.DataType]:
        return {HTML: pa.large_binary()}

    @property
    def may_read(self) -> tuple[str, ...]:
        return ("content_type", "fetched_at")

    @property
    def writes(self) -> Mapping[str, pa.DataType]:
        return {TEXT: pa.large_string(), "title": pa.string(), "date": pa.string()}

    def open(self) -> Kernel:
        from curate.text.html.extract import Settings

        settings = Settings(self.engine, self.content, self.favor, self.repair, self.max_nodes, self.max_depth)
        child = ExtractionChild(settings, self.max_cpu_s, self.max_memory_bytes)

        def kernel(batch: Batch) -> Batch:
            return self._put(batch, [self._result(row, child) for row in _rows(batch)])

        weakref.finalize(kernel, child.close)
        return kernel

    def _result(self, row: _Row | None, child: ExtractionChild) -> Result:
        from curate.text.html.extract import UNREADABLE, Page, Refused

        if row is None:
            return None
        if row.body is None:
            return Refused(UNREADABLE, detail="null")
        if len(row.body) > self.max_html_bytes:
            return Refused(TOO_LARGE, len(row.body), self.max_html_bytes)
        return child.extract(Page(row.body, row.content_type, row.fetched))

    def _put(self, batch: Batch, results: Sequence[Result]) -> Batch:
        from curate.text.html.extract import Refused

        for name, dtype in self.writes.items():
            batch = batch.put(name, pa.array([getattr(result, name, None) for result in results], dtype))
        refused = [result if isinstance(result, Refused) else None for result in results]
        values = pa.array([refusal and refusal.value for refusal in refused], pa.float64())
        details = pa.array([refusal and refusal.detail for refusal in refused], pa.string())
        reasons = [refusal and (refusal.reason, refusal.limit) for refusal in refused]
        for reason, limit in dict.fromkeys(pair for pair in reasons if pair):
            where = np.array([pair == (reason, limit) for pair in reasons])
            batch = drop_where(batch, where, reason, value=values, limit=limit, detail=details)
        return batch


@dataclass(frozen=True)
class _Row:
    body: bytes | None
    content_type: str | None
    fetched: date | None


def _rows(batch: Batch) -> Iterator[_Row | None]:
    """Content, type and time of every page, None where it is dropped already."""
    types = {HTML: pa.large_binary(), "content_type": pa.string(), "fetched_at": FETCHED_AT_TYPE}
    columns = [batch[name].cast(dtype) if name in batch else pa.nulls(len(batch), dtype) for name, dtype in types.items()]
    for dropped, body, content_type, fetched_at in zip(batch.dropped, *columns, strict=True):
        if dropped:
            yield None
        else:
            moment = fetched_at.as_py()
            yield _Row(body.as_py(), content_type.as_py(), moment and moment.date())


class ExtractionChild:
    """A child process that extracts text, replaced by a new one when it dies."""

    def __init__(self, settings: Settings, max_cpu_s: float, max_memory_bytes: int | None) -> None:
        """Starts the first child. Raises RunError where the engine cannot be loaded."""
        from curate.text.html.extract import Page, serve

        self._child = Child(serve, settings, max_memory_bytes=max_memory_bytes)
        self._max_cpu_s = max_cpu_s
        self.extract(Page(b"ready", "text/plain"))

    def close(self) -> None:
        self._child.close()

    def extract(self, page: Page) -> Extracted | Refused:
        """Extract one page. One that fails is tried again in a new child, since earlier pages may have used up the memory."""
        from curate.text.html.extract import CRASH, EngineError, Refused

        payload = pickle.dumps(page)
        for _ in range(2):
            try:
                result: Extracted | Refused = pickle.loads(self._child.call(payload, self._max_cpu_s))
                return result
            except ChildTimeout:
                return Refused(TIMEOUT, limit=self._max_cpu_s)
            except (ChildDied, EngineError) as death:
                self._child.close()
                refused = Refused(CRASH, detail=str(death))
        return refused
