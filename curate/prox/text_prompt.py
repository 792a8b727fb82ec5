"""The prompts of published refiners, token by token: a document, or numbered lines of it, in a chat template.

The checkpoints of `gair-prox` carry no template, and what the published scripts asked depended on the version of a library
(ProX, Zhou et al. 2024, arXiv:2409.17115; its code of 2024). So the template is named here and written out. A text that does
not fit is cut before the template is put around it: cut after, it would lose the words that ask for an answer.

A document is encoded once. Windows are slices of its tokens, cut between lines.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any, Literal

from curate.prox.windows import Window, numbered, pack

TemplateName = Literal["plain", "llama2", "llama2_bare", "chatml"]
_SYSTEM = "You are a helpful, respectful and honest assistant."
TEMPLATES: dict[str, tuple[str, str]] = {
    "plain": ("", ""),
    "llama2": (f"[INST] <<SYS>>\n{_SYSTEM}\n<</SYS>>\n\n", " [/INST]"),
    "llama2_bare": ("[INST] ", " [/INST]"),
    "chatml": (f"<|im_start|>system\n{_SYSTEM}<|im_end|>\n<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n"),
}
"""What stands before and behind a document."""
KEEP_DOC, DROP_DOC = "keep_doc()", "drop_doc()"
GRAMMAR = r"""
root ::= "keep_chunk()" | "untouch_doc()" | call ("\n" call)*
call ::= "remove_lines(line_start=" int ", line_end=" int ")" | "normalize(source_str=" str ", target_str=" str ")"
int ::= [0-9] | [1-9] [0-9] [0-9]? [0-9]? [0-9]?
str ::= "\"" char* "\""
char ::= [^"\\\n] | "\\" ["\\ntr]
"""
"""Of the programs of a chunk, for decoding that follows it."""


@dataclass(frozen=True)
class ChunkPrompt:
    """What is asked of lines first..stop-1; nothing is, where one line is longer than a window."""

    window: Window
    ids: tuple[int, ...]


@dataclass(frozen=True)
class TextPrompts:
    """A template in the tokens of a model."""

    encoder: Any
    """A `tokenizers.Tokenizer`."""
    template: str
    bos: int | None
    """The id that begins a prompt."""
    num_bos: int = 1
    """The published script for chunks put two, the one for documents one."""

    def document(self, text: str, window: int) -> tuple[tuple[int, ...], bool]:
        """The prompt for a document in at most `window` tokens, and whether the document was cut."""
        before, after = self._around("", "")
        room = window - len(before) - len(after)
        ids = self.encoder.encode(text, add_special_tokens=False).ids
        return (*before, *ids[:room], *after), len(ids) > room

    def chunks(self, lines: Sequence[str], window: int) -> list[ChunkPrompt]:
        """The prompts for the lines of a document, each of `window` tokens of lines at most."""
        before, after = self._around("[doc]\n", "\n[/doc]")
        text = numbered(lines, 0)
        encoding = self.encoder.encode(text, add_special_tokens=False)
        starts = [start for start, _ in encoding.offsets]
        lengths = [len(f"[{number:03d}]") + len(line) + 1 for number, line in enumerate(lines)]
        edges = [0, *(bisect_left(starts, place) for place in accumulate(lengths[:-1])), len(encoding.ids)]
        counts = [end - start for start, end in pairwise(edges)]
        windows = pack(counts, window)
        return [ChunkPrompt(w, () if w.skipped else (*before, *self._slice(encoding.ids, edges, w), *after)) for w in windows]

    @staticmethod
    def _slice(ids: Sequence[int], edges: Sequence[int], window: Window) -> Sequence[int]:
        return ids[edges[window.first] : edges[window.stop]]

    def _around(self, opening: str, closing: str) -> tuple[list[int], list[int]]:
        before, after = TEMPLATES[self.template]
        # These are the template's own words, so special tokens in them are special.
        self.encoder.encode_special_tokens = False
        front, back = (self.encoder.encode(part, add_special_tokens=False).ids for part in (before + opening, closing + after))
        self.encoder.encode_special_tokens = True
        return [*([self.bos] * self.num_bos if self.bos is not None else []), *front], back

    def first_words(self, answer: str) -> frozenset[int]:
        """The tokens with which an answer may begin: with and without a blank, or a line break, before it."""
        found = [self.encoder.encode(space + answer, add_special_tokens=False).ids for space in ("", " ", "\n")]
        return frozenset(ids[0] for ids in found if self.encoder.decode([ids[0]]).strip())
