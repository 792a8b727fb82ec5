"""Watch the checkpoints of a training outside curate: probe each, and train an influence model beside it.

The recipe is of kind `oracle` without `checkpoint`, with the options of the influence model in `influence`. A checkpoint is a
folder inside the watched one, with Hugging Face's files and the optimizer's state, as the Trainer of `transformers` writes it
(`checkpoint-500`). It is processed once nothing in it has changed for a while. Each checkpoint has other probes, drawn by its
name. The result is `NAME/influence/scorer`. Finished checkpoints are skipped.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from curate.errors import SpecError
from curate.events import Listener, Silent
from curate.mates.probe_recipe import OPTIMIZERS, PROBES, Oracle
from curate.train.recipe import fit_file, load_recipe

INFLUENCE = "influence"


def watch(
    folder: str, recipe: str, *, every: float | None = None, settled: float = 30.0, device: str = "cpu",
    listener: Listener | None = None, **engine: Any,
) -> list[str]:  # fmt: skip
    """Process all checkpoints, the oldest first; a summary of each. With `every`, list the folder again after so many seconds,
    forever. `settled` is the time in seconds without a change after which a checkpoint is complete.

    Raises SpecError for a recipe of another kind.
    """
    loaded = load_recipe(recipe)
    if not isinstance(loaded.options, Oracle) or loaded.options.influence is None:
        raise SpecError(f"{recipe}: to watch, give a recipe of kind 'oracle' with a section 'influence'")
    if loaded.options.checkpoint is not None:
        raise SpecError(f"{recipe}: checkpoint: the folder that is watched says which. Leave it out")
    if not Path(folder).is_dir():
        raise SpecError(f"{folder} is not a folder. Give the one that checkpoints are written to")
    summaries, listener = [], listener or Silent()
    while True:
        for checkpoint in _new(Path(folder), settled):
            summaries.append(_refresh(checkpoint, recipe, loaded.options, device, listener, engine))
            listener.note(summaries[-1])
        if every is None:
            return summaries
        time.sleep(every)


def _new(folder: Path, settled: float) -> list[Path]:
    """Complete checkpoints without an influence model, in the order in which they were written."""
    complete = []
    for path in folder.iterdir():
        if not (path / "config.json").is_file() or not any((path / name).is_file() for name in OPTIMIZERS):
            continue
        written = max(file.stat().st_mtime for file in path.iterdir() if file.is_file())
        if time.time() - written >= settled and not (path / INFLUENCE / "scorer" / "card.md").exists():
            complete.append((written, path))
    return [path for _, path in sorted(complete)]


def _refresh(checkpoint: Path, recipe: str, options: Oracle, device: str, listener: Listener, engine: Mapping[str, Any]) -> str:
    """Probe a checkpoint and train its influence model; a summary. Their recipes are saved beside them."""
    out = checkpoint / INFLUENCE
    out.mkdir(exist_ok=True)
    plain: dict[str, Any] = yaml.safe_load(load_recipe(recipe).as_text(out))
    influence_options = plain.pop("influence")
    seed = options.seed + zlib.crc32(checkpoint.name.encode())
    recipes = {
        "probes": {**plain, "checkpoint": "..", "seed": seed},
        "scorer": {
            "name": f"influence-{checkpoint.name}-v1", "kind": "influence", "group": ["group"],
            "documents": [{"source": {"parquet": {"paths": f"probes/{PROBES}"}}}], **influence_options,
        },
    }  # fmt: skip
    summaries = []
    for name, content in recipes.items():
        path, work = out / f"{name}.yaml", str(out / f"{name}-work")
        path.write_text(yaml.safe_dump(content, sort_keys=False))
        summaries.append(fit_file(str(path), out=str(out / name), work=work, device=device, listener=listener, **engine))
    return f"{checkpoint.name}: {'; '.join(summaries)}"
