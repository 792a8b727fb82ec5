"""Recipes of kind `oracle`: the influence of documents on a model, measured, not predicted (`curate probe`).

    name: influence-r1-v1
    kind: oracle
    checkpoint: out/model/step-2000
    reference: [../evals/lambada/*.jsonl.gz]
    pool: [{source: {parquet: {paths: out/texts/*.parquet}}, part: [0.9, 1.0]}]
    probes: 2000
    length: 256

A probe is the beginning of a document, always of the same number of tokens, so that length cannot explain what is found.
The pool must not be what the model is trained on: `part` keeps the two apart. Another `seed` draws other documents of it.

The result is a folder with `probes.parquet` (id, group, domain, text, influence), which a recipe of kind `influence` learns
from, and `metrics.json`.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from annotated_types import Ge, Gt

from curate.config.options import AssetPath, PatternPath, build
from curate.errors import DataError, DriftError, SpecError
from curate.models.lm_types import identity, load_encoder
from curate.storage import store
from curate.train import metrics
from curate.train.documents import Corpus, hashes, load_corpus
from curate.train.eval_items import Items, read_items
from curate.train.influence_model import InfluenceModel
from curate.train.recipe import Recipe, Setting, fit_file, load_recipe

if TYPE_CHECKING:
    from curate.mates.influence_probe import Reference

ABOUT = b"curate.probes"
PROBES = "probes.parquet"
OPTIMIZERS = ("checkpoint.pt", "optimizer.pt")
"""The state of the optimizer, as a training of ours leaves it, or the Trainer of `transformers`."""
_PER_PART = 32


@dataclass(frozen=True, kw_only=True)
class ProbeRecipe:
    """The options that an influence depends on, besides checkpoint, reference set and text."""

    mode: Literal["one_step", "gradient", "both"] = "one_step"
    """A step and a look at the reference for each document; or the gradient of many at once, exact to first order; or both,
    the first of which is the influence, to see how well they agree."""
    lr: Annotated[float, Gt(0)] | None = None
    """Learning rate of the step; by default that of the optimizer's state."""
    clip: Annotated[float, Gt(0)] = 1.0
    """The largest norm of a gradient."""
    batch_tokens: Annotated[int, Ge(1)] = 8192
    """Tokens of the reference set per batch."""


@dataclass(frozen=True, kw_only=True)
class Oracle(ProbeRecipe):
    """The documents that are probed, the checkpoint, and the reference set."""

    checkpoint: AssetPath | None = None
    """A folder of Hugging Face's, with the optimizer's state beside it; for `curate watch` left out."""
    reference: tuple[PatternPath, ...]
    """Evaluation items, as JSON lines or Parquet: `query`, `choices`, `gold`, or `context`, `continuation`, or `text`. Not
    those by which the model will be judged."""
    max_items: Annotated[int, Ge(1)] = 256
    """Limit of items per file of the reference set, spread evenly over it."""
    probes: Annotated[int, Ge(1)]
    length: Annotated[int, Ge(2)]
    """Tokens of a probe. Documents with fewer are left out."""
    seed: Annotated[int, Ge(0)] = 0
    group: tuple[str, ...] = ("host",)
    domain: tuple[str, ...] | None = None
    """Columns that say what kind of text a document is, for `metrics.json`; else its group."""
    replicas: Annotated[int, Ge(1)] = 1
    """Replicas of the model, on Ray."""
    gpus: Annotated[float, Ge(0)] = 0
    """GPUs per replica, on Ray."""
    threads: Annotated[int, Ge(1)] | None = None
    influence: dict[str, Any] | None = None
    """Options of the influence model that `curate watch` fits to each checkpoint, as in a recipe of that kind."""

    documents: ClassVar[dict[str, bool]] = {"pool": True}

    def __post_init__(self) -> None:
        if self.influence is not None:
            build(InfluenceModel, self.influence)

    def fit(self, recipe: Recipe, setting: Setting) -> str:
        if self.checkpoint is None:
            raise SpecError(f"{recipe.file}: no 'checkpoint'. Name the folder of one, or use 'curate watch'.")
        corpus = load_corpus(recipe.documents["pool"], self.group, domain=self.domain, seed=self.seed)
        asked = {name: getattr(self, name) for name in ProbeRecipe.__dataclass_fields__}
        work = ProbeWork(
            str(setting.work), str(Path(self.checkpoint).resolve()), _sha256(Path(self.checkpoint)), self.reference,
            self.max_items, ProbeRecipe(**asked), setting.device, self.threads,
        )  # fmt: skip
        drawn, short = self._draw(corpus, self.checkpoint)
        names = _write_parts(drawn, work)
        todo = [name for name in names if not _done(work, name)]
        setting.listener.note(
            f"{len(drawn):,} documents of {len(corpus):,}, {short:,} shorter than {self.length} tokens left out"
        )
        setting.listener.phase("probes", len(names), len(names) - len(todo))
        if todo:
            self._probe(todo, work, setting)
        table = pa.concat_tables([_with_answers(work, name) for name in names])
        setting.out.mkdir(parents=True, exist_ok=True)
        pq.write_table(table.replace_schema_metadata(None), setting.out / PROBES)
        statistics = summary(table)
        (setting.out / "metrics.json").write_text(json.dumps(statistics, indent=1) + "\n")
        (setting.out / "recipe.yaml").write_text(recipe.as_text(setting.out), "utf-8")
        agreement = f", Spearman of the two ways {statistics['agreement']:.3f}" if "agreement" in statistics else ""
        return f"{len(table):,} influences, {statistics['positive_frac']:.0%} of them good{agreement}"

    def _draw(self, corpus: Corpus, checkpoint: str) -> tuple[pa.Table, int]:
        """As many documents as are to be probed, in the order of a hash, cut to `length` tokens; how many were too short."""
        encoder = load_encoder(checkpoint, None)
        order = draw_order(corpus.ids, self.seed)
        rows: list[int] = []
        texts: list[str] = []
        tokens: list[list[int]] = []
        short = 0
        for row in order.tolist():
            if len(rows) == self.probes:
                break
            text = corpus.texts[row].as_py()
            encoding = encoder.encode(text, add_special_tokens=False)
            if len(encoding.ids) < self.length:
                short += 1
                continue
            rows.append(row)
            texts.append(text[: encoding.offsets[self.length - 1][1]])
            tokens.append(encoding.ids[: self.length])
        if len(rows) < self.probes:
            raise DataError(
                f"probes: {len(rows):,} of {len(corpus):,} documents have {self.length} tokens, {self.probes:,} are wanted. "
                "Give a larger pool, a smaller length, or fewer probes."
            )
        drawn = corpus.take(np.array(rows))
        columns = {"id": drawn.ids, "group": drawn.groups, "domain": drawn.domains}
        return pa.table({**columns, "text": pa.array(texts, pa.large_string()), "tokens": tokens}), short

    def _probe(self, todo: Sequence[str], work: ProbeWork, setting: Setting) -> None:
        resources = {"num_gpus": self.gpus} if self.gpus else {}
        engine = setting.open_engine([work.folder, work.checkpoint])
        try:
            shares = {f"replica {number}": list(todo[number :: self.replicas]) for number in range(self.replicas)}
            for outcome in engine.hold(open_oracle, work, shares, resources):
                if outcome is None:
                    setting.listener.tick()
                elif outcome.error:
                    raise outcome.error
                else:
                    setting.listener.advance("probes", outcome.item, None)
        finally:
            engine.close()


@dataclass(frozen=True)
class ProbeWork:
    """The job of a worker."""

    folder: str
    checkpoint: str
    checkpoint_sha256: str
    reference: tuple[str, ...]
    max_items: int
    asked: ProbeRecipe
    device: str
    threads: int | None

    @cached_property
    def about(self) -> dict[str, Any]:
        """Everything that a file of influences depends on besides its documents."""
        items = read_items(self.reference, self.max_items, "reference")
        digest = hashlib.sha256(json.dumps(list(items.values())).encode()).hexdigest()
        asked = {name: value for name, value in asdict(self.asked).items() if name != "batch_tokens"}
        return {"checkpoint": self.checkpoint_sha256, "reference": digest, **asked}

    def documents(self, name: str) -> Path:
        return Path(self.folder) / "documents" / name

    def answers(self, name: str) -> Path:
        return Path(self.folder) / "influences" / name


def probe_file(file: str, *, out: str | None = None, **options: Any) -> str:
    """Carry out a recipe of kind `oracle`; options as of `fit_file`. Raises SpecError for one of another kind."""
    recipe = load_recipe(file)
    if not isinstance(recipe.options, Oracle):
        raise SpecError(f"{file}: kind {recipe.kind!r} trains something: 'curate fit {file}'. Probes are of kind 'oracle'.")
    return fit_file(file, out=out or f"out/probe/{recipe.name}", **options)


def draw_order(ids: Sequence[str], seed: int) -> npt.NDArray[np.int64]:
    """Rows in the order in which documents are taken for probes."""
    return np.argsort(hashes(ids, f"probe {seed}"), kind="stable")


def _sha256(checkpoint: Path) -> str:
    """Hash of the model's files and the optimizer's state."""
    states = [path for name in OPTIMIZERS if (path := checkpoint / name).is_file()]
    return hashlib.sha256("".join([identity(str(checkpoint)), *map(store.file_hash, map(str, states))]).encode()).hexdigest()


def _write_parts(drawn: pa.Table, work: ProbeWork) -> list[str]:
    """The documents as files, which are what is handed out; their names, in which their content has a part."""
    names = []
    for start in range(0, len(drawn), _PER_PART):
        part = drawn.slice(start, _PER_PART)
        digest = hashlib.sha256(json.dumps([part["id"].to_pylist(), part["tokens"].to_pylist()]).encode()).hexdigest()
        names.append(f"part-{start // _PER_PART:05}-{digest[:16]}.parquet")
        _write(part, work.documents(names[-1]))
    return names


def _write(table: pa.Table, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path.with_suffix(".tmp"))
    os.replace(path.with_suffix(".tmp"), path)


def _done(work: ProbeWork, name: str) -> bool:
    path = work.answers(name)
    if not path.exists():
        return False
    found = json.loads(pq.read_schema(path).metadata[ABOUT])
    if found != work.about:
        differ = sorted(key for key in work.about if found.get(key) != work.about[key])
        raise DriftError(f"{path} was probed with another {', '.join(differ)}. Remove {path.parent}, or give another --work.")
    return True


def _with_answers(work: ProbeWork, name: str) -> pa.Table:
    documents, answers = pq.read_table(work.documents(name)).drop_columns("tokens"), pq.read_table(work.answers(name))
    for column in answers.column_names:
        documents = documents.append_column(column, answers[column])
    return documents.replace_schema_metadata(None)


@contextlib.contextmanager
def open_oracle(work: ProbeWork, replica: str) -> Iterator[Callable[[str], int]]:
    """Load the checkpoint; the function that probes a file of documents and writes its influences, all or none."""
    from curate.lm.checkpoint import bos_of, open_model, open_optimizer
    from curate.lm.train import torch_threads
    from curate.mates.influence_probe import Oracle as Probe

    folder, asked = Path(work.checkpoint), work.asked
    encoder, bos = load_encoder(work.checkpoint, None), bos_of(folder)

    with torch_threads(work.threads):
        model = open_model(folder).to(work.device)
        optimizer = open_optimizer(folder, model, OPTIMIZERS, lr=asked.lr)
        items = read_items(work.reference, work.max_items, "reference")
        reference = reference_of(items, encoder, bos, context_of(folder), batch_tokens=asked.batch_tokens, device=work.device)
        probe = Probe(model, optimizer, reference, clip=asked.clip)

        def apply(name: str) -> int:
            tokens = pq.read_table(work.documents(name), columns=["tokens"])["tokens"].to_pylist()
            sequences = [np.array([bos, *ids], np.int64) for ids in tokens]
            columns: dict[str, Any] = {}
            if asked.mode != "gradient":
                columns["influence"] = [probe.one_step(ids) for ids in sequences]
            if asked.mode != "one_step":
                columns["gradient" if columns else "influence"] = probe.gradient(sequences)
            columns["before"] = [probe.before] * len(sequences)
            _write(pa.table(columns).replace_schema_metadata({ABOUT: json.dumps(work.about)}), work.answers(name))
            return len(sequences)

        yield apply


def reference_of(
    items: Items, encoder: Any, bos: int, context: int, *, batch_tokens: int = 8192, device: str = "cpu"
) -> Reference:
    """Evaluation items as token ids; the continuations are scored. Contexts that exceed the model's context length lose their
    beginning, continuations that exceed it alone their end."""
    from curate.mates.influence_probe import Reference, Scored

    scored = []
    for pairs in items.values():
        for pair in pairs:
            prefix, continuation = (encoder.encode(text, add_special_tokens=False).ids for text in pair)
            continuation = continuation[:context]
            ids = [bos, *prefix[max(0, len(prefix) - (context - len(continuation))) :], *continuation]
            if continuation:
                scored.append(Scored(np.array(ids, np.int64), len(continuation)))
    return Reference(scored, batch_tokens=batch_tokens, device=device)


def context_of(folder: Path) -> int:
    """Context length of a model in tokens."""
    return int(json.loads((folder / "config.json").read_text()).get("max_position_embeddings", 2**30))


def summary(table: pa.Table) -> dict[str, Any]:
    """Statistics of influences: mean and spread, the mean by domain in descending order, and the agreement of the two modes."""
    values = table["influence"].to_numpy()
    domains, domain_of = np.unique(np.array(table["domain"].to_pylist(), np.object_), return_inverse=True)
    counts = np.bincount(domain_of)
    means = np.bincount(domain_of, values) / counts
    statistics: dict[str, Any] = {
        "probes": len(table),
        "reference_loss": float(table["before"][0].as_py()),
        "mean": float(values.mean()),
        "std": float(values.std()),
        "positive_frac": round(float((values > 0).mean()), 4),
        "by_kind": {
            str(domains[row]): {"probes": int(counts[row]), "mean": float(means[row])}
            for row in np.argsort(-means).tolist()
            if counts[row] >= 5
        },
    }
    if "gradient" in table.column_names:
        statistics["agreement"] = round(metrics.spearman(table["gradient"].to_numpy(), values), 4)
    return statistics
