"""Paths inside a loop's folder, relative to it.

about.json                what the loop was begun with
base/                     a run of the pipeline
tokenizer.json            where the loop trains one
rounds.json  rounds.html  the result and its report, written last
round-N/
  hold-out.parquet        the documents that probes are drawn from
  probes/  scorer/        measured influences, the influence model (with the recipe of each beside it)
  select/                 a run that selects the documents of the round
  model/  losses.jsonl    the model after the round, its losses at the evaluation points
  round.json              the record of the round, written last: the round is done
"""

from __future__ import annotations

ABOUT = "about.json"
BASE = "base"
TOKENIZER = "tokenizer.json"
RECORD, LOSSES, HOLD_OUT = "round.json", "losses.jsonl", "hold-out.parquet"
MODEL, PROBES, SCORER, SELECT = "model", "probes", "scorer", "select"


def in_round(number: int, name: str) -> str:
    """A file or folder of round `number`."""
    return f"round-{number}/{name}"
