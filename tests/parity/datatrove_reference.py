"""Runs in datatrove's own environment: what datatrove decides, measures and writes for every text of a Parquet file.

    python datatrove_reference.py IN.parquet OUT.parquet      (IN: columns id, text)

Verdicts are those of datatrove's filters, called as its pipeline calls them. A filter does not tell what it measured; values
are computed with datatrove's own functions, as its filters do. `run.py` holds both against ours.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from datatrove.data import Document
from datatrove.pipeline.filters import C4ParagraphFilter, C4QualityFilter, FineWebQualityFilter, GopherQualityFilter
from datatrove.pipeline.filters import gopher_repetition_filter as repetition
from datatrove.utils import text as text_utils
from datatrove.utils.text import PUNCTUATION_SET, TERMINAL_PUNCTUATION, split_into_words

STOP_WORDS = {"the", "be", "to", "of", "and", "that", "have", "with"}
QUALITY_OFF = {
    "min_doc_words": None, "max_doc_words": None, "min_avg_word_length": None, "max_avg_word_length": None,
    "max_symbol_word_ratio": None, "max_bullet_lines_ratio": None, "max_ellipsis_lines_ratio": None,
    "max_non_alpha_words_ratio": None, "min_stop_words": None,
}  # fmt: skip
QUALITY = {
    "min_doc_words": 50, "max_doc_words": 100_000, "min_avg_word_length": 3, "max_avg_word_length": 10,
    "max_symbol_word_ratio": 0.1, "max_bullet_lines_ratio": 0.9, "max_ellipsis_lines_ratio": 0.3,
    "max_non_alpha_words_ratio": 0.8, "min_stop_words": 2,
}  # fmt: skip
REPETITION_OFF: dict[str, Any] = {
    "dup_line_frac": None, "dup_para_frac": None, "dup_line_char_frac": None, "dup_para_char_frac": None,
    "top_n_grams": (), "dup_n_grams": (),
}  # fmt: skip
REPETITION = {"dup_line_frac": 0.3, "dup_para_frac": 0.3, "dup_line_char_frac": 0.2, "dup_para_char_frac": 0.2}
TOP = ((2, 0.2), (3, 0.18), (4, 0.16))
DUP = ((5, 0.15), (6, 0.14), (7, 0.13), (8, 0.12), (9, 0.11), (10, 0.10))
FINEWEB_OFF = {"line_punct_thr": -1, "short_line_thr": 2, "char_duplicates_ratio": 2, "new_line_ratio": 1e9}
FINEWEB = {"line_punct_thr": 0.12, "short_line_thr": 0.67, "char_duplicates_ratio": 0.01, "new_line_ratio": 0.3}
C4_OFF = {
    "remove_citations": False, "filter_no_terminal_punct": False, "min_num_sentences": -1, "min_words_per_line": -1,
    "max_word_length": -1, "filter_lorem_ipsum": False, "filter_javascript": False, "filter_curly_bracket": False,
    "filter_policy": False,
}  # fmt: skip
C4_ON = {
    "remove_citations": True, "filter_no_terminal_punct": True, "min_num_sentences": 5, "min_words_per_line": 3,
    "max_word_length": 1000, "filter_lorem_ipsum": True, "filter_javascript": True, "filter_curly_bracket": True,
    "filter_policy": True,
}  # fmt: skip


def filters() -> dict[str, Any]:
    """Every filter, and every rule alone with the others off, by name."""
    made: dict[str, Any] = {
        "quality": GopherQualityFilter(),
        "repetition": repetition.GopherRepetitionFilter(),
        "fineweb": FineWebQualityFilter(),
        "c4": C4QualityFilter(),
        "c4_fineweb": C4QualityFilter(filter_no_terminal_punct=False),
        "c4_paragraphs": C4ParagraphFilter(),
    }
    for name, value in QUALITY.items():
        made[f"quality:{name}"] = GopherQualityFilter(**{**QUALITY_OFF, name: value})
    for name, value in REPETITION.items():
        made[f"repetition:{name}"] = repetition.GopherRepetitionFilter(**{**REPETITION_OFF, name: value})
    for rule in TOP:
        made[f"repetition:top_{rule[0]}"] = repetition.GopherRepetitionFilter(**{**REPETITION_OFF, "top_n_grams": (rule,)})
    for rule in DUP:
        made[f"repetition:dup_{rule[0]}"] = repetition.GopherRepetitionFilter(**{**REPETITION_OFF, "dup_n_grams": (rule,)})
    for name, value in FINEWEB.items():
        made[f"fineweb:{name}"] = FineWebQualityFilter(**{**FINEWEB_OFF, name: value})
    for name, value in C4_ON.items():
        made[f"c4:{name}"] = C4QualityFilter(**{**C4_OFF, name: value})
    return made


def verdict(filter_: Any, text: str) -> tuple[str, str]:
    """The reason, "" for none, "raised ..." where datatrove fails; and the text afterwards."""
    document = Document(text=text, id="")
    try:
        result = filter_.filter(document)
    except (ZeroDivisionError, ValueError) as error:
        return f"raised {type(error).__name__}", document.text
    if isinstance(result, tuple):
        return str(result[1]), document.text
    return ("" if result else "dropped"), document.text


def chain(made: dict[str, Any], text: str) -> tuple[str, str]:
    """The four filters of FineWeb in their order: filter and reason, and the text."""
    for name in ("repetition", "quality", "c4_fineweb", "fineweb"):
        reason, text = verdict(made[name], text)
        if reason:
            return f"{name}: {reason}", text
    return "", text


def quality_values(text: str) -> Iterator[tuple[str, float]]:
    words = split_into_words(text)
    solid = [w for w in words if any(ch not in PUNCTUATION_SET for ch in w)]
    lines = text.splitlines()
    yield "words", len(solid)
    yield "mean_word_chars", float(np.mean([len(w) for w in solid])) if solid else float("nan")
    if words:
        yield "hash_ratio", text.count("#") / len(words)
        yield "ellipsis_ratio", (text.count("...") + text.count("…")) / len(words)
        yield "alpha_words_frac", sum(any(c.isalpha() for c in w) for w in words) / len(words)
    if lines:
        yield "bullet_lines_frac", sum(s.lstrip().startswith(("•", "-")) for s in lines) / len(lines)
        yield "ellipsis_lines_frac", sum(s.rstrip().endswith(("...", "…")) for s in lines) / len(lines)
    yield "stop_words", len(STOP_WORDS & set(words))


def repetition_values(text: str) -> Iterator[tuple[str, float]]:
    if not text:
        return
    for name, units in (("paragraph", re.split(r"\n{2,}", text.strip())), ("line", re.split(r"\n+", text))):
        copies, chars = repetition.find_duplicates(units)
        yield f"dup_{name}_frac", copies / len(units)
        yield f"dup_{name}_chars_frac", chars / len(text)
    words = split_into_words(text)
    for n, _ in TOP:
        n_grams = repetition.get_n_grams(words, n)
        yield f"top_{n}_gram_chars_frac", repetition.find_top_duplicate(n_grams) / len(text) if n_grams else 0.0
    for n, _ in DUP:
        yield f"dup_{n}_gram_chars_frac", repetition.find_all_duplicate(words, n) / len(text)


def fineweb_values(text: str) -> Iterator[tuple[str, float]]:
    lines = [line for line in text.split("\n") if line.strip() != ""]
    if not lines:
        return
    yield "line_punct_frac", sum(line.endswith(tuple(TERMINAL_PUNCTUATION)) for line in lines) / len(lines)
    yield "short_lines_frac", sum(len(line) <= 30 for line in lines) / len(lines)
    yield "dup_line_chars_frac", repetition.find_duplicates(lines)[1] / len(text.replace("\n", ""))
    words = split_into_words(text)
    if words:
        yield "newline_ratio", text.count("\n") / len(words)


def record(made: dict[str, Any], text: str) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for name, filter_ in made.items():
        reason, after = verdict(filter_, text)
        row[name] = reason
        if name.startswith("c4") and name != "c4_paragraphs":
            row[f"{name} text"] = after if not reason and after != text else None
    row["chain"], row["chain text"] = chain(made, text)
    for family, values in (("quality", quality_values), ("repetition", repetition_values), ("fineweb", fineweb_values)):
        row |= {f"{family}={name}": value for name, value in values(text)}
    return row


def main(source: str, target: str) -> None:
    # datatrove remembers the words of the last five texts; with more of them every text is cut once, not once per filter.
    text_utils.split_into_parts = lru_cache(4096)(text_utils.split_into_parts.__wrapped__)
    made = filters()
    table = pq.read_table(source, columns=["id", "text"])
    keys = list(record(made, "One. Two three.\n\nFour five six seven eight nine ten eleven twelve thirteen."))
    rows: dict[str, list[Any]] = {key: [] for key in keys}
    for number, text in enumerate(table["text"].to_pylist()):
        row = record(made, text)
        for key in keys:
            rows[key].append(row.get(key))
        if number % 1000 == 0:
            print(number, file=sys.stderr, flush=True)
    result = pa.table({"id": table["id"], "text": table["text"], **{key: pa.array(rows[key]) for key in keys}})
    pq.write_table(result, target, compression="zstd")


if __name__ == "__main__":
    main(*sys.argv[1:])
