"""Pretraining data curation: a declarative file turns raw web crawl into a corpus, with an account of every document.

    curate.run("pipelines/quickstart.yaml", out="out/quickstart")
    curate.apply("gopher_quality", table, min_words=50)
    curate.load_scorer("scorers/edu-v1")(["some text"])

Importing the package costs nothing: these three load what they need when they are called.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

    from curate.models.card import Scorer
    from curate.runner import Summary

__version__ = "0.1.0"
__all__ = ["apply", "load_scorer", "run"]


def run(pipeline: str, *, out: str, **options: Any) -> Summary:
    """Run or continue a pipeline file into `out`. Options are those of `curate run`: ray, inline, source, limit, reuse.

    Raises SpecError when the file is wrong, RunError when the run fails.
    """
    from curate.runner import run_file

    return run_file(pipeline, out=out, **options)


def apply(stage: str, table: pa.Table, **options: Any) -> pa.Table:
    """Run one stage over a table that has the columns it reads; returns the table with its new columns and `drop`.

    Rows stay as they are: where `drop` is not null the document would be dropped. Raises SpecError for wrong options.
    """
    from curate.segment import apply_stage

    return apply_stage(stage, table, options)


def load_scorer(path: str) -> Scorer:
    """Load a scorer from the folder of its card. `scorer(texts)` gives one numpy array per column of the card."""
    from curate.models.card import load_scorer as load

    return load(path)
