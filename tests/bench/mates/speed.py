"""`python tests/bench/mates/speed.py`: probes and scores per second, next to the way MATES's code goes about it, in one run.

- `one_step` against loading the checkpoint from disk for every probe and padding the reference to the model's context;
- `gradient` against `one_step`;
- scoring by length against two full windows for every text, whatever its length.

Medians of three; on two models, with moments of a few steps. Scores of both ways are compared.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3]))

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
import torch.nn.functional as F

from curate.lm.checkpoint import open_optimizer
from curate.lm.encoder import Regressor, tiny
from curate.lm.model import Shape, load, num_parameters, save
from curate.lm.token_stream import token_stream
from curate.lm.train import CHECKPOINT, Training, train
from curate.mates.influence_probe import Oracle
from curate.mates.probe_recipe import reference_of
from curate.models.lm_types import load_encoder
from curate.train import metrics
from curate.train.eval_items import read_items
from curate.train.tokenizer import train_cased_tokenizer
from tests.bench.mates.influence import DATA, KINDS, LENGTH, REFERENCE

SHAPES = {
    "small": Shape(vocab_size=4096, width=128, layers=4, heads=4, hidden=352, context=LENGTH, bos=0),
    "larger": Shape(vocab_size=4096, width=256, layers=8, heads=8, hidden=704, context=LENGTH, bos=0),
}
WINDOW, WINDOWS = 512, 2
I64 = npt.NDArray[np.int64]


def timed(run: Callable[[], object], times: int = 3) -> float:
    """The median of the seconds that it takes."""
    found = []
    for _ in range(times):
        started = time.perf_counter()
        run()
        found.append(time.perf_counter() - started)
    return statistics.median(found)


def published(folder: Path, shape: Shape, ids: I64, items: list[tuple[list[int], int]]) -> float:
    """The loss after a step minus nothing, as their code stores it: everything anew from disk, the reference padded."""
    model = load(folder)
    optimizer = open_optimizer(folder, model, (CHECKPOINT,), lr=None)
    batch = torch.from_numpy(ids)[None]
    F.cross_entropy(model(batch[:, :-1])[0], batch[0, 1:]).backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    total, tokens = 0.0, 0
    with torch.inference_mode():
        for start in range(0, len(items), 32):
            some = items[start : start + 32]
            inputs = torch.zeros(len(some), shape.context, dtype=torch.int64)
            targets = torch.full((len(some), shape.context), -1)
            for row, (item, scored) in enumerate(some):
                inputs[row, : len(item) - 1] = torch.tensor(item[:-1])
                targets[row, len(item) - 1 - scored : len(item) - 1] = torch.tensor(item[len(item) - scored :])
            loss = F.cross_entropy(model(inputs).flatten(0, 1), targets.flatten(), ignore_index=-1, reduction="sum")
            total, tokens = total + loss.item(), tokens + sum(scored for _, scored in some)
    return total / tokens


def padded_scores(model: Regressor, texts: list[str]) -> npt.NDArray[np.float32]:
    """Every text as two windows of full length, 32 texts at a time."""
    windows = model.windows(texts)
    rows: list[list[list[int]]] = [[] for _ in texts]
    for piece, owner in zip(windows.ids, windows.owner, strict=True):
        rows[owner].append(piece)
    found = []
    with torch.inference_mode():
        for start in range(0, len(texts), 32):
            some = rows[start : start + 32]
            ids = torch.zeros(len(some), WINDOWS, WINDOW, dtype=torch.int64)
            mask = torch.zeros_like(ids)
            for row, pieces in enumerate(some):
                for place, piece in enumerate(pieces):
                    ids[row, place, : len(piece)], mask[row, place, : len(piece)] = torch.tensor(piece), 1
            hidden = model.encoder(input_ids=ids.flatten(0, 1), attention_mask=mask.flatten(0, 1)).last_hidden_state
            shares = mask.flatten(1)[..., None].float()
            mean = (hidden.view(len(some), -1, hidden.shape[-1]) * shares).sum(dim=1) / shares.sum(dim=1)
            found.append(model.head(mean)[:, 0])
    scores: npt.NDArray[np.float32] = torch.cat(found).numpy()
    return scores


def main() -> None:
    table = pq.read_table(next(iter(sorted((DATA / "web_text").glob("webcrawl-*.parquet")))), columns=["text"]).slice(0, 3000)
    texts = table["text"].to_pylist()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        train_cased_tokenizer(texts, 4096, folder / "tokenizer.json")
        encoder = load_encoder(str(folder), None)
        items = read_items([str(DATA / "evals" / name) for name in REFERENCE], 64, "reference")
        stream = token_stream(texts, folder / "tokenizer.json", 0)
        probes = [stream[start : start + LENGTH + 1].astype(np.int64) for start in range(0, 64 * LENGTH, LENGTH)]
        for name, shape in SHAPES.items():
            training = Training(tokens=10 * 16 * LENGTH, batch=16, lr=1e-3, decay_frac=0.0, seed=0, checkpoint_every=100)
            trained = train(shape, training, stream, folder / name)
            save(trained.model, folder / name, folder / "tokenizer.json")
            reference = reference_of(items, encoder, 0, shape.context)
            model = load(folder / name)
            oracle = Oracle(model, open_optimizer(folder / name, model, (CHECKPOINT,), lr=None), reference, clip=1.0)
            plain = [
                (row.tolist(), scored)
                for ids, targets in reference.batches
                for row, scored in _rows(ids, targets)
            ]  # fmt: skip
            few = probes[:4]
            ours = [oracle.one_step(ids) for ids in few]
            theirs = [oracle.before - published(folder / name, shape, ids, plain) for ids in few]
            slow = timed(lambda: [published(folder / name, shape, ids, plain) for ids in few]) / len(few)  # noqa: B023
            fast = timed(lambda: [oracle.one_step(ids) for ids in few]) / len(few)  # noqa: B023
            many = timed(lambda: oracle.gradient(probes)) / len(probes)  # noqa: B023
            agreement = metrics.spearman(oracle.gradient(probes), np.array([oracle.one_step(ids) for ids in probes]))
            apart = np.abs(np.subtract(ours, theirs)).max()
            print(
                f"{name}, {num_parameters(shape):,} parameters, "
                f"reference of {reference.tokens:,} tokens in {reference.tokens_read:,}"
            )
            print(f"  reloading {1 / slow:.2f} probes/s")
            print(
                f"  one_step {1 / fast:.2f}, {slow / fast:.1f} times; scores differ by {apart:.1e} of {np.abs(ours).max():.1e}"
            )
            print(f"  gradient {1 / many:.2f}, {fast / many:.1f} times one_step; rank agreement {agreement:.3f}", flush=True)
        scoring(folder / "tokenizer.json", {"web pages": texts[:500], "sixteen kinds": _mixed(500)})


def scoring(tokenizer: Path, pools: dict[str, list[str]]) -> None:
    body, marked = tiny(
        _with_marks(tokenizer), ("<|endoftext|>", "[CLS]", "[SEP]"), width=128, layers=2, heads=4, hidden=256, window=WINDOW,
        seed=0,
    )  # fmt: skip
    scorer = Regressor(body, marked, window=WINDOW, max_windows=WINDOWS).eval()
    torch.nn.init.normal_(scorer.head.weight)
    for name, some in pools.items():
        slow, fast = timed(lambda: padded_scores(scorer, some)), timed(lambda: scorer.predict(some, 8192))  # noqa: B023
        difference = np.abs(padded_scores(scorer, some) - scorer.predict(some, 8192)).max()
        filled = sum(map(len, scorer.windows(some).ids)) / (len(some) * WINDOWS * WINDOW)
        print(
            f"scoring {len(some)} texts, {name}: padded {len(some) / slow:.1f} texts/s, by length {len(some) / fast:.1f} "
            f"({slow / fast:.1f} times; {filled:.0%} of the padded tokens are text); largest difference {difference:.1e}"
        )


def _mixed(number: int) -> list[str]:
    """As many of each kind that influence is measured on."""
    tables = [pq.read_table(path, columns=["text", "source"]) for path in sorted((DATA / "web_text").glob("*.parquet"))]
    whole = pa.concat_tables(tables)
    texts = [whole.filter(pc.equal(whole["source"], kind))["text"].to_pylist() for kind in KINDS]
    return [own[place % len(own)] for place in range(number) for own in texts][:number]


def _rows(ids: torch.Tensor, targets: torch.Tensor) -> list[tuple[npt.NDArray[np.int64], int]]:
    """Items of a padded batch: ids with the last target, and how many of them are scored."""
    found = []
    for row, wanted in zip(ids.numpy(), targets.numpy(), strict=True):
        places = np.flatnonzero(wanted >= 0)
        found.append((np.append(row[: places[-1] + 1], wanted[places[-1]]), len(places)))
    return found


def _with_marks(path: Path) -> Path:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.add_special_tokens(["[CLS]", "[SEP]"])
    tokenizer.save(str(path.with_name("marked.json")))
    return path.with_name("marked.json")


if __name__ == "__main__":
    main()
