"""The `README.md` of a corpus, as the Hugging Face hub shows it: what it was made from, by which rules, and what was lost.

Nothing in it depends on when or where the run was, so that the same run writes the same card.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import yaml

from curate.execution.accounting import StageCounts
from curate.schema import TEXT, URL
from curate.storage.run_dir import CORPUS
from curate.storage.store import Store

_SIZES = (
    "n<1K", "1K<n<10K", "10K<n<100K", "100K<n<1M", "1M<n<10M", "10M<n<100M", "100M<n<1B", "1B<n<10B", "10B<n<100B",
    "100B<n<1T", "n>1T",
)  # fmt: skip
"""As the hub names them: each after the first is for one more digit of the thousands."""
_SAMPLES, _SAMPLE_CHARS = 3, 300
_SECTIONS = ("Sources", "Intended use", "Known biases")
"""Sections of a model's card that say whether a corpus chosen by it is what one wants."""


def data_card(
    store: Store, saved: Mapping[str, Any], stages: Mapping[str, StageCounts], documents: int, files: list[str]
) -> str:
    """Markdown with a front matter. `saved` is the recipe, `files` are those of `data/`, of which a few texts are shown."""
    ((kind, _),) = saved["source"].items()
    license = saved["output"]["license"]
    languages = _languages(saved)
    front = {
        "pretty_name": saved["name"],
        **({"license": license} if license else {}),
        **({"language": languages} if languages else {}),
        "task_categories": ["text-generation"],
        "size_categories": [_SIZES[min(len(str(documents // 1000)) if documents >= 1000 else 0, len(_SIZES) - 1)]],
        "configs": [{"config_name": "default", "data_files": [{"split": "train", "path": CORPUS}]}],
    }
    first = next((account.rows_in for account in stages.values()), 0)
    lines = [
        f"# {saved['name']}", "",
        f"{documents:,} documents of {first:,}, from {saved['num_inputs']:,} files of kind `{kind}`, chosen and cleaned by "
        "`curate`; `recipe.yaml` makes the same again, and `dropped/` and `edited/` say of every document that is not here, or "
        "is not as it was, why.", "",
        "```python", 'datasets.load_dataset("parquet", data_files="' + CORPUS + '")', "```", "",
        "## What was lost", "", *_funnel(stages, first), "",
        "## Rules", "", *_rules(saved), "",
        *_models(saved),
        "## Licence", "",
        f"The collection is under `{license}`; its documents are under the licences of the pages they come from."
        if license
        else "The documents are under the licences of the pages they come from, which this card does not know. That of the "
        "collection is named by `output: {license: ...}` in the pipeline file.", "",
        "## Known limits", "",
        "Rules are blind to what a text says: what is here may be wrong, offensive, or personal, where no stage looked for "
        "that, and may be in evaluation sets, where none was held against. Documents of small groups are lost more often than "
        "others by rules that were made for large ones: compare `dropped/` by language and host.", "",
        *_samples(store, files),
    ]  # fmt: skip
    return f"---\n{yaml.safe_dump(front, sort_keys=False, allow_unicode=True)}---\n\n" + "\n".join(lines)


def _languages(saved: Mapping[str, Any]) -> list[str]:
    """Those that a stage kept, where they are named as the hub names them (ISO 639)."""
    kept = [options["keep"] or [] for entry in saved["stages"] for kind, options in entry.items() if kind == "language"]
    return [name for name in (kept[-1] if kept else []) if re.fullmatch("[a-z]{2,3}", name)]


def _funnel(stages: Mapping[str, StageCounts], first: int) -> Iterator[str]:
    yield "| stage | documents in | dropped | edited | left of all | characters out | why |"
    yield "|---|---|---|---|---|---|---|"
    for name, account in stages.items():
        why = ", ".join(f"`{reason}` {count:,}" for reason, count in account.dropped.most_common(5))
        more = len(account.dropped) - 5
        yield (
            f"| `{name}` | {account.rows_in:,} | {account.rows_in - account.rows_out:,} | {account.edited:,} | "
            f"{account.rows_out / max(1, first):.1%} | {account.chars_out:,} | {why}{f' and {more} more' if more > 0 else ''} |"
        )


def _rules(saved: Mapping[str, Any]) -> Iterator[str]:
    yield "Every stage with its options, defaults spelled out; of files the names only."
    yield ""
    yield "```yaml"
    for entry in saved["stages"]:
        ((name, options),) = entry.items()
        shown = {key: _without_places(value) for key, value in options.items() if value is not None}
        yield f"- {name}: {json.dumps(shown, ensure_ascii=False, default=str)}"
    yield "```"


def _without_places(value: Any) -> Any:
    """A path without the folders of the machine it was on."""
    if isinstance(value, str) and value.startswith(("/", "file:")):
        return Path(value).name
    return [_without_places(one) for one in value] if isinstance(value, list) else value


def _models(saved: Mapping[str, Any]) -> list[str]:
    """What the cards of the models say that chose or changed documents."""
    lines = []
    for entry in saved["stages"]:
        ((name, options),) = entry.items()
        path = Path(str(options.get("scorer") or "")) / "card.md"
        if not options.get("scorer") or not path.is_file():
            continue
        prose = path.read_text("utf-8").split("---\n", 2)[-1]
        lines += [f"### `{path.parent.name}`, in `{name}`", ""]
        for part in prose.split("\n## ")[1:]:
            title, _, text = part.partition("\n")
            if title in _SECTIONS:
                lines += [f"{title}: {' '.join(text.split())}", ""]
    return ["## Models", "", *lines] if lines else []


def _samples(store: Store, files: list[str]) -> list[str]:
    """The beginnings of the first documents."""
    lines: list[str] = []
    for name in files[:1]:
        file = pq.ParquetFile(store.open(name))
        wanted = [column for column in (URL, TEXT) if column in file.schema_arrow.names]
        batch = next(file.iter_batches(_SAMPLES, columns=wanted), None) if TEXT in wanted else None
        for row in batch.to_pylist() if batch is not None else []:
            # Indented by four it is code, in which nothing is markup.
            lines += [f"    {' '.join(value.split())}" for value in (row.get(URL), (row[TEXT] or "")[:_SAMPLE_CHARS]) if value]
            lines.append("")
    return ["## Samples", "", *lines] if lines else []
