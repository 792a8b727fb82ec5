"""A scorer as an artefact: `model.bin`, `metrics.json`, `recipe.yaml` and `card.md`, written from what was trained on what."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from curate.errors import DriftError
from curate.models.card import front_matter
from curate.models.influence import FILES
from curate.storage import store
from curate.train.documents import Corpus, Documents
from curate.train.recipe import Recipe


@dataclass(frozen=True)
class About:
    """The prose of a card, from the recipe."""

    intended_use: str
    biases: str


@dataclass(frozen=True)
class Artefact:
    """Everything a card is written from."""

    column: str
    label: str
    transform: Sequence[str]
    end_of_line: str
    about: About
    sources: Mapping[str, Sequence[Documents]]
    training: Corpus
    metrics: Mapping[str, Any]
    method: str
    """A sentence or two on how labels came about."""


def check_card(
    folder: Path, *, recipe_digest: str | None = None, ids_digest: str | None = None, base: str | None = None
) -> None:
    """Raises DriftError when the folder has a scorer of another recipe, of other documents, or one that began elsewhere."""
    path = folder / "card.md"
    if not path.exists():
        return
    front = front_matter(path)
    if recipe_digest not in (None, front.get("recipe_sha256")):
        raise DriftError(f"{folder} was trained from a recipe that says something else. {way_out(path)}")
    if base != front.get("base_sha256"):
        raise DriftError(f"{folder} was trained from this recipe and another base. {way_out(path)}")
    if ids_digest not in (None, front.get("training_ids_sha256")):
        raise DriftError(f"{folder} was trained from this recipe on other documents. {way_out(path)}")


def way_out(path: Path) -> str:
    return f"A scorer is never changed, only followed by another: raise the version in 'name', or remove {path}."


def write_artefact(artefact: Artefact, folder: Path, recipe: Recipe) -> None:
    """Put `model.bin.tmp` in its place, with metrics, recipe and, last, the card.

    Raises DriftError, and leaves all as it was, when the folder has a card of another model.
    """
    made, card = folder / "model.bin.tmp", folder / "card.md"
    digest = store.file_hash(str(made))
    if card.exists() and front_matter(card).get("sha256") != digest:
        made.unlink()
        raise DriftError(
            f"{folder} has another model of the same recipe and documents: texts changed under their ids, or it was trained by "
            f"several threads or with autotune_s, where no two are alike. {way_out(card)}"
        )
    front = {
        "kind": "fasttext",
        "model": "model.bin",
        "sha256": digest,
        "columns": {artefact.column: artefact.label},
        "transform": list(artefact.transform),
        "end_of_line": artefact.end_of_line,
        "recipe_sha256": recipe.digest(),
        "training_ids_sha256": artefact.training.digest(),
        "thresholds": artefact.metrics["thresholds"],
    }
    os.replace(made, folder / "model.bin")
    _finish(folder, recipe, artefact.metrics, front, _prose(recipe.name, artefact))


def _finish(folder: Path, recipe: Recipe, metrics: Mapping[str, Any], front: Mapping[str, Any], prose: str) -> None:
    """Metrics, recipe and, last, the card."""
    _write(folder / "metrics.json", json.dumps(metrics, indent=1, ensure_ascii=False) + "\n")
    if Path(recipe.file).resolve() != (folder / "recipe.yaml").resolve():
        _write(folder / "recipe.yaml", recipe.as_text(folder))
    head = yaml.safe_dump(dict(front), sort_keys=False, allow_unicode=True, width=120)
    _write(folder / "card.md", f"---\n{head}---\n{prose}")


def _write(path: Path, text: str) -> None:
    path.with_suffix(".tmp").write_text(text, "utf-8")
    os.replace(path.with_suffix(".tmp"), path)


def _prose(name: str, artefact: Artefact) -> str:
    metrics = artefact.metrics
    found, counts = metrics["auc"], metrics["texts"]
    lines = [f"# {name}", "", artefact.method, "", "## Sources", ""]
    for label, items in artefact.sources.items():
        lines += [f"- {label}: {item.take.about or item.kind + ', not described'}" for item in items]
    lines += [
        "",
        f"{counts['training']:,} texts to learn from, {counts['validation']:,} to choose by, {counts['test']:,} to judge; no "
        f"group is in two of them. sha256 over the sorted ids learnt from: `{artefact.training.digest()}`.",
        "",
        "## Numbers",
        "",
        f"On {counts['test']:,} texts of {metrics['groups']:,} groups it has not seen: AUC {found['value']:.3f} (95 % of "
        f"resampled groups: {found['low']:.3f} to {found['high']:.3f}), F1 {metrics['f1']:.3f}, "
        f"calibration error {metrics['calibration_error']:.3f}.",
        f"Vocabulary: {metrics['words']:,} words, {metrics['vocabulary_rule']}.",
        f"Thresholds are of {metrics['thresholds_of']}: that of 10 % of the characters keeps 10 % of other such text, give or "
        f"take {metrics['threshold_errors']['chars']['0.1']:.1%}. On text of another kind it keeps another share.",
        "",
        "## Intended use",
        "",
        artefact.about.intended_use or "Not said.",
        "",
        "## Known biases",
        "",
        artefact.about.biases or "Not looked into.",
        "",
    ]
    return "\n".join(lines)


def write_refiner(
    folder: Path, recipe: Recipe, training: Corpus, metrics: Mapping[str, Any], *, window: int, max_line_tokens: int,
    base: str | None,
) -> None:  # fmt: skip
    """Metrics, recipe and, last, the card of a model that lies in the folder already."""
    options: Any = recipe.options
    front = {
        "kind": "prox",
        "model": ".",
        "sha256": store.file_hash(str(folder / "model.safetensors")),
        "form": "bidirectional",
        "window": window,
        "max_line_tokens": max_line_tokens,
        "threshold": metrics["threshold"],
        **({"base_sha256": base} if base else {}),
        "recipe_sha256": recipe.digest(),
        "training_ids_sha256": training.digest(),
    }
    best, counts = metrics["thresholds"][str(metrics["threshold"])], metrics["documents"]
    over = "kinds of documents" if options.kinds else "documents"
    lines = [
        f"# {recipe.name}", "",
        "A language model of the Llama architecture that decides which lines of a text go, and whether the text stays.", "",
        *_sources(recipe, options.base, base), "",
        f"{counts['training']:,} documents to learn from, {counts['validation']:,} of other groups to choose the threshold by. "
        f"sha256 over the sorted ids learnt from: `{training.digest()}`.", "",
        "## Numbers", "",
        f"On the {counts['validation']:,} documents: F1 of the lines removed {best['line_f1']:.3f}, F1 of the words left "
        f"{best['word_f1']:.3f}, lines lost that should stay {best['good_lines_lost']:.1%}; means over {over}, at the "
        f"threshold {metrics['threshold']}, which was chosen there.", "",
        "## Intended use", "", options.intended_use or "Not said.", "",
        "## Known biases", "", options.biases or "Not looked into.", "",
    ]  # fmt: skip
    _finish(folder, recipe, metrics, front, "\n".join(lines))


def write_influence(
    folder: Path, recipe: Recipe, training: Corpus, metrics: Mapping[str, Any], *, window: int, max_windows: int,
    base: str | None,
) -> None:  # fmt: skip
    """Metrics, recipe and, last, the card of an influence model that lies in the folder already."""
    options: Any = recipe.options
    front = {
        "kind": "influence",
        "window": window,
        "max_windows": max_windows,
        "label_mean": metrics["label_mean"],
        "label_std": metrics["label_std"],
        "sha256": {name: store.file_hash(str(folder / name)) for name in FILES},
        **({"base_sha256": base} if base else {}),
        "recipe_sha256": recipe.digest(),
        "training_ids_sha256": training.digest(),
    }
    counts, of = metrics["documents"], metrics["test"]
    ranks = {name: values["spearman"] for name, values in of.items()}
    lines = [
        f"# {recipe.name}", "",
        "A text encoder that predicts by how much a step of training on a document lowers a model's loss on a reference, in "
        "standard deviations of what was measured. It is about one checkpoint of one model: of a later one it knows less.", "",
        *_sources(recipe, options.encoder, base), "",
        f"{counts['training']:,} documents to learn from, {counts['validation']:,} to choose the epoch by, {counts['test']:,} "
        f"to judge; no group is in two of them. sha256 over the sorted ids learnt from: `{training.digest()}`.", "",
        "## Numbers", "",
        f"On the {counts['test']:,} documents, Spearman's rank correlation with what was measured, by way to predict (95 % of "
        "resampled groups):", "",
        *(f"- {name}: {rank['value']:.3f} ({rank['low']:.3f} to {rank['high']:.3f})" for name, rank in ranks.items()), "",
        "## Intended use", "", options.intended_use or "Not said.", "",
        "## Known biases", "", options.biases or "Not looked into.", "",
    ]  # fmt: skip
    _finish(folder, recipe, metrics, front, "\n".join(lines))


def _sources(recipe: Recipe, began: str | None, base: str | None) -> list[str]:
    """The section on sources: the training documents, and the base model if there is one."""
    items = [item for some in recipe.documents.values() for item in some]
    given = [f"- {item.take.about or item.kind + ', not described'}" for item in items]
    return ["## Sources", "", *given, *([f"- the model it began from, `{Path(began).name}`: `{base}`"] if began else [])]
