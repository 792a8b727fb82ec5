"""Language models that are asked with tokens: vLLM in this process, a server of the kind of `vllm serve`, or torch.

Two kinds of questions. `decide` reads, in a single forward pass: of a causal model, how likely the first words of an answer
are; of a reader of our own, which sees the prompt in both directions, also the probability of one id against another at places
of the prompt. `write` generates, greedily, until the model ends or a cap is reached.

vLLM runs in the process that asks it, so that what kills the engine kills the worker, and the document is found as for any
other stage. A server answers to prompts of token ids at `/v1/completions`, or, for a reader, at `/pooling`. torch reads models
of our own (`probe/model.py`) and writes nothing.
"""

from __future__ import annotations

from curate.models.lm_types import (
    Model,
    Serving,
)
from curate.models.server import ServedLineClassifier, ServedModel
from curate.models.torch_lm import TorchLineClassifier
from curate.models.vllm import VllmLineClassifier, VllmModel


def open_model(serving: Serving) -> Model:
    """Load a model, or find its server. Raises SpecError when that cannot be."""
    if serving.engine == "torch":
        return TorchLineClassifier(serving)
    if serving.engine == "vllm":
        return VllmLineClassifier(serving) if serving.reads else VllmModel(serving)
    return ServedLineClassifier(serving) if serving.reads else ServedModel(serving)
