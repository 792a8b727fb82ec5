"""Recipes of kind `preselect`: a scorer that finds text on which better models have lower loss.

    name: preselect-v1
    kind: preselect
    column: preselect
    transform: [newlines_to_spaces]
    models: {huggyllama/llama-7b: 75.38, huggyllama/llama-13b: 77.27, ...}     # downstream scores, higher is better
    seeds: [{source: {parquet: {paths: pool/*.parquet}}}]
    domains: 3000
    per_domain: 300

Seeds are drawn by domain, every model's loss on each is measured, predictive strength follows (`predictive_strength.py`), and a
fastText classifier learns what tells documents that order the models perfectly from those that order them worst. A folder of
models that `kind: causal_lm` trained knows their downstream scores itself (`null` stands for them).

Source: Shum et al. 2025 (arXiv:2503.00808). Differences: a document is judged alone, with nothing before it; by an excerpt of
at most `excerpt_chars`, and labels are chosen within strata of length, because long documents order any models well; the
classifier is measured on groups it has not seen. The authors use models of one family on purpose: across families scores on
benchmarks are noisy, and what was selected by mixed ones was no better than random.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from annotated_types import Ge, Gt, Le

from curate.config.options import DatasetPath
from curate.errors import DataError, DriftError, SpecError
from curate.train.causal_lm import DOWNSTREAM
from curate.train.documents import Corpus, counts_by, hashes, listing_of, load_corpus
from curate.train.fasttext_trainer import Labelled, ScorerOptions, Task, fit_scorer
from curate.train.lm_losses import DOCUMENTS_PER_PART, LossWork, Measure, measure_losses, slug
from curate.train.predictive_strength import Chosen, choose, histogram, predictive_strength, strata_of
from curate.train.recipe import Recipe, Setting
from curate.train.write_card import check_card

Floats = npt.NDArray[np.float64]
SEEDS = "seeds.json"
MIN_MASS, MAX_MASS = 0.1, 0.6
"""Shares of documents with PS = 1 between which the models are close enough, and apart enough, to tell documents apart."""


@dataclass(frozen=True, kw_only=True)
class PreSelect(ScorerOptions):
    """Text that predicts what models can do."""

    models: dict[DatasetPath, float | None]
    """Folder or name on the hub -> downstream score, higher for the better model; null: as its `downstream.json` says."""
    domain: tuple[str, ...] = ("host",)
    """Columns that make a domain, joined; `host` is that of the URL."""
    domains: Annotated[int, Ge(1)] = 3000
    """The most frequent ones are drawn from."""
    per_domain: Annotated[int, Ge(1)] = 300
    excerpt_chars: Annotated[int, Ge(1)] | None = None
    """Judge, and learn from, the beginning of a document up to here, cut at white space; null: whole documents."""
    min_chars: Annotated[int, Ge(1)] = 200
    """Shorter documents are not drawn: their losses are noise."""
    strata: Annotated[int, Ge(1)] = 10
    """Strata of length, within which labels are chosen. With 1 the method is the paper's."""
    label_share: Annotated[float, Gt(0), Le(0.5)] = 0.22
    """At most this share of a stratum becomes positives, and as many negatives. 0.22 of the paper's seeds have PS = 1; where
    more have, negatives up to that number would be documents that order nearly all models well."""
    measure: Measure = field(default_factory=Measure)

    documents: ClassVar[dict[str, bool]] = {"seeds": True, "pool": False}

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.models) < 3:
            raise ValueError(f"models: {len(self.models)} give too few orders to tell documents apart. Name six or so.")

    def fit(self, recipe: Recipe, setting: Setting) -> str:
        check_card(setting.out, recipe_digest=recipe.digest())
        downstream = np.array([_downstream(model, given) for model, given in self.models.items()])
        if len(np.unique(downstream)) < len(downstream):
            raise SpecError(f"models: downstream scores {downstream.tolist()} are not all different, so they give no order.")
        seeds = self._draw(recipe, setting)
        work = LossWork(str(setting.work), self.measure, setting.device, seeds.content_digest())
        losses = measure_losses(list(self.models), work, setting.open_engine, setting.listener)
        strength = predictive_strength(losses, downstream)
        mass = float((strength == 1).mean())
        setting.listener.note(f"predictive strength is 1 for {mass:.1%} of {len(seeds):,} documents")
        if not MIN_MASS <= mass <= MAX_MASS:
            setting.listener.note(_advice(mass))
        chosen = self._label(seeds, strength)
        pool = load_corpus(recipe.documents["pool"], self.group) if "pool" in recipe.documents else None
        method, sources = _method(self, downstream, mass), {"seeds": recipe.documents["seeds"]}
        account = self._account(setting.work, downstream, seeds, losses, strength, chosen)
        task = Task(_labelled(seeds, chosen), method, sources, pool, (seeds, strength), account)
        found = fit_scorer(recipe, self, task, setting.out, setting.listener)
        return f"AUC {found['auc']['value']:.3f}, Spearman with predictive strength {found['spearman']['value']:.3f}"

    def _draw(self, recipe: Recipe, setting: Setting) -> Corpus:
        """The seeds, cut to their excerpts, from the work folder if they are there already."""
        folder, key = setting.work / "seeds", self._seed_key(recipe)
        if (folder / SEEDS).exists():
            return read_seeds(folder, key)
        corpus = load_corpus(recipe.documents["seeds"], self.group, domain=self.domain, seed=self.seed)
        texts = [_excerpt(text, self.excerpt_chars) for text in corpus.texts.to_pylist()]
        corpus = replace(corpus, texts=pa.array(texts, pa.large_string()))
        long = np.flatnonzero([len(text) >= self.min_chars for text in texts])
        drawn = corpus.take(by_domain(corpus, long, self.domains, self.per_domain, self.seed))
        account = {"unreadable": corpus.left_out, "short": len(corpus) - len(long), "not_drawn": len(long) - len(drawn)}
        if not len(drawn):
            raise DataError(f"no document of {len(corpus):,} has {self.min_chars} characters. Lower min_chars, or give others.")
        setting.listener.note(f"{len(drawn):,} seeds of {len(set(drawn.domains)):,} domains")
        write_seeds(folder, drawn, key, account)
        return drawn

    def _seed_key(self, recipe: Recipe) -> dict[str, Any]:
        """Everything that the sample of seeds depends on."""
        options = {
            name: getattr(self, name) for name in ("domain", "domains", "per_domain", "excerpt_chars", "min_chars", "seed")
        }
        items = [[item.kind, repr(item.source), repr(item.take)] for item in recipe.documents["seeds"]]
        files = listing_of(recipe.documents["seeds"])
        plain: dict[str, Any] = json.loads(json.dumps({**options, "group": self.group, "seeds": items, "files": files}))
        return plain

    def _label(self, seeds: Corpus, strength: npt.NDArray[np.float64]) -> Chosen:
        chosen = choose(
            strength, strata_of(seeds.chars, self.strata), hashes(seeds.ids, f"label {self.seed}"), self.label_share
        )
        if not len(chosen.positives):
            found = "every document orders" if (strength == 1).all() else "no document orders"
            raise DataError(f"{found} all models as their downstream scores do. Are the scores right, and models close enough?")
        return chosen

    def _account(
        self, work: Path, downstream: Floats, seeds: Corpus, losses: Floats, strength: Floats, chosen: Chosen
    ) -> dict[str, Any]:
        """The part of `metrics.json` on seeds, models and labels."""
        lengths, domains = seeds.chars, np.array(seeds.domains, np.object_)
        names = [slug(model) for model in self.models]
        bits = losses.sum(axis=0) / np.log(2) / lengths.sum()
        return {
            "seeds": {"drawn": len(seeds), **json.loads((work / "seeds" / SEEDS).read_text())["account"]},
            "downstream": dict(zip(names, downstream.tolist(), strict=True)),
            "bits_per_character": {name: round(float(b), 4) for name, b in zip(names, bits, strict=True)},
            "predictive_strength": histogram(strength, len(self.models)),
            "mean_strength_of_negatives": round(float(strength[chosen.negatives].mean()), 4),
            "median_chars": {
                "positives": float(np.median(lengths[chosen.positives])),
                "negatives": float(np.median(lengths[chosen.negatives])),
            },
            "domains_of_positives": dict(list(counts_by(domains[chosen.positives]).items())[:20]),
            "domains_of_negatives": dict(list(counts_by(domains[chosen.negatives]).items())[:20]),
        }


def _downstream(model: str, given: float | None) -> float:
    """A model's score; minus its normalised loss where the recipe leaves it to the model's folder."""
    if given is not None:
        return given
    path = Path(model) / DOWNSTREAM
    if not path.is_file():
        raise SpecError(f"models: {model!r} has no {DOWNSTREAM}, so its score must be given: '{model}: 75.4'")
    return -float(json.loads(path.read_text())["bits_per_character"])


def by_domain(corpus: Corpus, rows: npt.NDArray[np.int64], domains: int, per_domain: int, seed: int) -> npt.NDArray[np.int64]:
    """Up to `per_domain` of `rows` from each of the most frequent domains: those whose ids have the smallest hashes."""
    kept = [corpus.domains[row] for row in rows.tolist()]
    frequent = set(list(counts_by(kept))[:domains])
    ranks = hashes([corpus.ids[row] for row in rows.tolist()], f"seeds {seed}")
    taken: dict[str, int] = {}
    chosen = []
    for place in np.argsort(ranks, kind="stable").tolist():
        name = kept[place]
        if name in frequent and taken.get(name, 0) < per_domain:
            taken[name] = taken.get(name, 0) + 1
            chosen.append(rows[place])
    return np.sort(np.array(chosen, np.int64))


def _excerpt(text: str, chars: int | None) -> str:
    """The beginning of a text, up to the last white space before the limit."""
    if chars is None or len(text) <= chars:
        return text
    cut = text[: chars + 1]
    return re.sub(r"\s+\S*$", "", cut) or text[:chars]


def _labelled(seeds: Corpus, chosen: Chosen) -> Labelled:
    rows = np.concatenate([chosen.positives, chosen.negatives])
    return Labelled(seeds.take(rows), np.arange(len(rows)) < len(chosen.positives))


def write_seeds(folder: Path, seeds: Corpus, key: dict[str, Any], account: dict[str, int]) -> None:
    """Write seeds and, last, what they depend on and what was not drawn."""
    shutil.rmtree(folder, ignore_errors=True)  # parts of a draw that was cut short
    folder.mkdir(parents=True)
    table = pa.table({
        "number": np.arange(len(seeds)), "id": seeds.ids, "text": seeds.texts, "group": seeds.groups, "domain": seeds.domains,
    })  # fmt: skip
    for number, start in enumerate(range(0, len(table), DOCUMENTS_PER_PART)):
        pq.write_table(table.slice(start, DOCUMENTS_PER_PART), folder / f"part-{number:05d}.parquet")
    (folder / f"{SEEDS}.tmp").write_text(json.dumps({"key": key, "account": account}))
    os.replace(folder / f"{SEEDS}.tmp", folder / SEEDS)


def read_seeds(folder: Path, key: dict[str, Any]) -> Corpus:
    """Seeds that were drawn before. Raises DriftError when the draw was another one."""
    found = json.loads((folder / SEEDS).read_text())["key"]
    if found != key:
        differ = sorted(name for name in key if found.get(name) != key[name])
        raise DriftError(f"{folder} has seeds drawn with another {', '.join(differ)}. Remove it, or give another --work.")
    table = pa.concat_tables([pq.read_table(path) for path in sorted(folder.glob("part-*.parquet"))])
    texts = table["text"].combine_chunks()
    return Corpus(texts, table["id"].to_pylist(), table["group"].to_pylist(), table["domain"].to_pylist())


def _method(options: PreSelect, downstream: npt.NDArray[np.float64], mass: float) -> str:
    judged = f"the first {options.excerpt_chars:,} characters of each" if options.excerpt_chars else "whole documents"
    return (
        f"PreSelect (Shum et al. 2025, arXiv:2503.00808): {len(downstream)} language models judged {judged}, positives are "
        f"texts that order all of them as their downstream scores do ({mass:.1%} of the seeds), negatives those that do worst, "
        f"in {options.strata} strata of length. The classifier is fastText's, of words and word n-grams."
    )


def _advice(mass: float) -> str:
    if mass < MIN_MASS:
        return f"less than {MIN_MASS:.0%}: the models are too close, or excerpts too short, and the score is mostly noise"
    return f"more than {MAX_MASS:.0%}: the models are too far apart, or documents too long, and the score tells little apart"
