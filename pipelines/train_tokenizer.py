"""Trains the byte-level BPE tokenizer `scorers/bpe-v1`, and writes its card and what was measured.

    python pipelines/train_tokenizer.py --text data/*.parquet --out scorers/bpe-v1

Input are Parquet files with the columns id, text, url, source, domain and meta (JSON). Documents of SOURCES are trained
on, in the order of a keyed hash of their ids, up to so many megabytes of each; one in twenty of all documents, whatever
their source, is held out to measure on. The same input gives the same bytes.

A vocabulary shows pieces of what it was trained on, so nothing personal may enter. Text is cut into pre-tokens, and one
counts only if it occurs in at least 20 documents of at least 5 groups (the host of the address, else the author or thread,
else the source) and holds no '@' and no two digits in a row. Of the others single characters count, under the same rule,
so that scripts whose words are rare in this text are not left with bytes alone.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pyarrow.parquet as pq
import tokenizers
import yaml
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

VOCABULARY = 16_384
SPECIAL = "<|endoftext|>"
MIN_DOCUMENTS, MIN_GROUPS = 20, 5
HELD_OUT = 0.05
# GPT-2's pattern, but every digit stands alone and takes no blank before it.
PATTERN = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
UNWANTED = re.compile(r"@|\d\d")


@dataclass(frozen=True)
class Terms:
    """Where a source comes from, why it may be used, and how much of it: templated sources are held back, so that their
    frames do not fill the vocabulary."""

    origin: str
    licence: str
    max_mb: float
    only: Mapping[str, Any] = field(default_factory=dict)
    """What `meta` must say."""


SOURCES = {
    "arxiv_abstracts": Terms("arXiv metadata, github.com/staeiou/arxiv_archive", "CC0-1.0", 5),
    "bible_lowresource": Terms("github.com/christos-c/bible-corpus", "CC0-1.0", 1.5),
    "cia_factbook": Terms("github.com/factbook/factbook.json", "CC0-1.0", 1.5),
    "cpp_docs": Terms("github.com/MicrosoftDocs/cpp-docs", "CC-BY-4.0", 2.5),
    "digital_gov": Terms("github.com/GSA/digitalgov.gov", "public domain (US government)", 5),
    "ewt_web_genres": Terms("github.com/UniversalDependencies/UD_English-EWT", "CC-BY-SA-4.0", 1.2),
    "free_programming_books": Terms("github.com/EbookFoundation/free-programming-books", "CC-BY-4.0", 1),
    "medquad_qa": Terms("github.com/abachaa/MedQuAD", "CC-BY-4.0", 4),
    "nsmc_korean_reviews": Terms("github.com/e9t/nsmc", "CC0-1.0", 2.5),
    "openstax_textbooks": Terms("OpenStax, books marked so", "CC-BY-4.0", 2, {"license": "CC-BY-4.0"}),
    "python_peps": Terms("github.com/python/peps", "public domain or CC0-1.0", 3),
    "react_docs_i18n": Terms("react.dev in five languages, github.com/reactjs", "CC-BY-4.0", 4),
    "reddit_listing": Terms("github.com/umbrae/reddit-top-2.5-million", "PDDL-1.0", 1),
    "reddit_self": Terms("github.com/umbrae/reddit-top-2.5-million", "PDDL-1.0", 8, {"over_18": False}),
    "stackexchange_small_sites": Terms("Stack Exchange, seven sites", "CC-BY-SA-3.0 and CC-BY-SA-4.0", 6),
    "udhr2": Terms("Universal Declaration of Human Rights, github.com/nltk/nltk_data", "public domain", 1.5),
    "wiki_en": Terms("English Wikipedia", "CC-BY-SA", 12),
    "wiki_en_stubs": Terms("English Wikipedia, short articles", "CC-BY-SA", 2),
    "wiki_zh": Terms("Chinese Wikipedia", "CC-BY-SA", 4),
}


@dataclass(frozen=True)
class Document:
    id: str
    text: str
    source: str
    kind: str
    group: str
    draw: float
    """In [0, 1), from the id alone."""


def read(files: Iterable[str]) -> tuple[list[Document], list[Document]]:
    """The documents to train on and those to measure on."""
    training: list[Document] = []
    held_out: list[Document] = []
    for file in files:
        for row in pq.read_table(file, columns=["id", "text", "url", "source", "domain", "meta"]).to_pylist():
            meta = json.loads(row["meta"] or "{}")
            digest = hashlib.blake2b(row["id"].encode(), digest_size=7, key=b"bpe-v1").digest()
            draw = int.from_bytes(digest, "big") / 2**56
            group = group_of(row["url"], meta, row["source"])
            document = Document(row["id"], row["text"], row["source"], row["domain"], group, draw)
            if draw < HELD_OUT:
                held_out.append(document)
            elif allowed(row["source"], meta):
                training.append(document)
    return list(within_limits(training)), held_out


def group_of(url: str | None, meta: Mapping[str, Any], source: str) -> str:
    """Who is behind a document, as far as it says."""
    host = urlsplit(url or "").hostname
    return host or str(meta.get("author") or meta.get("thread") or source)


def allowed(source: str, meta: Mapping[str, Any]) -> bool:
    return source in SOURCES and all(meta.get(key) == value for key, value in SOURCES[source].only.items())


def within_limits(documents: Iterable[Document]) -> Iterator[Document]:
    """Documents in the order of their draw, as many of each source as its limit allows."""
    sizes: Counter[str] = Counter()
    for document in sorted(documents, key=lambda document: (document.draw, document.id)):
        size = len(document.text.encode())
        if sizes[document.source] + size <= SOURCES[document.source].max_mb * 1e6:
            sizes[document.source] += size
            yield document


class Uses:
    """How often pieces of text occur, in how many documents and in which groups."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.documents: Counter[str] = Counter()
        self.groups: defaultdict[str, set[str]] = defaultdict(set)

    def add(self, pieces: Mapping[str, int], group: str) -> None:
        """The pieces of one document."""
        self.counts.update(pieces)
        self.documents.update(pieces.keys())
        for piece in pieces:
            self.groups[piece].add(group)

    def common(self) -> dict[str, int]:
        """Counts of the pieces that no person or site can have to themselves, the most frequent first."""
        wide = (
            piece
            for piece, documents in self.documents.items()
            if documents >= MIN_DOCUMENTS and len(self.groups[piece]) >= MIN_GROUPS and not UNWANTED.search(piece)
        )
        return {piece: self.counts[piece] for piece in sorted(wide, key=lambda piece: (-self.counts[piece], piece))}


def split() -> pre_tokenizers.PreTokenizer:
    return pre_tokenizers.Split(Regex(PATTERN), "isolated")


def uses_of(documents: Iterable[Document]) -> Uses:
    """Pre-tokens of all documents."""
    cutter, uses = split(), Uses()
    for document in documents:
        uses.add(Counter(piece for piece, _ in cutter.pre_tokenize_str(document.text)), document.group)
    return uses


def characters_of(documents: Iterable[Document], known: Mapping[str, int]) -> Uses:
    """Single characters of all pre-tokens that are not `known`."""
    cutter, uses = split(), Uses()
    for document in documents:
        rest = (piece for piece, _ in cutter.pre_tokenize_str(document.text) if piece not in known)
        uses.add(Counter(char for piece in rest for char in piece), document.group)
    return uses


def train(pieces: Sequence[Mapping[str, int]]) -> Tokenizer:
    """A tokenizer from counted pieces. Each goes in whole, as often as it occurred, and is not cut again."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[SPECIAL],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(([piece] * count for counts in pieces for piece, count in counts.items()), trainer)
    whole = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split(), whole])
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def bytes_per_token(tokenizer: Tokenizer, documents: Iterable[Document]) -> dict[str, dict[str, float]]:
    """For every kind of text: how much was measured, and bytes per token."""
    by_kind: defaultdict[str, list[str]] = defaultdict(list)
    for document in documents:
        by_kind[document.kind].append(document.text)
    measured: dict[str, dict[str, float]] = {}
    for kind, texts in sorted(by_kind.items()):
        size = sum(len(text.encode()) for text in texts)
        tokens = sum(map(len, tokenizer.encode_batch_fast(texts, add_special_tokens=False)))
        measured[kind] = {"documents": len(texts), "bytes": size, "tokens": tokens, "bytes_per_token": round(size / tokens, 3)}
    return measured


def used(documents: Sequence[Document]) -> dict[str, dict[str, Any]]:
    """Per source its origin and licence, and how much was trained on."""
    texts: defaultdict[str, list[int]] = defaultdict(list)
    for document in documents:
        texts[document.source].append(len(document.text.encode()))
    return {
        source: {
            "origin": SOURCES[source].origin,
            "licence": SOURCES[source].licence,
            "documents": len(sizes),
            "bytes": sum(sizes),
        }
        for source, sizes in sorted(texts.items())
    }


CARD = """---
{front}---

A byte-level BPE tokenizer of {size:,} entries, trained by `pipelines/train_tokenizer.py`.

**For**: counting tokens (`tokens: {{tokenizer: scorers/bpe-v1/tokenizer.json}}`), and small language models that probe a
corpus, where vocabulary is most of the model. **Not for**: a model that will be pretrained at length, or comparing token
counts with those of other tokenizers. It was made from {megabytes:.0f} MB of text, some four fifths of it English, and the rule
below lets few words of other languages in: in Latin letters they take about twice the tokens, in other scripts a token for
every character or byte. `metrics.json` has bytes per token by kind of text, on documents held out; some of these kinds,
web crawls, news and fiction among them, were not trained on at all.

**How text is cut**: GPT-2's pattern, in which a word takes the blank before it, except that every digit stands alone, so
that numbers of any length are digits in a row. No blank is added in front, nothing is normalised, and any text comes back
as it went in. `{special}` has id 0; it is never added, but a text that spells it out is read as if it were.

**Personal data**: a vocabulary shows pieces of what it was trained on. A pre-token was counted only if it occurs in at
least {documents} documents of at least {groups} groups (hosts, authors or sources) and holds no '@' and no two digits in a
row. Of pre-tokens that fail, only characters were counted that pass by themselves. Names that pass are those of many
people or of public ones. Posts marked for adults were left out, but the text is that of the open web, and so are its words.
"""


def card(metrics: Mapping[str, Any]) -> str:
    keys = ("origin", "licence")
    sources = [{"name": name, **{key: value[key] for key in keys}} for name, value in metrics["sources"].items()]
    front = {"kind": "tokenizer", "name": "bpe-v1", "licence": "Apache-2.0", "model": "tokenizer.json", "sources": sources}
    return CARD.format(
        front=yaml.safe_dump(front, sort_keys=False, width=200),
        size=metrics["vocabulary"],
        megabytes=metrics["trained_on"]["bytes"] / 1e6,
        special=SPECIAL,
        documents=MIN_DOCUMENTS,
        groups=MIN_GROUPS,
    )


def build(files: Sequence[str], out: Path) -> None:
    """Read, train, measure, write."""
    training, held_out = read(files)
    uses = uses_of(training)
    words = uses.common()
    letters = characters_of(training, words)
    characters = letters.common()
    tokenizer = train([words, characters])
    metrics = {
        "vocabulary": tokenizer.get_vocab_size(),
        "trained_on": {
            "documents": len(training),
            "groups": len({document.group for document in training}),
            "bytes": sum(len(document.text.encode()) for document in training),
            "ids_sha256": hashlib.sha256("\n".join(sorted(document.id for document in training)).encode()).hexdigest(),
        },
        "pre_tokens": {"distinct": len(uses.counts), "eligible": len(words)},
        "pre_token_uses": {"all": uses.counts.total(), "eligible": sum(words.values())},
        "characters_of_the_rest": {"distinct": len(letters.counts), "eligible": len(characters)},
        "held_out": bytes_per_token(tokenizer, held_out),
        "sources": used(training),
        "tokenizers_version": tokenizers.__version__,
    }
    out.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(out / "tokenizer.json"), pretty=False)
    (out / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")
    (out / "card.md").write_text(card(metrics), encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--text", nargs="+", required=True, metavar="FILE", help="Parquet files of documents")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    options = parser.parse_args(arguments)
    build(sorted(options.text), options.out)


if __name__ == "__main__":
    main()
