"""The section `rounds` of a pipeline file: the options of a MATES loop."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Le, Lt

from curate.config.options import AssetPath, PatternPath, TokenizerPath, build
from curate.config.yaml_file import YamlFile, mapping_at, options_at
from curate.data import pipeline_path
from curate.train.influence_model import InfluenceModel


@dataclass(frozen=True, kw_only=True)
class Rounds:
    """How the loop goes."""

    rounds: Annotated[int, Ge(1)]
    tokens: Annotated[int, Ge(1)]
    """Training tokens per round."""
    choose: Literal["influence", "random"] = "influence"
    """Select documents by predicted influence; or at random in all rounds, as a baseline."""
    top: Annotated[float, Gt(0), Le(1)]
    """The share of a round's documents that is selected."""
    by: Literal["docs", "chars"] = "docs"
    """The unit of the share."""
    gumbel: Annotated[float, Gt(0)] | None = 0.5
    """Temperature of the selection, in standard deviations of predicted influences; null selects the top share itself."""
    gumbel_rule: Literal["top_k", "mates"] = "top_k"
    holdout: Annotated[float, Gt(0), Lt(1)] = 0.15
    """Share of the documents that are only probed."""
    judge: Annotated[float, Gt(0), Lt(1)] = 0.02
    """Share of the documents in the evaluation split: only the model's loss on them is measured."""
    reference: tuple[PatternPath, ...]
    """The reference set whose loss influence is about: evaluation items, or texts."""
    also_judge: tuple[PatternPath, ...] = ()
    """More evaluation items or texts. Their loss is measured, and nothing is selected by it."""
    max_items: Annotated[int, Ge(1)] = 256
    """Limit of items per file of `reference` and `also_judge`, and of documents in the evaluation split."""
    probes: Annotated[int, Ge(1)] = 1000
    """Documents whose influence is measured in a round, drawn anew in each."""
    length: Annotated[int, Ge(2)] = 256
    """Tokens of a probe."""
    mode: Literal["one_step", "gradient", "both"] = "gradient"
    influence: dict[str, Any] = field(default_factory=dict)
    """Options of the influence model, as in a recipe of that kind; `encoder: model` is the body of the model in training."""
    warm_start: bool = False
    """The influence model of a round starts from the weights of the previous one."""
    base: AssetPath | None = None
    """The model that is trained: a folder in Hugging Face's format, with `config.json`, `tokenizer.json`, and weights for
    continued training. Without it, a Llama from scratch, whose size the next four options give."""
    width: Annotated[int, Ge(1)] = 128
    layers: Annotated[int, Ge(1)] = 4
    heads: Annotated[int, Ge(1)] = 4
    hidden: Annotated[int, Ge(1)] = 352
    context: Annotated[int, Ge(8)] = 256
    """Tokens of a sequence."""
    tokenizer: TokenizerPath | None = None
    """A `tokenizer.json`, if there is no base. Without either one is trained on the documents of the first round."""
    vocab_size: Annotated[int, Ge(258)] = 4096
    batch: Annotated[int, Ge(1)] = 16
    """Sequences in a step."""
    lr: Annotated[float, Gt(0)] = 3e-3
    warmup_frac: Annotated[float, Ge(0), Le(1)] = 0.04
    decay_frac: Annotated[float, Ge(0), Le(1)] = 0.1
    """The last share of all steps, in which the learning rate decays."""
    looks: Annotated[int, Ge(1)] = 4
    """Evaluation points per round: how often the losses are measured."""
    seed: Annotated[int, Ge(0)] = 0
    threads: Annotated[int, Ge(1)] | None = None
    processes: Annotated[int, Ge(1)] = 1
    """Processes that train the model together, each with a GPU of its own if the device is one."""
    replicas: Annotated[int, Ge(1)] = 1
    """Replicas of the model during probing, on Ray."""
    gpus: Annotated[float, Ge(0)] = 0
    """GPUs per replica, and per worker that scores documents, on Ray."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """The dtype of matrix products in training, and of the influence model when it scores."""

    def __post_init__(self) -> None:
        if self.base is not None and self.tokenizer is not None:
            raise ValueError("base and tokenizer: a base has a tokenizer of its own. Leave one out")
        if self.batch % self.processes:
            raise ValueError(f"batch ({self.batch}) is not a multiple of the processes ({self.processes}) that share it")
        if self.width % (2 * self.heads):
            raise ValueError(f"width ({self.width}) must be heads ({self.heads}) times an even number")
        if self.holdout + self.judge >= 1:
            raise ValueError(f"holdout ({self.holdout}) and judge ({self.judge}) leave nothing to train on")
        if self.length > self.context:
            raise ValueError(f"length ({self.length}) is more than the model sees at once, context ({self.context})")
        if self.tokenizer is not None and Path(self.tokenizer).name != "tokenizer.json":
            raise ValueError(f"tokenizer: {self.tokenizer!r} must be a file with the name tokenizer.json")
        build(InfluenceModel, self.influence)

    @property
    def steps(self) -> int:
        """Training steps per round."""
        return self.tokens // (self.batch * self.context)

    def training_split(self, number: int) -> tuple[float, float]:
        """Start and share of the documents that round `number` selects from, as fractions of all documents."""
        share = (1 - self.holdout - self.judge) / self.rounds
        return number * share, share


def load_rounds(file: str) -> Rounds | None:
    """The section `rounds` of a pipeline file; None where there is none. Raises SpecError for a mistake, with its line."""
    document = YamlFile(pipeline_path(file))
    top = mapping_at(document, document.value, (), "a pipeline")
    if "rounds" not in top:
        return None
    rounds: Rounds = options_at(document, Rounds, top["rounds"], ("rounds",))
    if not rounds.steps:
        raise document.error(("rounds",), f"tokens: {rounds.tokens} are less than one step of batch times context. Raise them")
    return rounds
