"""From a recipe file to a kind of training, its options and its documents. Mistakes are found here, with their line.

    name: encyclopedic-v1
    kind: fasttext
    positives: [{source: {parquet: {paths: wiki/*.parquet}}}]
    negatives: [{source: {parquet: {paths: crawl/*.parquet}}}]

`name` ends in a version, since a scorer is never changed, only followed by another. The other keys are the options of the
kind, with paths counted from the recipe's folder, and its lists of documents (`documents.py`).
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

import yaml

from curate.config.options import relative_paths, values_of
from curate.config.registry import load_class
from curate.config.yaml_file import YamlFile, mapping_at, options_at
from curate.errors import SpecError, known_values
from curate.events import Listener, Silent
from curate.execution.engine import Engine, InlineEngine
from curate.execution.ray_engine import RayEngine
from curate.train.documents import Documents, parse_documents

KINDS = {
    "causal_lm": "curate.train.causal_lm:CausalLMs",
    "fasttext": "curate.train.fasttext_recipe:FastText",
    "influence": "curate.train.influence_model:InfluenceModel",
    "oracle": "curate.mates.probe_recipe:Oracle",
    "prox": "curate.train.prox_refiner:RefinerOptions",
    "preselect": "curate.train.preselect:PreSelect",
}


OpenEngine = Callable[[Sequence[str]], Engine]
"""Opens Ray, or this process, for work on some paths. Raises SpecError where a node of a cluster does not see them."""


class RecipeType(Protocol):
    """A kind of training: its options are its fields."""

    documents: ClassVar[Mapping[str, bool]]
    """Keys of lists of documents, and whether each must be there."""

    def fit(self, recipe: Recipe, setting: Setting) -> str:
        """Train into the setting's folders; what there is to say about the result."""


@dataclass(frozen=True)
class Setting:
    """Where and with what a recipe is carried out."""

    out: Path
    """The folder of the result."""
    work: Path
    """The folder of what can be continued: losses, checkpoints."""
    open_engine: OpenEngine
    listener: Listener
    device: str = "cpu"


@dataclass(frozen=True)
class Recipe:
    """A checked recipe."""

    file: str
    name: str
    kind: str
    options: RecipeType
    documents: Mapping[str, tuple[Documents, ...]]

    def default_out(self) -> Path:
        """The recipe's own folder if that bears its name, else `scorers/NAME`."""
        own = Path(self.file).resolve().parent
        return own if own.name == self.name else Path("scorers") / self.name

    def digest(self) -> str:
        """sha256 over all that the recipe says, defaults included; of a path the last part only, so that it may be moved."""
        plain = yaml.safe_load(self.as_text(Path("/")))
        return hashlib.sha256(json.dumps(_moved(plain)).encode()).hexdigest()

    def as_text(self, folder: Path) -> str:
        """The recipe with its defaults spelled out and paths counted from `folder`, so that it can be run from there."""
        options: Any = self.options
        place = str(folder.resolve())
        lists = {key: [item.as_options(place) for item in items] for key, items in self.documents.items()}
        plain = {"name": self.name, "kind": self.kind, **relative_paths(type(options), values_of(options), place), **lists}
        return str(yaml.safe_dump(plain, sort_keys=False, allow_unicode=True, width=120))


def _moved(value: Any) -> Any:
    """Values with every path reduced to its last part."""
    if isinstance(value, dict):
        return {_moved(key): _moved(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_moved(item) for item in value]
    return value.rsplit("/", 1)[-1] if isinstance(value, str) else value


def load_recipe(file: str) -> Recipe:
    """Read and check a recipe. Raises SpecError at the first mistake."""
    document = YamlFile(file)
    top = dict(mapping_at(document, document.value, (), "a recipe"))
    for key in ("name", "kind"):
        if key not in top:
            raise document.error((), f"'{key}' is missing. Add '{key}: ...'. Known kinds: {', '.join(KINDS)}.")
    name, kind = top.pop("name"), top.pop("kind")
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9][\w.-]*-v\d+", name):
        raise document.error(("name",), f"name: {name!r} must be letters, digits, '-' and a version, such as 'edu-v1'")
    try:
        cls = load_class(kind, KINDS, "kind of recipe") if isinstance(kind, str) else None
    except SpecError as error:
        raise document.error(("kind",), f"kind: {error}") from error
    if cls is None:
        raise document.error(("kind",), f"kind: {kind!r} must be a name. {known_values(str(kind), KINDS)}")
    lists = {key: parse_documents(document, top.pop(key), (key,)) for key in cls.documents if key in top}
    for key, needed in cls.documents.items():
        if needed and key not in lists:
            raise document.error((), f"'{key}' is missing: a recipe of kind {kind!r} needs that list of documents.")
    known = [field.name for field in dataclasses.fields(cls)]
    for key in top:
        if key not in known:
            raise document.error((key,), f"unknown key {key!r}. {known_values(key, [*known, *cls.documents])}")
    return Recipe(file, name, kind, options_at(document, cls, top, (), f"kind {kind!r}"), lists)


def fit_file(
    file: str,
    *,
    out: str | None = None,
    work: str | None = None,
    ray: str | None = None,
    inline: bool = False,
    workers: int | None = None,
    device: str = "cpu",
    listener: Listener | None = None,
) -> str:
    """Carry out a recipe. See `curate fit --help` for the options.

    Raises SpecError when the recipe is wrong or the folder holds another one's result, RunError when training fails.
    """
    recipe = load_recipe(file)
    folder = Path(out) if out else recipe.default_out()

    def open_engine(paths: Sequence[str]) -> Engine:
        if inline:
            return InlineEngine()
        engine = RayEngine(ray, workers)
        try:
            engine.check_visible(paths)
        except SpecError:
            engine.close()
            raise
        return engine

    setting = Setting(folder, Path(work or f"out/fit/{recipe.name}").resolve(), open_engine, listener or Silent(), device)
    return f"{recipe.options.fit(recipe, setting)}; in {folder}"
