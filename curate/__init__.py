"""Pretraining data curation: a declarative file turns raw web crawl into a corpus, with an account of every document.

    curate.run("pipelines/quickstart.yaml", out="out/quickstart")
    curate.apply("gopher_quality", table, min_words=50)
    curate.whatif("out/quickstart", {"gopher_quality.min_words": 30})
    curate.inspect("out/quickstart").documents("dropped", reason="too_few_words")
    curate.load_scorer("scorers/edu-v1")(["some text"])

Importing the package costs nothing: these load what they need when they are called.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from os import PathLike
from typing import TYPE_CHECKING, Any

from curate.version import VERSION

if TYPE_CHECKING:
    import pyarrow as pa

    from curate.execution.summary import Summary
    from curate.models.card import Scorer
    from curate.report.notebook import Inspection
    from curate.report.whatif import WhatIf

__version__ = VERSION
__all__ = ["apply", "inspect", "load_scorer", "run", "whatif"]


def run(pipeline: str | PathLike[str], *, out: str | PathLike[str], **options: Any) -> Summary:
    """Run or continue a pipeline file into `out`. Options are those of `curate run`: ray, inline, source, limit, reuse.

    Raises SpecError when the file is wrong, RunError when the run fails.
    """
    from curate.execution.runner import run_file

    paths = {name: os.fspath(options[name]) for name in ("source", "reuse") if options.get(name) is not None}
    return run_file(os.fspath(pipeline), out=os.fspath(out), **{**options, **paths})


def apply(stage: str, table: pa.Table, **options: Any) -> pa.Table:
    """Run one stage over a table that has the columns it reads; returns the table with its new columns and `drop`.

    Rows stay as they are: where `drop` is not null the document would be dropped. Raises SpecError for wrong options.
    """
    from curate.execution.apply import apply_stage

    return apply_stage(stage, table, options)


def whatif(directory: str, changes: Mapping[str, Any], *, num: int = 10) -> WhatIf:
    """Recount a finished run with other thresholds, {"STAGE.OPTION": value}, and name `num` flipped documents per direction.

    Raises SpecError when the run is not finished, or has not recorded what the thresholds are held against.
    """
    from curate.report.whatif import recount

    return recount(directory, changes, num=num)


def inspect(directory: str | PathLike[str]) -> Inspection:
    """Look into a finished run: its funnel, reasons and documents, which show themselves in a notebook.

    Raises SpecError where there is no run, or one that is not over.
    """
    from curate.report.notebook import Inspection

    return Inspection(os.fspath(directory))


def load_scorer(path: str) -> Scorer:
    """Load a scorer from the folder of its card. `scorer(texts)` gives one numpy array per column of the card."""
    from curate.models.load import load_scorer as load

    return load(path)
