"""Pretraining data curation: a declarative file turns raw web crawl into a corpus, with an account of every document.

    curate.run("pipelines/quickstart.yaml", out="out/quickstart")
    curate.apply("gopher_quality", table, min_words=50)
    curate.whatif("out/quickstart", {"gopher_quality.min_words": 30})
    curate.inspect("out/quickstart").documents("dropped", reason="too_few_words")
    curate.load_scorer("preselect-mini-v1")(["some text"])

Authors of stages and sources import from `curate.api`. Importing `curate` is cheap: each function loads what it needs.
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
    """Run a pipeline file into the folder `out`, or continue an interrupted run there.

    Options are those of `curate run`: ray, inline, source, limit, reuse. Raises SpecError when the file is wrong, RunError
    when the run fails.

        curate.run("pipelines/quickstart.yaml", out="out/quickstart", inline=True).documents_out
    """
    from curate.execution.runner import run_file

    paths = {name: os.fspath(options[name]) for name in ("source", "reuse") if options.get(name) is not None}
    return run_file(os.fspath(pipeline), out=os.fspath(out), **{**options, **paths})


def apply(stage: str, table: pa.Table, **options: Any) -> pa.Table:
    """Run one stage on a table. Returns the table with the stage's new columns and the column `drop`.

    All rows stay; those where `drop` is not null would be dropped in a run. Raises SpecError for wrong options, and for a
    table without the columns the stage reads.

    >>> import pyarrow as pa
    >>> table = pa.table({"text": ["A page with more digits than words: 0123456789 0123456789", "A page of words."]})
    >>> result = apply("digits", table, max_digits_frac=0.2)
    >>> result["drop"].to_pylist()
    [{'reason': 'too_many_digits', 'value': 0.3508771929824561, 'limit': 0.2, 'detail': None}, None]
    """
    from curate.execution.apply import apply_stage

    return apply_stage(stage, table, options)


def whatif(directory: str, changes: Mapping[str, Any], *, num: int = 10) -> WhatIf:
    """Recount a finished run with other thresholds, {"STAGE.OPTION": value}, without running it again.

    Shows `num` documents that would be dropped and `num` that would be kept. Raises SpecError when the run is not finished,
    or has not recorded the values that the thresholds are compared with.

        curate.whatif("out/quickstart", {"gopher_quality.min_words": 30})
    """
    from curate.report.whatif import recount

    return recount(directory, changes, num=num)


def inspect(directory: str | PathLike[str]) -> Inspection:
    """Open a finished run: its funnel, drop reasons and documents, as tables that a notebook displays.

    Raises SpecError where there is no run, or an unfinished one.

        curate.inspect("out/quickstart").documents("dropped", reason="too_few_words")
    """
    from curate.report.notebook import Inspection

    return Inspection(os.fspath(directory))


def load_scorer(name: str | PathLike[str]) -> Scorer:
    """Load a scorer by its name, such as `preselect-mini-v1`, or from its folder.

    `scorer(texts)` returns a dict of numpy arrays, one per column of its card.

    Raises SpecError where there is no scorer.

    >>> scorer = load_scorer("scorers/preselect-mini-v1")
    >>> {column: scores.shape for column, scores in scorer(["some text", "another"]).items()}
    {'preselect': (2,)}
    """
    from curate.models.load import load_scorer as load

    return load(name)
