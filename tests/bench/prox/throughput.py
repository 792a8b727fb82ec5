"""`python tests/bench/prox/throughput.py [PAGES]`: our way to ask a refiner against the published way.

The same model, pages and windows in vLLM, in one process, one after the other, seven rounds each; no cache.

- two stages: `prox_doc` and `prox_chunk`, each one forward pass that reads probabilities.
- fused: `prox`, one forward pass for both.
- published: a generation per stage over a list of all documents, read forwards. Of a document the decision (one token, where
  the published code allows 2,000: the cheapest it can be), of a chunk a program of as many tokens as that which the decisions
  of the fused stage amount to, so that a model which writes badly, and does not end, is not held against this way.

Then programs as the model writes them, with and without a grammar: how many have a fault, and how many are cut off.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[3]))

import pyarrow.parquet as pq

from curate.models.lm_types import Completion
from curate.models.refiner import load_refiner_card
from curate.prox import line_prompt
from curate.prox.execute import execute_chunks
from curate.prox.program import parse
from curate.stages.refine.line_classifier import LineClassifier, chunk_of
from curate.stages.refine.lm_stage import LMClient
from curate.stages.refine.prox import Prox
from curate.storage.response_log import ResponseLog

ROOT = Path(__file__).parents[3]
ROUNDS = 7


def main() -> None:
    pages = int(sys.argv[1]) if len(sys.argv) > 1 else 60
    texts = pq.read_table(ROOT / "out" / "prox" / "held" / "loose.parquet")["text"].to_pylist()[:pages]
    scorer = str(ROOT / "scorers" / "prox-mini-v1")
    stage, card = Prox(scorer=scorer), load_refiner_card(scorer)
    cap = card.max_program_tokens

    reading = LineClassifier(stage.client(card.window + 1, bidirectional=True), card)
    windows = [prompt for text in texts for prompt in reading.prompts(text, overlapping=False)]
    tokens = sum(len(prompt.ids) for prompt in windows)
    print(f"{len(texts)} pages, {len(windows)} windows, {tokens / len(texts):,.0f} prompt tokens a page", flush=True)

    def clean(overlapping: bool) -> None:
        for text, found in zip(texts, reading.score(texts, ResponseLog(), overlapping=overlapping), strict=True):
            assert found is not None
            execute_chunks(text, stage.program_of(text, found, card).chunks)

    def two_stages(overlapping: bool) -> None:
        reading.score(texts, ResponseLog(), overlapping=False)
        clean(overlapping)

    ways: dict[str, list[float]] = {}
    for name, overlapping in (("", False), (", windows overlapping", True)):
        ways[f"two stages{name}"] = _times(lambda some=overlapping: two_stages(some))  # type: ignore[misc]
        ways[f"fused{name}"] = _times(lambda some=overlapping: clean(some))  # type: ignore[misc]
    lengths = [
        len(line_prompt.program_ids((found.lines[prompt.first : prompt.stop] < card.threshold).tolist()))
        for text, found in zip(texts, reading.score(texts, ResponseLog(), overlapping=False), strict=True)
        for prompt in reading.prompts(text, overlapping=False)
        if found is not None
    ]
    reading.client.close()

    writing = LineClassifier(stage.client(card.window + cap, bidirectional=False), card)
    base = _times(lambda: _published(writing, texts, lengths))
    for name, seconds in {"published": base, **ways}.items():
        middle = statistics.median(seconds)
        ratio = statistics.median(base) / middle
        print(
            f"| {name} | {len(texts) / middle:.2f} pages/s | {ratio:.2f} | {', '.join(f'{s:.1f}' for s in seconds)} s |",
            flush=True,
        )
    print(f"tokens written a page, published: {sum(lengths) / len(texts):.0f} and one a window; others: none")
    _malformed(writing.client, windows, cap)
    writing.client.close()


def _published(writing: LineClassifier, texts: Sequence[str], lengths: Sequence[int]) -> None:
    """Both generations, each over prompts of its own, and programs of the right length executed."""
    from vllm import SamplingParams, TokensPrompt

    engine: Any = writing.client.model
    engine.generate([prompt.ids for text in texts for prompt in writing.prompts(text, overlapping=False)], 1, None)
    prompts = [writing.prompts(text, overlapping=False) for text in texts]
    how = [SamplingParams(max_tokens=n, min_tokens=n, ignore_eos=True, temperature=0.0) for n in lengths]
    asked = [TokensPrompt(prompt_token_ids=list(prompt.ids)) for some in prompts for prompt in some]
    answers = iter(engine._llm.generate(asked, how, use_tqdm=False))
    for text, some in zip(texts, prompts, strict=True):
        written = [next(answers).outputs[0] for _ in some]
        chunks = [chunk_of(p, Completion(out.text, True, len(out.token_ids))) for p, out in zip(some, written, strict=True)]
        execute_chunks(text, chunks)


def _times(way: Callable[[], None]) -> list[float]:
    found = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        way()
        found.append(time.perf_counter() - started)
    return found


def _malformed(client: LMClient, windows: Sequence[line_prompt.LinePrompt], cap: int) -> None:
    for name, grammar in (("free", None), ("in a grammar", line_prompt.GRAMMAR)):
        programs = client.model.generate([prompt.ids for prompt in windows], cap, grammar)
        parsed = [parse(str(chunk_of(p, w).program)) for p, w in zip(windows, programs, strict=True)]
        faulty = sum(bool(one.faults) for one, w in zip(parsed, programs, strict=True) if w.finished)
        cut = sum(not w.finished for w in programs)
        print(f"| {name} | {faulty} of {len(parsed) - cut} that came to an end have a fault | {cut} cut off |", flush=True)


if __name__ == "__main__":
    main()
