"""Recipes of kind `prox`: a small language model that decides which lines of a text are removed, and whether the text is kept.

    name: prox-mini-v1
    kind: prox
    documents:
      - source: {parquet: {paths: out/pairs/data/*.parquet}}
        about: WCXB, CC-BY-4.0

Documents are pairs of `text` and `program`, which cleans it. The stage `label_lines` writes programs for pages whose main text
is known; an annotating model or people may write them too.

The model has the Llama architecture. It is trained from scratch, tokenizer included, on these documents alone; or fine-tuned
from a `base`, a Llama in a folder in Hugging Face's format, whose shape and tokenizer it then has.

Its input is the line prompt of `prox/line_prompt.py`, read with bidirectional attention. Some training windows have causal
attention and their program as a target, so it is a causal language model too.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Annotated, ClassVar

from annotated_types import Ge, Gt, Le, Lt

from curate.config.options import AssetPath
from curate.prox import line_prompt
from curate.train.recipe import Recipe, Setting

_NOT_IN_CHECKPOINT = ("teachers", "words_frac", "choose_by", "kinds", "threads", "intended_use", "biases")
"""Options that the weights of a model do not depend on, apart from the targets that teachers give."""


@dataclass(frozen=True, kw_only=True)
class RefinerOptions:
    """Shape, prompt, training and evaluation of a refiner."""

    base: AssetPath | None = None
    """The model to fine-tune. Its shape and tokenizer replace the options given here."""
    width: Annotated[int, Ge(1)] = 128
    layers: Annotated[int, Ge(1)] = 4
    heads: Annotated[int, Ge(1)] = 4
    hidden: Annotated[int, Ge(1)] = 352
    vocab_size: Annotated[int, Ge(600)] = 4096
    """Size of the byte-level BPE vocabulary, special tokens included."""
    min_groups: Annotated[int, Ge(1)] = 20
    """The least number of groups of documents that a vocabulary entry occurs in."""
    window: Annotated[int, Ge(64)] = 384
    """Tokens of a prompt."""
    max_line_tokens: Annotated[int, Ge(8)] = 16
    """Longer lines are truncated in the middle: the prompt has their first and last tokens."""
    tokens: Annotated[int, Ge(1)]
    """Training tokens."""
    batch_tokens: Annotated[int, Ge(64)] = 4096
    lr: Annotated[float, Gt(0)] | None = None
    """Learning rate of embeddings: 0.004 by default, and a tenth of that with a base."""
    matrix_lr: Annotated[float, Gt(0)] | None = None
    """Learning rate of all other matrices: 0.02 by default, and a tenth of that with a base."""
    weight_decay: Annotated[float, Ge(0)] = 0.1
    dropout: Annotated[float, Ge(0), Lt(1)] = 0.1
    hidden_frac: Annotated[float, Ge(0), Lt(1)] = 0.3
    """Share of line tokens that are masked in training, so that no single word decides: pages are few, and their words many."""
    left_out_frac: Annotated[float, Ge(0), Le(0.5)] = 0.15
    """Mean share of lines that are left out in training, so that no page is seen twice in the same form."""
    shortened_frac: Annotated[float, Ge(0), Lt(1)] = 0.15
    """Share of pages that lose most of their lines, so that the model also sees short texts that fit into one window."""
    mixed_frac: Annotated[float, Ge(0), Lt(1)] = 0.3
    """Share of pages whose content is replaced by another page's, so that content does not predict the menus of its site."""
    written_frac: Annotated[float, Ge(0), Lt(1)] = 0.15
    """Share of windows with causal attention, followed by their program as a target."""
    teachers: Annotated[int, Ge(0)] = 0
    """Teachers in the distillation ensemble (Hinton et al. 2015, arXiv:1503.02531): same architecture, different seeds. The
    student's target for a line is mostly their mean probability, which errs less than any of them, and partly its label."""
    words_frac: Annotated[float, Ge(0), Lt(1)] = 0.0
    """Weight, in log-odds, of a linear classifier of lines (`line_classifier.py`) in the teachers' mean. Each page is scored by
    a classifier trained without the page's group. Its errors differ from those of the teachers."""
    min_content_words: Annotated[int, Ge(0)] = 50
    min_content_frac: Annotated[float, Ge(0), Lt(1)] = 0.1
    """The target decision of a window is to keep it if its kept lines have at least `min_content_words` words and this share of
    its words. A document is kept if one of its windows is."""
    group: tuple[str, ...] = ("host",)
    """Columns whose joined values are a document's group; `host` is the host of the URL. Splits never divide a group."""
    validation: Annotated[float, Gt(0), Lt(1)] = 0.1
    """Share of the groups in the validation split, on which the threshold is selected."""
    choose_by: tuple[Annotated[int, Ge(0)], ...] = ()
    """Items of `documents`, counted from 0, whose pages the validation split has; all if empty. Text that an extractor has
    cleaned needs a lower threshold than the raw text of pages, which refiners are for."""
    kinds: tuple[str, ...] = ()
    """Columns that define document types. All types weigh the same when the threshold is selected, whatever their number of
    documents."""
    seed: Annotated[int, Ge(0)] = 0
    threads: Annotated[int, Ge(1)] | None = None
    intended_use: str = ""
    biases: str = ""

    documents: ClassVar[dict[str, bool]] = {"documents": True}

    def __post_init__(self) -> None:
        if self.width % (2 * self.heads):
            raise ValueError(f"width ({self.width}) must be heads ({self.heads}) times an even number")
        if self.max_line_tokens + line_prompt.AROUND + 2 > self.window:
            raise ValueError(f"window ({self.window}) has no room for a line of max_line_tokens ({self.max_line_tokens})")
        if self.words_frac and not self.teachers:
            raise ValueError(f"words_frac ({self.words_frac}) is a share among teachers, and there are none")

    def fit(self, recipe: Recipe, setting: Setting) -> str:
        from curate.train.refiner_trainer import RefinerTrainer

        return RefinerTrainer(self, setting).run(recipe)

    def in_checkpoint(self) -> str:
        """The options that a checkpoint depends on, as JSON."""
        return json.dumps({name: value for name, value in asdict(self).items() if name not in _NOT_IN_CHECKPOINT}, default=str)

    def has_content(self, kept_words: int, num_words: int) -> bool:
        """Whether a window with these numbers of words should be kept."""
        return kept_words >= max(1, self.min_content_words) and kept_words >= self.min_content_frac * num_words
