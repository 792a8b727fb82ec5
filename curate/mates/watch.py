"""Probe the checkpoints that a training of one's own leaves, and write an influence model beside each.

The recipe is one of kind `oracle` without `checkpoint`, with the options of the influence model in `influence`. A checkpoint is
a folder inside the one that is watched: Hugging Face's files and the optimizer's state, as the Trainer of `transformers` leaves
them (`checkpoint-500`). It is taken when nothing in it has changed for a while. Each is probed by other documents, drawn by its
name; `NAME/influence/scorer` is the result. What is done is not done again.
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
    """Take every checkpoint that is there, the oldest first; with `every`, look again after so many seconds, for ever. What was
    said of each. Raises SpecError for a recipe of another kind."""
    loaded = load_recipe(recipe)
    if not isinstance(loaded.options, Oracle) or loaded.options.influence is None:
        raise SpecError(f"{recipe}: to watch, give a recipe of kind 'oracle' with a section 'influence'")
    if loaded.options.checkpoint is not None:
        raise SpecError(f"{recipe}: checkpoint: the folder that is watched says which. Leave it out")
    if not Path(folder).is_dir():
        raise SpecError(f"{folder} is not a folder. Give the one that checkpoints are written to")
    told, heard = [], listener or Silent()
    while True:
        for checkpoint in _new(Path(folder), settled):
            told.append(_refresh(checkpoint, recipe, loaded.options, device, heard, engine))
            heard.note(told[-1])
        if every is None:
            return told
        time.sleep(every)


def _new(folder: Path, settled: float) -> list[Path]:
    """Checkpoints that are whole and have no influence model yet, by the time they were written."""
    found = []
    for path in folder.iterdir():
        if not (path / "config.json").is_file() or not any((path / name).is_file() for name in OPTIMIZERS):
            continue
        written = max(file.stat().st_mtime for file in path.iterdir() if file.is_file())
        if time.time() - written >= settled and not (path / INFLUENCE / "scorer" / "card.md").exists():
            found.append((written, path))
    return [path for _, path in sorted(found)]


def _refresh(checkpoint: Path, recipe: str, options: Oracle, device: str, listener: Listener, engine: Mapping[str, Any]) -> str:
    """Probe a checkpoint and fit the influence model; the recipes that were carried out stay beside them."""
    out = checkpoint / INFLUENCE
    out.mkdir(exist_ok=True)
    plain: dict[str, Any] = yaml.safe_load(load_recipe(recipe).as_text(out))
    learning = plain.pop("influence")
    seed = options.seed + zlib.crc32(checkpoint.name.encode())
    recipes = {
        "probes": {**plain, "checkpoint": "..", "seed": seed},
        "scorer": {
            "name": f"influence-{checkpoint.name}-v1", "kind": "influence", "group": ["group"],
            "documents": [{"source": {"parquet": {"paths": f"probes/{PROBES}"}}}], **learning,
        },
    }  # fmt: skip
    told = []
    for name, content in recipes.items():
        path, work = out / f"{name}.yaml", str(out / f"{name}-work")
        path.write_text(yaml.safe_dump(content, sort_keys=False))
        told.append(fit_file(str(path), out=str(out / name), work=work, device=device, listener=listener, **engine))
    return f"{checkpoint.name}: {'; '.join(told)}"
