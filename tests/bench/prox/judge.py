"""`python tests/bench/prox/judge.py`: the refiner on pages of sites it has not seen, next to other ways to clean a page.

Macro means: of pages within a source and page type, then of those; CleanEval, whose pages are nearly all content, apart.

- token F1: bags of words of what is left against the main text that people wrote down;
- removed-line F1: of lines with words, those removed against those that the alignment with that text does not want;
- kept: share of those lines that stay; lost: share of the wanted ones that go.

Thresholds of the linear classifier and of the refiner are chosen on the same pages, of validation groups that they did not
learn from: those with all visible text, by the macro mean of token F1.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[3]))

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

import curate
from curate.prox.align import label_lines, line_f1, word_f1, words_of
from curate.prox.line_masks import removed_lines
from curate.train.documents import hashes, load_corpus
from curate.train.line_classifier import LinearLines
from curate.train.recipe import load_recipe
from tests.bench.prox.held_out import OUT, ROOT, held_pages

Mask = npt.NDArray[np.bool_]
THRESHOLDS = [round(0.05 * number, 2) for number in range(1, 13)]


@dataclass(frozen=True)
class Page:
    name: str
    kind: tuple[str, str]
    lines: Sequence[str]
    gold: str
    keep: Mask
    worded: Mask


def page_of(row: Mapping[str, Any]) -> Page:
    lines = row["text"].split("\n")
    keep = ~np.array(removed_lines(row["program"], len(lines)), np.bool_)
    worded = np.array([bool(words_of(line)) for line in lines])
    return Page(row["id"], (row["source"], str(row["page_type"])), lines, row["gold_text"], keep, worded)


def left(page: Page, keep: Mask) -> str:
    return "\n".join(line for line, kept in zip(page.lines, keep, strict=True) if kept)


def scores(page: Page, keep: Mask) -> tuple[float, float, float, float]:
    """Token F1, removed-line F1, kept, lost."""
    worded, good = page.worded, page.worded & page.keep
    kept, lost = (keep & worded).sum() / max(1, worded.sum()), (~keep & good).sum() / max(1, good.sum())
    return word_f1(left(page, keep), page.gold), line_f1(~keep & worded, ~page.keep & worded), float(kept), float(lost)


def macro(rows: Sequence[tuple[tuple[str, str], Sequence[float]]]) -> list[float]:
    by = defaultdict(list)
    for kind, values in rows:
        by[kind].append(values)
    return [float(value) for value in np.mean([np.mean(values, axis=0) for values in by.values()], axis=0)]


def show(name: str, pages: Sequence[Page], keeps: Sequence[Mask]) -> None:
    rows = [(page.kind, scores(page, keep)) for page, keep in zip(pages, keeps, strict=True)]
    core = [row for row in rows if not row[0][0].startswith("cleaneval")]
    clean = [row for row in rows if row[0][0].startswith("cleaneval")]
    f1, removed, kept, lost = macro(core)
    beside = f"{macro(clean)[0]:.3f} / {macro(clean)[1]:.3f}" if clean else ""
    print(f"| {name} | {f1:.3f} | {removed:.3f} | {kept:.2f} | {lost:.3f} | {beside} |", flush=True)


def show_texts(name: str, pages: Sequence[Page], texts: Mapping[str, str | None]) -> None:
    rows = [(page.kind, [word_f1(texts.get(page.name) or "", page.gold)]) for page in pages]
    core, clean = ([row for row in rows if row[0][0].startswith("cleaneval") == beside] for beside in (False, True))
    print(f"| {name} | {macro(core)[0]:.3f} | | | | {macro(clean)[0]:.3f} |", flush=True)


def learnt_from() -> tuple[list[tuple[Sequence[str], Mask]], list[Page]]:
    """The pages that the recipe learns from, and those by which it chooses its threshold."""
    recipe = load_recipe(str(ROOT / "scorers" / "recipes" / "prox-mini-v1.yaml"))
    options: Any = recipe.options
    names = ("program", "gold_text", "source", "page_type")
    pages, held, chooses = [], [], []
    for number, item in enumerate(recipe.documents["documents"]):
        corpus = load_corpus([item], options.group, columns=names)
        for row, text in enumerate(corpus.texts.to_pylist()):
            pages.append(page_of({"id": corpus.ids[row], "text": text, **{name: corpus.columns[name][row] for name in names}}))
            chooses.append(number in options.choose_by)
        held += (hashes(corpus.groups, "split") / 2**64 < options.validation).tolist()
    learning = [(page.lines, page.keep) for page, apart in zip(pages, held, strict=True) if not apart]
    return learning, [page for page, apart, used in zip(pages, held, chooses, strict=True) if apart and used]


def best_threshold(pages: Sequence[Page], probabilities: Callable[[Page], npt.NDArray[np.float64]]) -> float:
    found = [probabilities(page) for page in pages]

    def score(limit: float) -> float:
        return macro([(p.kind, [word_f1(left(p, k >= limit), p.gold)]) for p, k in zip(pages, found, strict=True)])[0]

    return max(THRESHOLDS, key=score)


def line_rules(pages: Sequence[Page]) -> list[Mask]:
    """C4's rules of lines: sentences end in a full stop, have three words, and are not about cookies or JavaScript."""
    given = pa.table({"text": pa.array(["\n".join(page.lines) for page in pages], pa.large_string())})
    texts = curate.apply("c4_quality", given, min_sentences=None, curly_bracket=False, lorem_ipsum=False)["text"].to_pylist()
    found = []
    for page, text in zip(pages, texts, strict=True):
        stays = {line.strip() for line in (text or "").split("\n")}
        found.append(np.array([line.strip() in stays for line in page.lines]))
    return found


def main() -> None:
    pages = [page_of(row) for row in held_pages().to_pylist()]
    nothing_left = pq.read_table(OUT / "refined" / "dropped")["id"].to_pylist()
    refined: dict[str, Any] = {name: {"text": "", "prox_program": "remove_lines(all=True)"} for name in nothing_left}
    refined |= {row["id"]: row for row in pq.read_table(OUT / "refined" / "data").to_pylist()}
    table = {name: pq.read_table(OUT / f"{name}.parquet").to_pylist() for name in ("balanced", "precision", "turku")}
    print(f"{len(pages)} pages. kind: pages", json.dumps({" ".join(k): n for k, n in _sizes(pages).items()}))
    print(
        "| all visible text, then | token F1 | removed-line F1 | kept | lost | CleanEval: token, line F1 |"
        "\n|---|---|---|---|---|---|"
    )
    show("nothing", pages, [np.ones(len(page.lines), np.bool_) for page in pages])
    show("C4's rules of lines", pages, line_rules(pages))
    learning, choosing = learnt_from()
    linear = LinearLines(learning)
    limit = best_threshold(choosing, lambda page: linear.probabilities(page.lines))
    show(f"linear classifier, threshold {limit}", pages, [linear.probabilities(page.lines) >= limit for page in pages])
    show("refiner", pages, [_kept(refined, "loose", page) for page in pages])
    show("lines decided by alignment", pages, [page.keep for page in pages])
    texts = {row["id"]: row["text"] for row in table["balanced"]}
    show_texts("trafilatura, from the HTML", pages, texts)
    show_texts("trafilatura for precision", pages, {row["id"]: row["text"] for row in table["precision"]})
    show_texts("trafilatura, then refiner", pages, {name: refined[f"extracted:{name}"]["text"] for name in texts})
    _harm(pages, texts, {name: refined[f"extracted:{name}"]["text"] for name in texts})
    _turku(table["turku"], refined)
    _kinds(pages, refined)


def _sizes(pages: Sequence[Page]) -> dict[tuple[str, str], int]:
    return {kind: sum(page.kind == kind for page in pages) for kind in sorted({page.kind for page in pages})}


def _kept(refined: Mapping[str, Any], name: str, page: Page) -> Mask:
    return ~np.array(removed_lines(refined[f"{name}:{page.name}"]["prox_program"], len(page.lines)), np.bool_)


def _harm(pages: Sequence[Page], before: Mapping[str, str], after: Mapping[str, str]) -> None:
    """Extracted text: how many pages refining makes better and worse by more than a hundredth of token F1."""
    changes = np.array([word_f1(after[p.name], p.gold) - word_f1(before[p.name], p.gold) for p in pages if p.name in before])
    better, worse = int((changes > 0.01).sum()), int((changes < -0.01).sum())
    print(
        f"refining {len(changes)} extracted texts: {better} better, {worse} worse, mean change {changes.mean():+.4f}, "
        f"worst {changes.min():+.2f}"
    )


def _turku(rows: Sequence[Mapping[str, Any]], refined: Mapping[str, Any]) -> None:
    """Removed lines against those that people called noise, and the alignment checked on the same labels."""
    values, agreed = [], []
    pooled = np.zeros(3)
    for row in rows:
        lines = row["text"].split("\n")
        worded = np.array([bool(words_of(line)) for line in lines])
        noise = np.array(row["labels"]) != 1
        removed = np.array(removed_lines(refined[f"turku:{row['id']}"]["prox_program"], len(lines)), np.bool_)
        pooled += [(removed & noise & worded).sum(), (removed & ~noise & worded).sum(), (~removed & noise & worded).sum()]
        values.append(line_f1(removed & worded, noise & worded))
        keep = label_lines(lines, "\n".join(line for line, bad in zip(lines, noise, strict=True) if not bad))
        assert keep is not None
        agreed.append((int((keep == ~noise)[worded].sum()), int(worded.sum())))
    right, total = np.sum(agreed, axis=0)
    tp, fp, fn = pooled
    f1 = 2 * tp / (2 * tp + fp + fn)
    print(f"Turku lines (English): removed-line F1 {f1:.3f} over all, {np.mean(values):.3f} mean of {len(rows)} documents")
    print(f"the alignment gives {right / total:.3f} of {total} of those lines the label they have")


def _kinds(pages: Sequence[Page], refined: Mapping[str, Any]) -> None:
    for kind, count in _sizes(pages).items():
        rows = [scores(page, _kept(refined, "loose", page)) for page in pages if page.kind == kind]
        token, removed, _, _ = np.mean(rows, axis=0)
        print(f"  {' '.join(kind):32} {count:4} pages, token F1 {token:.3f}, removed-line F1 {removed:.3f}")


if __name__ == "__main__":
    main()
