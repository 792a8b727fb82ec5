"""The prompts of published refiners as token ids: a document, or numbered lines of it, in a chat template.

The checkpoints of `gair-prox` have no chat template, and the prompts of the published scripts depended on the version of a
library (ProX, Zhou et al. 2024, arXiv:2409.17115; code of 2024). So templates are named and spelled out here. A text that does
not fit is truncated before the template is added, since truncation afterwards would cut off the request for an answer.

A document is encoded once. Windows are slices of its tokens, split between lines.
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
"""The text before and after a document."""
KEEP_DOC, DROP_DOC = "keep_doc()", "drop_doc()"
GRAMMAR = r"""
root ::= "keep_chunk()" | "untouch_doc()" | call ("\n" call)*
call ::= "remove_lines(line_start=" int ", line_end=" int ")" | "normalize(source_str=" str ", target_str=" str ")"
int ::= [0-9] | [1-9] [0-9] [0-9]? [0-9]? [0-9]?
str ::= "\"" char* "\""
char ::= [^"\\\n] | "\\" ["\\ntr]
"""
"""Grammar (GBNF) of the programs of a chunk, for constrained decoding."""


@dataclass(frozen=True)
class ChunkPrompt:
    """The prompt of a window; empty where the window is skipped."""

    window: Window
    ids: tuple[int, ...]


@dataclass(frozen=True)
class TextPrompts:
    """Prompts in a template, tokenized for a model."""

    encoder: Any
    """A `tokenizers.Tokenizer`."""
    template: str
    bos: int | None
    """The beginning-of-text id, if the tokenizer has one."""
    num_bos: int = 1
    """How often it is put before a prompt. The published script for chunks puts two, the one for documents one."""

    def document(self, text: str, window: int) -> tuple[tuple[int, ...], bool]:
        """The prompt for a document in at most `window` tokens, and whether the document was truncated."""
        before, after = self._around("", "")
        room = window - len(before) - len(after)
        ids = self.encoder.encode(text, add_special_tokens=False).ids
        return (*before, *ids[:room], *after), len(ids) > room

    def chunks(self, lines: Sequence[str], window: int) -> list[ChunkPrompt]:
        """The prompts for the lines of a document. Each has at most `window` tokens of lines."""
        before, after = self._around("[doc]\n", "\n[/doc]")
        text = numbered(lines, 0)
        encoding = self.encoder.encode(text, add_special_tokens=False)
        starts = [start for start, _ in encoding.offsets]
        lengths = [len(f"[{number:03d}]") + len(line) + 1 for number, line in enumerate(lines)]
        edges = [0, *(bisect_left(starts, offset) for offset in accumulate(lengths[:-1])), len(encoding.ids)]
        counts = [end - start for start, end in pairwise(edges)]
        windows = pack(counts, window)
        return [ChunkPrompt(w, () if w.skipped else (*before, *self._slice(encoding.ids, edges, w), *after)) for w in windows]

    @staticmethod
    def _slice(ids: Sequence[int], edges: Sequence[int], window: Window) -> Sequence[int]:
        return ids[edges[window.first] : edges[window.stop]]

    def _around(self, opening: str, closing: str) -> tuple[list[int], list[int]]:
        before, after = TEMPLATES[self.template]
        # Special tokens are special in a template, not in a document.
        self.encoder.encode_special_tokens = False
        front, back = (self.encoder.encode(part, add_special_tokens=False).ids for part in (before + opening, closing + after))
        self.encoder.encode_special_tokens = True
        return [*([self.bos] * self.num_bos if self.bos is not None else []), *front], back

    def first_tokens(self, answer: str) -> frozenset[int]:
        """The ids that an answer may begin with: with and without a blank, or a line break, before it."""
        encoded = [self.encoder.encode(space + answer, add_special_tokens=False).ids for space in ("", " ", "\n")]
        return frozenset(ids[0] for ids in encoded if self.encoder.decode([ids[0]]).strip())
