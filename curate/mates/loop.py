"""The closed loop of MATES: train a model for a while, ask it what it would learn from now, choose that, and train on.

A pipeline file with a section `rounds`:

    name: mates
    source: {parquet: {paths: texts/*.parquet}}
    stages: [gopher_quality]               # before all rounds, once
    rounds:
      rounds: 4                            # the first on a random choice, each of the others on what is worth most by then
      tokens: 2_000_000                    # trained on in a round
      top: 0.2
      gumbel: 0.5
      reference: [../evals/lambada/*.jsonl.gz]
      probes: 1000
      length: 256
      width: 128                           # of the model, with layers, heads, hidden, context

`DIR/base` is a run of the pipeline. Its documents are split by a hash of the id: some are only probed (`holdout`), some only
judged by (`judge`), and each round has a part of the rest to choose from, so that none is trained on twice and none of these is
ever trained on. `DIR/round-N` has what round N is made of: `probes`, `scorer` (influence-rN), `select` (a run, with its
accounts, and the chosen documents), `model` (with the optimizer's state) and `losses.jsonl`. `DIR/rounds.json` comes last: what
every round was made from, by hash, its losses, how well influences were predicted, and what all of it cost; and `rounds.html`,
the same to look at.

Any step that is done is not done again; one that was cut short goes on. Source: Yu et al. 2024, "MATES" (arXiv:2406.06046).
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from annotated_types import Ge, Gt, Le, Lt

from curate.config.options import AssetPath, PatternPath, build
from curate.config.yaml_file import YamlFile, mapping_at, options_at
from curate.errors import DataError, DriftError, SpecError
from curate.events import Listener, Silent
from curate.execution.runner import run_file
from curate.mates.probe_recipe import PROBES, draw_order, reference_of
from curate.models.lm_types import load_encoder
from curate.report.mates_report import RESULT, write_loop_report
from curate.schema import ID, TEXT
from curate.storage import store
from curate.storage.lease import Lease
from curate.train import metrics
from curate.train.eval_items import Items, read_items
from curate.train.influence_model import InfluenceModel
from curate.train.recipe import fit_file
from curate.train.tokenizer import train_cased_tokenizer

if TYPE_CHECKING:
    from curate.lm.checkpoint import Base
    from curate.lm.model import Shape
    from curate.lm.token_stream import Tokens
    from curate.lm.train import Trained, Training, TrainSegment
    from curate.mates.influence_probe import Reference

_BOS = 0
_ANY = ("threads", "processes", "replicas", "gpus")
"""Options that a loop may go on with another value of."""
_CANDIDATES = 32
"""For each probe so many documents are read into memory, of which the first that are long enough are taken."""


@dataclass(frozen=True, kw_only=True)
class Rounds:
    """How the loop goes."""

    rounds: Annotated[int, Ge(1)]
    tokens: Annotated[int, Ge(1)]
    """Trained on in a round."""
    choose: Literal["influence", "random"] = "influence"
    """By the influence of documents; or at random in all rounds, to compare with."""
    top: Annotated[float, Gt(0), Le(1)]
    """The share of a round's documents that is chosen."""
    by: Literal["docs", "chars"] = "docs"
    """What the share counts."""
    gumbel: Annotated[float, Gt(0)] | None = 0.5
    """Temperature of the choice, in standard deviations of predicted influences; null for the top share itself."""
    gumbel_rule: Literal["top_k", "mates"] = "top_k"
    holdout: Annotated[float, Gt(0), Lt(1)] = 0.15
    """Share of the documents that are only probed."""
    judge: Annotated[float, Gt(0), Lt(1)] = 0.02
    """Share of the documents that are only judged by."""
    reference: tuple[PatternPath, ...]
    """What influence is about: evaluation items, or texts."""
    also_judge: tuple[PatternPath, ...] = ()
    """More items or texts, whose loss is measured too, and that nothing is chosen by."""
    max_items: Annotated[int, Ge(1)] = 256
    """Of each file of the reference, of those files, and of documents to judge by."""
    probes: Annotated[int, Ge(1)] = 1000
    """Measured in a round, drawn anew in each."""
    length: Annotated[int, Ge(2)] = 256
    """Tokens of a probe."""
    mode: Literal["one_step", "gradient", "both"] = "gradient"
    influence: dict[str, Any] = field(default_factory=dict)
    """Options of the influence model, as in a recipe of that kind; `encoder: model` is the body of the model in training."""
    warm_start: bool = False
    """The influence model of a round begins where that of the last one ended."""
    base: AssetPath | None = None
    """The model that is trained: a folder of Hugging Face's files, with `config.json`, `tokenizer.json`, and weights if it is
    to go on from those. Without it, a Llama from nothing, of the next four sizes."""
    width: Annotated[int, Ge(1)] = 128
    layers: Annotated[int, Ge(1)] = 4
    heads: Annotated[int, Ge(1)] = 4
    hidden: Annotated[int, Ge(1)] = 352
    context: Annotated[int, Ge(8)] = 256
    """Tokens of a sequence."""
    tokenizer: AssetPath | None = None
    """A `tokenizer.json`, if there is no base; without either one is made of the documents of the first round."""
    vocab_size: Annotated[int, Ge(258)] = 4096
    batch: Annotated[int, Ge(1)] = 16
    """Sequences in a step."""
    lr: Annotated[float, Gt(0)] = 3e-3
    warmup_frac: Annotated[float, Ge(0), Le(1)] = 0.04
    decay_frac: Annotated[float, Ge(0), Le(1)] = 0.1
    """The last share of all steps, in which the learning rate falls."""
    looks: Annotated[int, Ge(1)] = 4
    """How often in a round the losses are measured."""
    seed: Annotated[int, Ge(0)] = 0
    threads: Annotated[int, Ge(1)] | None = None
    processes: Annotated[int, Ge(1)] = 1
    """That train the model together, each with a GPU of its own if the device is one."""
    replicas: Annotated[int, Ge(1)] = 1
    """Of the model while it is probed, on Ray."""
    gpus: Annotated[float, Ge(0)] = 0
    """Of each replica, and of each worker that scores documents, on Ray."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Of what the model multiplies in training, and the influence model where it scores."""

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
        """Of a round."""
        return self.tokens // (self.batch * self.context)

    def part(self, number: int) -> tuple[float, float]:
        """Where the documents of a round begin among all, and their share."""
        share = (1 - self.holdout - self.judge) / self.rounds
        return number * share, share


def load_rounds(file: str) -> Rounds | None:
    """The section `rounds` of a pipeline file, if it has one. Raises SpecError for a mistake in it, with its line."""
    document = YamlFile(file)
    top = mapping_at(document, document.value, (), "a pipeline")
    if "rounds" not in top:
        return None
    rounds: Rounds = options_at(document, Rounds, top["rounds"], ("rounds",))
    if not rounds.steps:
        raise document.error(("rounds",), f"tokens: {rounds.tokens} are less than one step of batch times context. Raise them")
    return rounds


def rounds_file(
    file: str, *, out: str, source: str | None = None, ray: str | None = None, inline: bool = False,
    workers: int | None = None, device: str = "cpu", listener: Listener | None = None,
) -> str:  # fmt: skip
    """Carry out the loop of a file, or go on with it. Raises SpecError for a file that is wrong, DriftError for a folder of
    another one, RunError when a step fails."""
    rounds = load_rounds(file)
    if rounds is None:
        raise SpecError(f"{file}: 'rounds' is missing. Add the section, or use 'curate run'.")
    if store.is_url(out):
        raise SpecError(f"--out: {out!r} is a URL, and models are trained on a disk. Give a folder.")
    engine = {"ray": ray, "inline": inline, "workers": workers}
    with Lease(store.Store(out)):
        return _MatesLoop(file, source, rounds, Path(out), engine, device, listener or Silent()).run()


class _MatesLoop:
    def __init__(
        self, file: str, source: str | None, rounds: Rounds, out: Path, engine: Mapping[str, Any], device: str,
        listener: Listener,
    ) -> None:  # fmt: skip
        self.file, self.source, self.rounds, self.out, self.device, self.listener = file, source, rounds, out, device, listener
        self.engine = dict(engine)

    def run(self) -> str:
        self._claim()
        run_file(self.file, source=self.source, out=str(self.out / "base"), listener=self.listener, **self.engine)
        if not self.pool:
            raise DataError(f"{self.out / 'base'}: no document is left to train on.")
        found = [self._round(number) for number in range(self.rounds.rounds)]
        result: dict[str, Any] = {
            "rounds": found,
            "flops": flops_report({name: sum(one["flops"].get(name, 0) for one in found) for name in FLOPS}),
        }
        _write_json(self.out / RESULT, result)
        write_loop_report(self.out)
        last = found[-1]["losses"][-1]
        return (
            f"{last['tokens']:,} tokens, reference loss {last['reference']:.4f}, loss on documents {last['documents']:.4f}; "
            f"selection took {result['flops']['selection_frac']:.0%} of all FLOPs; in {self.out}"
        )

    def _claim(self) -> None:
        """Raises DriftError when the folder has another loop."""
        options = self.rounds
        read = {"reference": json.dumps(list(read_items(options.reference, options.max_items, "reference").values())).encode()}
        if options.also_judge:
            also = list(read_items(options.also_judge, options.max_items, "also_judge").values())
            read["also_judge"] = json.dumps(also).encode()
        if options.tokenizer is not None:
            read["tokenizer"] = Path(options.tokenizer).read_bytes()
        content = {f"content of {name}": hashlib.sha256(data).hexdigest() for name, data in read.items()}
        if options.base is not None:
            content["content of base"] = self.begins.facts()["base"]
        about = json.loads(json.dumps({**asdict(options), **dict.fromkeys(_ANY), **content}))
        path = self.out / "about.json"
        if not path.exists():
            _write_json(path, about)
            return
        then = json.loads(path.read_text())
        # What an earlier version did not write down was as it is by default.
        usual = {one.name: one.default for one in fields(options) if one.default is not MISSING and one.name not in _ANY}
        known = json.loads(json.dumps(usual)) | then
        if differ := [name for name in about if known.get(name) != about[name]]:
            raise DriftError(f"{self.out} has rounds with another {', '.join(differ)}. Change it back, or give another --out.")

    @cached_property
    def pool(self) -> list[str]:
        return sorted(str(path) for path in (self.out / "base" / "data").glob("*.parquet"))

    def folder(self, number: int) -> Path:
        return self.out / f"round-{number}"

    def _round(self, number: int) -> dict[str, Any]:
        """One round, from the choice to the trained model; what is to be said of it."""
        about = self.folder(number) / "round.json"
        if not about.exists():
            refreshed = self._refresh(number) if number and self.rounds.choose == "influence" else {}
            chosen = self._select(number, bool(refreshed))
            _write_json(about, {"round": number, **refreshed, **chosen, **self._train(number)} | self._flops(number))
        found: dict[str, Any] = json.loads(about.read_text())
        return found

    # --- what is chosen

    def _refresh(self, number: int) -> dict[str, Any]:
        """Probe the model of the last round and learn to predict what came out."""
        folder, options = self.folder(number), self.rounds
        source = {"parquet": {"paths": "hold-out.parquet"}}
        folder.mkdir(parents=True, exist_ok=True)
        seed = options.seed * 1000 + number
        pq.write_table(self._hold_out(seed), folder / "hold-out.parquet")
        self._fit(
            number, "probes", kind="oracle", checkpoint=str(self.folder(number - 1).resolve() / "model"),
            reference=list(options.reference), max_items=options.max_items, pool=[{"source": source}], group=[ID],
            probes=options.probes, length=options.length, mode=options.mode, seed=seed,
            threads=options.threads, replicas=options.replicas, gpus=options.gpus,
        )  # fmt: skip
        encoder = self._encoder(number)
        documents = [{"source": {"parquet": {"paths": f"probes/{PROBES}"}}}]
        learning = {"group": ["group"], "threads": options.threads, **options.influence, **encoder}
        self._fit(number, "scorer", kind="influence", documents=documents, **learning)
        return {"scorer": self._lineage(number, encoder)}

    def _encoder(self, number: int) -> dict[str, str]:
        """What the influence model begins from, where it is not from nothing."""
        if self.rounds.warm_start and number > 1:
            return {"encoder": str(self.folder(number - 1).resolve() / "scorer")}
        named = self.rounds.influence.get("encoder")
        if named == "model":
            return {"encoder": str(self.folder(number - 1).resolve() / "model")}
        return {"encoder": str((Path(self.file).parent / named).resolve())} if named and named.startswith(".") else {}

    def _fit(self, number: int, name: str, **recipe: Any) -> None:
        folder = self.folder(number)
        path, out = folder / f"{name}.yaml", folder / name
        path.write_text(yaml.safe_dump({"name": f"influence-r{number}-v1", **recipe}, sort_keys=False))
        if not (out / "card.md").exists():
            fit_file(
                str(path), out=str(out), work=str(folder / f"{name}-work"), device=self.device, listener=self.listener,
                **self.engine,
            )  # fmt: skip

    def _is_own(self, path: str) -> bool:
        return Path(path).is_relative_to(self.out.resolve())

    def _lineage(self, number: int, encoder: Mapping[str, str]) -> dict[str, Any]:
        """Where the scorer comes from and how good it is; and how good the last one would still be."""
        folder = self.folder(number)
        probes = pq.read_table(folder / "probes" / PROBES)
        found = json.loads((folder / "scorer" / "metrics.json").read_text())
        told: dict[str, Any] = {
            "name": f"influence-r{number}",
            "checkpoint_sha256": store.file_hash(str(self.folder(number - 1) / "model" / "model.safetensors")),
            "probes_sha256": _ids_digest(probes[ID].to_pylist()),
            "began_from": [str(Path(path).relative_to(self.out.resolve())) for path in encoder.values() if self._is_own(path)],
            "sha256": store.file_hash(str(folder / "scorer" / "model.safetensors")),
            "spearman": found["test"],
            "probed": json.loads((folder / "probes" / "metrics.json").read_text()),
        }
        if number > 1:
            told["stale"] = self._stale(number, probes)
        return told

    def _stale(self, number: int, probes: pa.Table) -> dict[str, float]:
        """On the probes by which this round's model is judged, which the last one has not learnt from either (a document is on
        the same side of the split in all rounds): how well both agree with them, and the share that both would choose."""
        from curate.execution.apply import apply_stage
        from curate.train.documents import hashes

        options = build(InfluenceModel, self.rounds.influence)
        share = hashes(probes["group"].to_pylist(), "split") / 2**64
        judged = probes.filter(pa.array((share >= options.validation) & (share < options.validation + options.test)))
        texts = judged.select([TEXT])
        live, stale = (
            apply_stage("influence", texts, {"scorer": str(self.folder(n) / "scorer")})["influence"].to_numpy()
            for n in (number, number - 1)
        )
        count = max(1, round(self.rounds.top * len(judged)))
        best = [set(np.argsort(-scores)[:count].tolist()) for scores in (live, stale)]
        truth = judged["influence"].to_numpy()
        return {
            "live_spearman": round(metrics.spearman(live, truth), 4),
            "stale_spearman": round(metrics.spearman(stale, truth), 4),
            "overlap": round(len(best[0] & best[1]) / count, 4),
        }

    def _select(self, number: int, scored: bool) -> dict[str, Any]:
        """A run over the documents of the round, which leaves those that are chosen."""
        options, folder = self.rounds, self.folder(number)
        start, share = options.part(number)
        stages: list[dict[str, Any]] = [{"sample": {"start": start, "share": share, "seed": options.seed, "as": "window"}}]
        if scored:
            # Predictions lie closer together than what they predict, the less is known the more; so does the noise.
            spread = json.loads((folder / "scorer" / "metrics.json").read_text())["score_std"]
            draw = {"gumbel": options.gumbel * spread, "gumbel_rule": options.gumbel_rule} if options.gumbel and spread else {}
            choice = {"column": "influence", "top": options.top, "by": options.by, "seed": number, **draw}
            scoring = {"scorer": "scorer", "device": self.device, "gpus": options.gpus, "dtype": options.dtype}
            stages += [{"influence": scoring}, {"select": choice}]
        else:
            stages += [{"sample": {"share": options.top, "seed": options.seed * 1000 + 500 + number, "as": "random"}}]
        columns = [ID, TEXT, *(["influence"] if scored else [])]
        # A model reads them: every row group is a shard, so that all workers have some.
        source = {"paths": "../base/data/*.parquet", "split_bytes": 1024}
        pipeline = {
            "name": f"round-{number}", "source": {"parquet": source}, "stages": stages, "output": {"columns": columns},
        }  # fmt: skip
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / "select.yaml").exists():  # how many GPUs a worker has is part of it, and may be another by now
            (folder / "select.yaml").write_text(yaml.safe_dump(pipeline, sort_keys=False))
        summary = run_file(str(folder / "select.yaml"), out=str(folder / "select"), listener=self.listener, **self.engine)
        ids = [name for table in self._chosen(number) for name in table[ID].to_pylist()]
        if not ids:
            raise DataError(f"{folder / 'select'}: nothing was chosen. Give more documents, or a larger top.")
        return {"documents": summary.stages["window"].rows_out, "chosen": len(ids), "chosen_sha256": _ids_digest(ids)}

    def _chosen(self, number: int) -> Iterator[pa.Table]:
        for path in sorted((self.folder(number) / "select" / "data").glob("*.parquet")):
            yield pq.read_table(path, columns=[ID, TEXT])

    # --- the model

    def _train(self, number: int) -> dict[str, Any]:
        """Train on what was chosen, from where the last round ended, with a look at the losses now and then."""
        from curate.lm.checkpoint import save_model
        from curate.lm.token_stream import token_stream
        from curate.lm.train import CHECKPOINT, TrainSegment

        options, folder = self.rounds, self.folder(number) / "model"
        texts = (text for table in self._chosen(number) for text in table[TEXT].to_pylist())
        stream = token_stream(texts, self.tokenizer, self.begins.bos)
        if options.tokens > len(stream):
            self.listener.note(
                f"round {number}: {options.tokens:,} tokens to train on, {len(stream):,} chosen, so some are seen again. "
                "Raise 'top', or give more documents"
            )
        first = number * options.steps
        begin = self.folder(number - 1) / "model" / CHECKPOINT if number else None
        ends = [first + options.steps * (look + 1) // options.looks for look in range(options.looks)]
        self.listener.phase(f"round {number}", options.steps, 0)
        told = [first]
        losses: list[dict[str, Any]] = []
        path = self.folder(number) / "losses.jsonl"
        known = {row["step"]: row for row in map(json.loads, path.read_text().splitlines())} if path.exists() else {}
        for end in ends:
            leg = TrainSegment(first=first, until=end, begin=begin)
            trained = self._leg(number, stream, leg, told)
            row = known.get(end) or {"step": end, "tokens": trained.tokens, **self._losses(trained.model.eval())}
            losses.append(row)
            path.write_text("".join(json.dumps(one) + "\n" for one in losses))
        save_model(trained.model, folder, self.tokenizer)
        training = np.array(trained.losses)
        steps = np.arange(1, len(training) + 1)
        pq.write_table(pa.table({"step": steps, "loss": training}), folder / "losses.parquet")
        return {
            "tokens_chosen": len(stream),
            "epochs": round(options.tokens / len(stream), 4),
            "losses": losses,
            "model_sha256": store.file_hash(str(folder / "model.safetensors")),
        }

    def _leg(self, number: int, stream: Tokens, leg: TrainSegment, told: list[int]) -> Trained[Any]:
        """The steps from one look at the losses to the next; `told` is the last one that the listener has heard of."""
        from curate.lm.launch import train_together
        from curate.lm.train import train

        options, folder, phase = self.rounds, self.folder(number) / "model", f"round {number}"

        def tell(step: int, loss: str = "") -> None:
            while told[0] < step:
                told[0] += 1
                self.listener.advance(phase, f"step {told[0]}{loss}", None)

        if options.processes > 1:
            return train_together(
                options.processes, self.begins, self.training, stream, folder, leg=leg, listener=tell, device=self.device,
                threads=options.threads,
            )  # fmt: skip
        return train(
            self.begins, self.training, stream, folder, leg=leg, device=self.device, threads=options.threads,
            listener=lambda step: tell(step.step, f", loss {step.loss:.3f}"),
        )  # fmt: skip

    @cached_property
    def begins(self) -> Shape | Base:
        """The model before it has learnt anything here."""
        from curate.lm.checkpoint import Base
        from curate.lm.model import Shape

        if self.rounds.base is not None:
            return Base(Path(self.rounds.base), self.rounds.context)
        size = {name: getattr(self.rounds, name) for name in ("width", "layers", "heads", "hidden", "context")}
        return Shape(vocab_size=self._encoder_of_texts.get_vocab_size(), bos=_BOS, **size)

    @cached_property
    def training(self) -> Training:
        from curate.lm.train import Training

        options = self.rounds
        total = options.rounds * options.steps * options.batch * options.context
        return Training(
            tokens=total, batch=options.batch, lr=options.lr, warmup_frac=options.warmup_frac, min_lr_frac=0.0,
            decay_frac=options.decay_frac, seed=options.seed, checkpoint_every=200, dtype=options.dtype,
        )  # fmt: skip

    @cached_property
    def tokenizer(self) -> Path:
        if self.rounds.base is not None:
            return Path(self.rounds.base) / "tokenizer.json"
        if self.rounds.tokenizer is not None:
            return Path(self.rounds.tokenizer)
        path = self.out / "tokenizer.json"
        if not path.exists():
            texts = (text for table in self._chosen(0) for text in table[TEXT].to_pylist())
            train_cased_tokenizer(texts, self.rounds.vocab_size, path)
        return path

    def _losses(self, model: Any) -> dict[str, float]:
        """Of the reference, of what is only judged by, items and documents; nats per token."""
        return {name: reference.loss(model) for name, reference in self._judges.items()}

    @cached_property
    def _reference(self) -> Reference:
        return self._read(read_items(self.rounds.reference, self.rounds.max_items, "reference"))

    @cached_property
    def _judges(self) -> dict[str, Reference]:
        options = self.rounds
        texts: list[str] = []
        for table in self._documents(1 - options.holdout - options.judge, options.judge):
            texts += table[TEXT].to_pylist()[: options.max_items - len(texts)]
        if not texts:
            raise DataError(f"judge: no document of {self.out / 'base'} is in a share of {options.judge}. Raise it.")
        found = {"reference": self._reference, "documents": self._read({"documents": [("", text) for text in texts]})}
        if options.also_judge:
            found["items"] = self._read(read_items(options.also_judge, options.max_items, "also_judge"))
        return found

    def _read(self, items: Items) -> Reference:
        return reference_of(items, self._encoder_of_texts, self.begins.bos, self.rounds.context, device=self.device)

    @cached_property
    def _encoder_of_texts(self) -> Any:
        return load_encoder(str(self.tokenizer.parent), None)

    def _documents(self, start: float, share: float) -> Iterator[pa.Table]:
        """Id and text of those of the base that lie in a range, shard by shard."""
        from curate.execution.apply import apply_stage

        options = {"start": start, "share": share, "seed": self.rounds.seed}
        for path in self.pool:
            table = pq.read_table(path, columns=[ID, TEXT])
            yield table.filter(apply_stage("sample", table, options)["drop"].is_null())

    def _hold_out(self, seed: int) -> pa.Table:
        """The documents of the hold-out that probes with this seed are drawn from: all of them, or so many, the first in the
        order of their draw, that those which are long enough will do."""
        most, kept = _CANDIDATES * self.rounds.probes, None
        for table in self._documents(1 - self.rounds.holdout, self.rounds.holdout):
            kept = table if kept is None else pa.concat_tables([kept, table])
            if len(kept) > most:
                kept = kept.take(np.sort(draw_order(kept[ID].to_pylist(), seed)[:most]))
        assert kept is not None
        return kept

    # --- what it costs

    def _flops(self, number: int) -> dict[str, Any]:
        """By the arithmetic of `flops_report`, from sizes that were met."""
        options, folder = self.rounds, self.folder(number)
        size = self._num_parameters
        found = {"training": 6 * size * options.steps * options.batch * options.context}
        if (folder / "scorer" / "metrics.json").exists():
            scorer = json.loads((folder / "scorer" / "metrics.json").read_text())
            each = {"gradient": 0, "one_step": 2, "both": 2}[options.mode] * size * self._reference.read
            once = (2 if options.mode == "one_step" else 8) * size * self._reference.read
            found["probing"] = options.probes * (6 * size * options.length + each) + once
            found["fitting"] = scorer["flops"]
            found["scoring"] = scorer["flops_per_char"] * self._scored_chars(number)
        return {"flops": {name: int(value) for name, value in found.items()}}

    @cached_property
    def _num_parameters(self) -> int:
        return sum(parameter.numel() for parameter in self.begins.begin(0).parameters())

    def _scored_chars(self, number: int) -> int:
        """Characters of the documents that were chosen from."""
        manifest = json.loads((self.folder(number) / "select" / "manifest.json").read_text())
        return int(manifest["stages"]["influence"]["chars_in"])


FLOPS = ("training", "probing", "fitting", "scoring")


def flops_report(parts: Mapping[str, float]) -> dict[str, float]:
    """The parts, their total, and the share that choosing takes.

    A training token costs 6 FLOPs a parameter, one that is only read 2 (Kaplan et al. 2020). A probe is a step on its own
    tokens and, for `one_step`, a look at the whole reference, which is most of it; scoring does not depend on the size of the
    model that is trained, so choosing pays sooner for larger models.
    """
    total = sum(parts.values())
    return {**parts, "total": total, "selection_frac": (total - parts["training"]) / total if total else 0.0}


def _ids_digest(ids: list[str]) -> str:
    """sha256 over ids, sorted, one per line."""
    return hashlib.sha256("".join(f"{name}\n" for name in sorted(ids)).encode()).hexdigest()


def _write_json(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_suffix(".tmp").write_text(json.dumps(value, indent=1) + "\n")
    os.replace(path.with_suffix(".tmp"), path)
