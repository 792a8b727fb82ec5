"""Language models behind one interface (`LanguageModel`): vLLM or torch in this process, or a server such as `vllm serve`.

`score` runs one forward pass per query. A causal model gives the probability of an answer's first tokens. A line classifier,
which has bidirectional attention, also gives the probability of one id against another at positions of the prompt. `generate`
decodes greedily until the model ends or a maximum is reached.

vLLM runs in the worker's own process: what kills the engine kills the worker, and the document at fault is found as for any
other stage. A server takes prompts of token ids at `/v1/completions`, or, for a line classifier, at `/pooling`. torch runs
line classifiers only and generates nothing.
"""

from __future__ import annotations

from curate.models.lm_types import LanguageModel, Serving
from curate.models.server import ServedLineClassifier, ServedModel
from curate.models.torch_lm import TorchLineClassifier
from curate.models.vllm import VllmLineClassifier, VllmModel


def open_model(serving: Serving) -> LanguageModel:
    """Load a model, or connect to its server. Raises SpecError when that fails."""
    if serving.engine == "torch":
        return TorchLineClassifier(serving)
    if serving.engine == "vllm":
        return VllmLineClassifier(serving) if serving.bidirectional else VllmModel(serving)
    return ServedLineClassifier(serving) if serving.bidirectional else ServedModel(serving)
