"""The closed loop of MATES: train a model, measure which documents lower its loss most, select such documents, train on.

A pipeline file with a section `rounds`:

    name: mates
    source: {parquet: {paths: texts/*.parquet}}
    stages: [gopher_quality]               # once, before all rounds
    rounds:
      rounds: 4                            # the first on a random selection, the others on documents of high influence
      tokens: 2_000_000                    # training tokens per round
      top: 0.2
      gumbel: 0.5
      reference: [../evals/lambada/*.jsonl.gz]
      probes: 1000
      length: 256
      width: 128                           # size of the model, with layers, heads, hidden, context

`DIR/base` is a run of the pipeline. Its documents are split by a hash of the id: the hold-out is only probed (`holdout`), the
evaluation split only evaluated on (`judge`), and each round selects from a part of the rest. So no document is trained on
twice, and none of the hold-out or the evaluation split ever is. `DIR/round-N` holds what round N is made of: `probes`, `scorer`
(influence-rN), `select` (a run with its counts and the selected documents), `model` (with the optimizer's state) and
`losses.jsonl`. `DIR/rounds.json` is written last: the hashes of each round's inputs, its losses, how well influence was
predicted, and the cost. `rounds.html` shows the same.

A step that is done is not repeated, and one that was interrupted resumes. Source: Yu et al. 2024, "MATES" (arXiv:2406.06046).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import MISSING, asdict, fields
from pathlib import Path
from typing import Any

from curate.data import pipeline_path
from curate.errors import DataError, DriftError, SpecError
from curate.events import Listener, Silent
from curate.execution.runner import run_file
from curate.mates import loop_dir
from curate.mates.flops import flops_report, total_by_part
from curate.mates.options import Rounds, load_rounds
from curate.mates.round import LoopContext, Round
from curate.report.mates_report import RESULT, write_loop_report
from curate.storage import store
from curate.storage.lease import Lease
from curate.storage.store import Store
from curate.train.eval_items import read_items

_RESOURCES = ("threads", "processes", "replicas", "gpus")
"""Options that may change while a loop is under way."""
_CONTENT = "content of "
"""Prefix of the hashes of input files in `about.json`."""


def rounds_file(
    file: str, *, out: str, source: str | None = None, ray: str | None = None, inline: bool = False,
    workers: int | None = None, device: str = "cpu", listener: Listener | None = None,
) -> str:  # fmt: skip
    """Run the loop of a file, or resume it; a summary of the result.

    Raises SpecError for a file with mistakes, DriftError for a folder of another loop, RunError when a step fails.
    """
    file = pipeline_path(file)
    options = load_rounds(file)
    if options is None:
        raise SpecError(f"{file}: 'rounds' is missing. Add the section, or use 'curate run'.")
    if store.is_url(out):
        raise SpecError(f"--out: {out!r} is a URL, and models are trained on a disk. Give a folder.")
    engine = {"ray": ray, "inline": inline, "workers": workers}
    with Lease(Store(out)):
        return _run(LoopContext(file, options, Path(out), engine, device, listener or Silent()), source)


def _run(loop: LoopContext, source: str | None) -> str:
    """The base run, then every round, then the result and its report."""
    _check_drift(loop)
    base = loop.out / loop_dir.BASE
    run_file(loop.file, source=source, out=str(base), listener=loop.listener, **loop.engine)
    if not loop.documents:
        raise DataError(f"{base}: no document is left to train on.")
    records = [Round(loop, number).run() for number in range(loop.options.rounds)]
    cost = flops_report(total_by_part(records))
    loop.store.write_json(RESULT, {"rounds": records, "flops": cost})
    write_loop_report(loop.out)
    last = records[-1]["losses"][-1]
    return (
        f"{last['tokens']:,} tokens, reference loss {last['reference']:.4f}, loss on documents {last['documents']:.4f}; "
        f"selection took {cost['selection_frac']:.0%} of all FLOPs; in {loop.out}"
    )


def _check_drift(loop: LoopContext) -> None:
    """Write down what the loop is begun with. Raises DriftError when the folder has a loop begun with something else."""
    about = json.loads(json.dumps({**asdict(loop.options), **dict.fromkeys(_RESOURCES), **_content_hashes(loop)}))
    if not loop.store.exists(loop_dir.ABOUT):
        loop.store.write_json(loop_dir.ABOUT, about)
        return
    # An option that an earlier version did not have yet had its default.
    options = [option for option in fields(Rounds) if option.default is not MISSING and option.name not in _RESOURCES]
    defaults = json.loads(json.dumps({option.name: option.default for option in options}))
    saved = defaults | loop.store.read_json(loop_dir.ABOUT)
    changes = [_change(name, saved.get(name), value) for name, value in about.items() if saved.get(name) != value]
    if changes:
        raise DriftError(
            f"{loop.out} was built from other rounds: {'; '.join(changes[:3])}. Change it back, or use another --out."
        )


def _change(name: str, saved: Any, wanted: Any) -> str:
    if name.startswith(_CONTENT):
        return f"{name.removeprefix(_CONTENT)} has other content"
    return f"{name} was {saved!r}, is now {wanted!r}"


def _content_hashes(loop: LoopContext) -> dict[str, str]:
    """Hashes of the input files, apart from the documents, which the base run checks."""
    options = loop.options
    content = {}
    for name in ("reference", "also_judge"):
        patterns: Sequence[str] = getattr(options, name)
        if patterns:
            items = read_items(patterns, options.max_items, name)
            content[name] = json.dumps(list(items.values())).encode()
    if options.tokenizer is not None:
        content["tokenizer"] = Path(options.tokenizer).read_bytes()
    hashes = {f"{_CONTENT}{name}": hashlib.sha256(data).hexdigest() for name, data in content.items()}
    return hashes | ({f"{_CONTENT}base": loop.model.init.facts()["base"]} if options.base is not None else {})
