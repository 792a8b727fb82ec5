"""Recipes of kind `fasttext`: a scorer that tells positives from negatives.

    name: encyclopedic-v1
    kind: fasttext
    column: encyclopedic
    transform: [newlines_to_spaces]
    positives: [{source: {parquet: {paths: wiki/*.parquet}}, about: "Wikipedia, CC-BY-SA-4.0"}]
    negatives: [{source: {parquet: {paths: crawl/*.parquet}}, about: "Common Crawl"}]
    pool: [{source: {parquet: {paths: crawl/*.parquet}}, max_documents: 50_000}]

`pool` is a sample of what the scorer will choose from. Thresholds in the card are of those of its groups that were not learnt
from; without a pool, of the test texts.
The method is that of DCLM's classifier (Li et al. 2024, arXiv:2406.11794, section 4.4).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from curate.train.documents import Corpus, load_corpus
from curate.train.fasttext_trainer import Labelled, ScorerOptions, Task, fit_scorer
from curate.train.recipe import Recipe, Setting
from curate.train.write_card import check_card


@dataclass(frozen=True, kw_only=True)
class FastText(ScorerOptions):
    """Positives against negatives."""

    documents: ClassVar[dict[str, bool]] = {"positives": True, "negatives": True, "pool": False}

    def fit(self, recipe: Recipe, setting: Setting) -> str:
        check_card(setting.out, recipe_digest=recipe.digest())
        given = {key: load_corpus(items, self.group, seed=self.seed) for key, items in recipe.documents.items()}
        positives, negatives = given["positives"], given["negatives"]
        labelled = Labelled(Corpus.joined([positives, negatives]), np.repeat([True, False], [len(positives), len(negatives)]))
        method = "A fastText classifier of words and word n-grams that tells the positives from the negatives below."
        sources = {key: items for key, items in recipe.documents.items() if key != "pool"}
        task = Task(labelled, method, sources, given.get("pool"))
        found = fit_scorer(recipe, self, task, setting.out, setting.listener)
        return f"AUC {found['auc']['value']:.3f} on {found['texts']['test']:,} texts of groups it has not seen"
