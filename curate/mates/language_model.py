"""The language model that a loop trains: its initialisation, tokenizer and schedule, and its loss on the evaluation sets."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from curate.events import Listener
from curate.mates.documents import SplitDocuments, documents_of_run
from curate.mates.options import Rounds
from curate.mates.probe_recipe import reference_of
from curate.models.lm_types import load_encoder
from curate.schema import TEXT
from curate.train.eval_items import Items, read_items
from curate.train.tokenizer import train_cased_tokenizer

if TYPE_CHECKING:
    from curate.lm.checkpoint import Base
    from curate.lm.model import Shape
    from curate.lm.token_stream import Tokens
    from curate.lm.train import Trained, Training, TrainSegment
    from curate.mates.influence_probe import Reference

_BOS = 0


class LanguageModel:
    """The model in training.

    `tokenizer_file` is where a tokenizer is written if one must be trained: on the texts of `first_selection`, the run that
    selects the documents of round 0.
    """

    def __init__(
        self, options: Rounds, documents: SplitDocuments, tokenizer_file: Path, first_selection: Path, device: str,
    ) -> None:  # fmt: skip
        self._options, self._documents, self._device = options, documents, device
        self._tokenizer_file, self._first_selection = tokenizer_file, first_selection

    @cached_property
    def init(self) -> Shape | Base:
        """The model before its first step."""
        from curate.lm.checkpoint import Base
        from curate.lm.model import Shape

        options = self._options
        if options.base is not None:
            return Base(Path(options.base), options.context)
        size = {name: getattr(options, name) for name in ("width", "layers", "heads", "hidden", "context")}
        return Shape(vocab_size=self._encoder.get_vocab_size(), bos=_BOS, **size)

    @cached_property
    def num_parameters(self) -> int:
        return sum(parameter.numel() for parameter in self.init.begin(0).parameters())

    @cached_property
    def tokenizer(self) -> Path:
        if self._options.base is not None:
            return Path(self._options.base) / "tokenizer.json"
        if self._options.tokenizer is not None:
            return Path(self._options.tokenizer)
        if not self._tokenizer_file.exists():
            texts = (text for table in documents_of_run(self._first_selection) for text in table[TEXT].to_pylist())
            train_cased_tokenizer(texts, self._options.vocab_size, self._tokenizer_file)
        return self._tokenizer_file

    @cached_property
    def _encoder(self) -> Any:
        return load_encoder(str(self.tokenizer.parent), None)

    @cached_property
    def reference(self) -> Reference:
        """The reference set that influence is about."""
        return self._tokenized(read_items(self._options.reference, self._options.max_items, "reference"))

    @cached_property
    def _evaluation_sets(self) -> dict[str, Reference]:
        options = self._options
        documents = {"documents": [("", text) for text in self._documents.evaluation_texts()]}
        sets = {"reference": self.reference, "documents": self._tokenized(documents)}
        if options.also_judge:
            sets["items"] = self._tokenized(read_items(options.also_judge, options.max_items, "also_judge"))
        return sets

    def _tokenized(self, items: Items) -> Reference:
        return reference_of(items, self._encoder, self.init.bos, self._options.context, device=self._device)

    def losses(self, model: Any) -> dict[str, float]:
        """The loss of a model on each evaluation set, in nats per token."""
        return {name: evaluation_set.loss(model) for name, evaluation_set in self._evaluation_sets.items()}

    def token_stream(self, texts: Any) -> Tokens:
        from curate.lm.token_stream import token_stream

        return token_stream(texts, self.tokenizer, self.init.bos)

    def train(self, stream: Tokens, folder: Path, segment: TrainSegment, progress: StepProgress) -> Trained[Any]:
        """The steps of a segment, from its checkpoint or from the initial model; checkpoints lie in `folder`."""
        from curate.lm.launch import train_together
        from curate.lm.train import train

        options = self._options
        if options.processes > 1:
            return train_together(
                options.processes, self.init, self._training, stream, folder, segment=segment, listener=progress.advance_to,
                device=self._device, threads=options.threads,
            )  # fmt: skip
        return train(
            self.init, self._training, stream, folder, segment=segment, device=self._device, threads=options.threads,
            listener=lambda step: progress.advance_to(step.step, f", loss {step.loss:.3f}"),
        )  # fmt: skip

    @cached_property
    def _training(self) -> Training:
        from curate.lm.train import Training

        options = self._options
        total = options.rounds * options.steps * options.batch * options.context
        return Training(
            tokens=total, batch=options.batch, lr=options.lr, warmup_frac=options.warmup_frac, min_lr_frac=0.0,
            decay_frac=options.decay_frac, seed=options.seed, checkpoint_every=200, dtype=options.dtype,
        )  # fmt: skip


class StepProgress:
    """Reports every training step of a phase once, though trainings report only some, or the same again after a restart."""

    def __init__(self, listener: Listener, phase: str, first: int) -> None:
        self._listener, self._phase, self._reported = listener, phase, first

    def advance_to(self, step: int, loss: str = "") -> None:
        while self._reported < step:
            self._reported += 1
            self._listener.advance(self._phase, f"step {self._reported}{loss}", None)
