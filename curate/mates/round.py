"""One round of a MATES loop: probe, fit the influence model, select, train, and count the cost.

A round is a list of steps. Each resumes where it was interrupted, and adds to the record of the round (`round.json`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from curate.config.options import build
from curate.errors import DataError
from curate.events import Listener
from curate.execution.runner import run_file
from curate.mates import loop_dir
from curate.mates.documents import PURPOSE, SplitDocuments, documents_of_run, ids_digest
from curate.mates.flops import probing_flops, training_flops
from curate.mates.language_model import LanguageModel, StepProgress
from curate.mates.loop_dir import in_round
from curate.mates.options import Rounds
from curate.mates.probe_recipe import PROBES
from curate.schema import ID, TEXT
from curate.storage.store import Store, file_hash
from curate.train import metrics
from curate.train.influence_model import InfluenceModel
from curate.train.recipe import fit_file

if TYPE_CHECKING:
    from curate.lm.token_stream import Tokens

Step = Callable[[], Mapping[str, Any]]
"""Returns its part of the round's record."""


@dataclass(frozen=True)
class LoopContext:
    """What all rounds of a loop share: its options, its folder, its documents and the model in training."""

    file: str
    """The pipeline file."""
    options: Rounds
    out: Path
    engine: Mapping[str, Any]
    """How runs and recipes are executed: `ray`, `inline`, `workers`."""
    device: str
    listener: Listener

    @cached_property
    def store(self) -> Store:
        return Store(str(self.out))

    @cached_property
    def documents(self) -> SplitDocuments:
        return SplitDocuments(self.out / loop_dir.BASE, self.options)

    @cached_property
    def model(self) -> LanguageModel:
        first_selection = self.out / in_round(0, loop_dir.SELECT)
        return LanguageModel(self.options, self.documents, self.out / loop_dir.TOKENIZER, first_selection, self.device)


@dataclass(frozen=True)
class Round:
    """Round `number` of a loop, counted from 0."""

    loop: LoopContext
    number: int

    def run(self) -> dict[str, Any]:
        """Run the steps unless the round is done; the record."""
        if not self._store.exists(self._name(loop_dir.RECORD)):
            record: dict[str, Any] = {"round": self.number}
            for step in self.steps():
                record |= step()
            self._store.write_json(self._name(loop_dir.RECORD), record)
        saved: dict[str, Any] = self._store.read_json(self._name(loop_dir.RECORD))
        return saved

    def steps(self) -> list[Step]:
        selection = [self.select_at_random]
        if self.by_influence:
            selection = [self.draw_hold_out, self.probe, self.fit_scorer, self.describe_scorer, self.select_by_influence]
        return [*selection, self.train, self.count_flops]

    @property
    def by_influence(self) -> bool:
        """Whether documents are selected by influence. The first round has no model to probe."""
        return self.number > 0 and self._options.choose == "influence"

    # --- measured and predicted influence

    def draw_hold_out(self) -> Mapping[str, Any]:
        with self._store.create(self._name(loop_dir.HOLD_OUT)) as path:
            pq.write_table(self.loop.documents.hold_out(self._probe_seed), path)
        return {}

    def probe(self) -> Mapping[str, Any]:
        """Measure the influence of probes on the model of the previous round."""
        options = self._options
        recipe = {
            "kind": "oracle", "checkpoint": str(self._absolute(self.number - 1, loop_dir.MODEL)),
            "reference": list(options.reference), "max_items": options.max_items,
            "pool": [{"source": {"parquet": {"paths": loop_dir.HOLD_OUT}}}], "group": [ID],
            "probes": options.probes, "length": options.length, "mode": options.mode, "seed": self._probe_seed,
            "threads": options.threads, "replicas": options.replicas, "gpus": options.gpus,
        }  # fmt: skip
        self._fit(loop_dir.PROBES, recipe)
        return {}

    def fit_scorer(self) -> Mapping[str, Any]:
        """Train the influence model on the measured influences."""
        documents = [{"source": {"parquet": {"paths": f"{loop_dir.PROBES}/{PROBES}"}}}]
        learning = {"group": ["group"], "threads": self._options.threads, **self._options.influence, **self._encoder()}
        self._fit(loop_dir.SCORER, {"kind": "influence", "documents": documents, **learning})
        return {}

    def describe_scorer(self) -> Mapping[str, Any]:
        """Hashes of the scorer's inputs, and its quality; from the second scorer on, next to that of the previous one."""
        probes = pq.read_table(self._path(loop_dir.PROBES) / PROBES)
        out = self.loop.out.resolve()
        own = [Path(path) for path in self._encoder().values() if Path(path).is_relative_to(out)]
        previous_model = self.loop.out / in_round(self.number - 1, loop_dir.MODEL)
        record: dict[str, Any] = {
            "name": f"influence-r{self.number}",
            "checkpoint_sha256": file_hash(str(previous_model / "model.safetensors")),
            "probes_sha256": ids_digest(probes[ID].to_pylist()),
            "began_from": [str(path.relative_to(out)) for path in own],
            "sha256": file_hash(str(self._path(loop_dir.SCORER) / "model.safetensors")),
            "spearman": self._read_json(f"{loop_dir.SCORER}/metrics.json")["test"],
            "probed": self._read_json(f"{loop_dir.PROBES}/metrics.json"),
        }
        if self.number > 1:
            record["stale"] = self._compare_scorers(probes)
        return {"scorer": record}

    def _compare_scorers(self, probes: pa.Table) -> dict[str, float]:
        """Rank correlations of this round's scorer and the previous one with the measured influences, and the overlap of their
        selections.

        Both on the test split of the probes. It holds probes that neither scorer was trained on, since a document is on the
        same side of the split in all rounds.
        """
        from curate.execution.apply import apply_stage
        from curate.train.documents import hashes

        options = build(InfluenceModel, self._options.influence)
        share = hashes(probes["group"].to_pylist(), "split") / 2**64
        test = probes.filter(pa.array((share >= options.validation) & (share < options.validation + options.test)))
        live, stale = (
            apply_stage("influence", test.select([TEXT]), {"scorer": str(scorer)})["influence"].to_numpy()
            for scorer in (self.loop.out / in_round(number, loop_dir.SCORER) for number in (self.number, self.number - 1))
        )
        num_selected = max(1, round(self._options.top * len(test)))
        top_live, top_stale = ({*np.argsort(-scores)[:num_selected].tolist()} for scores in (live, stale))
        measured = test["influence"].to_numpy()
        return {
            "live_spearman": round(metrics.spearman(live, measured), 4),
            "stale_spearman": round(metrics.spearman(stale, measured), 4),
            "overlap": round(len(top_live & top_stale) / num_selected, 4),
        }

    def _encoder(self) -> dict[str, str]:
        """The option `encoder` of the influence model, with an absolute path; empty where the recipe's own value stays."""
        previous = self.number - 1
        if self._options.warm_start and previous > 0:
            return {"encoder": str(self._absolute(previous, loop_dir.SCORER))}
        encoder = self._options.influence.get("encoder")
        if encoder == "model":
            return {"encoder": str(self._absolute(previous, loop_dir.MODEL))}
        if encoder and encoder.startswith("."):
            return {"encoder": str((Path(self.loop.file).parent / encoder).resolve())}
        return {}

    def _fit(self, name: str, recipe: Mapping[str, Any]) -> None:
        """Carry out a recipe, which is saved beside its result, unless it is done."""
        content = {"name": f"influence-r{self.number}-v1", **recipe}
        self._store.write_text(self._name(f"{name}.yaml"), yaml.safe_dump(content, sort_keys=False))
        if not (self._path(name) / "card.md").exists():
            fit_file(
                str(self._path(f"{name}.yaml")), out=str(self._path(name)), work=str(self._path(f"{name}-work")),
                device=self.loop.device, listener=self.loop.listener, **self.loop.engine,
            )  # fmt: skip

    # --- selection

    def select_at_random(self) -> Mapping[str, Any]:
        options = self._options
        seed = options.seed * 1000 + 500 + self.number
        return self._select([{"sample": {"share": options.top, "seed": seed, "purpose": PURPOSE, "as": "random"}}], [ID, TEXT])

    def select_by_influence(self) -> Mapping[str, Any]:
        options = self._options
        selection: dict[str, Any] = {"column": "influence", "top": options.top, "by": options.by, "seed": self.number}
        # The noise is relative to the spread of predictions, which is smaller the less is known of what they predict.
        spread = self._read_json(f"{loop_dir.SCORER}/metrics.json")["score_std"]
        if options.gumbel and spread:
            selection |= {"gumbel": options.gumbel * spread, "gumbel_rule": options.gumbel_rule}
        scoring = {"scorer": "scorer", "device": self.loop.device, "gpus": options.gpus, "dtype": options.dtype}
        return self._select([{"influence": scoring}, {"select": selection}], [ID, TEXT, "influence"])

    def _select(self, stages: list[dict[str, Any]], columns: list[str]) -> Mapping[str, Any]:
        """Run stages over the training split of the round."""
        start, share = self._options.training_split(self.number)
        window = {"sample": {"start": start, "share": share, "seed": self._options.seed, "purpose": PURPOSE, "as": "window"}}
        # Every row group is a shard, so that the stages that run models use all workers.
        source = {"paths": f"../{loop_dir.BASE}/data/*.parquet", "split_bytes": 1024}
        pipeline = {
            "name": f"round-{self.number}", "source": {"parquet": source}, "stages": [window, *stages],
            "output": {"columns": columns},
        }  # fmt: skip
        file = f"{loop_dir.SELECT}.yaml"
        if not self._store.exists(self._name(file)):  # the file holds `gpus`, which may change while a loop is under way
            self._store.write_text(self._name(file), yaml.safe_dump(pipeline, sort_keys=False))
        out = self._path(loop_dir.SELECT)
        summary = run_file(str(self._path(file)), out=str(out), listener=self.loop.listener, **self.loop.engine)
        ids = [name for table in documents_of_run(out) for name in table[ID].to_pylist()]
        if not ids:
            raise DataError(f"{out}: nothing was chosen. Give more documents, or a larger top.")
        return {"documents": summary.stages["window"].rows_out, "chosen": len(ids), "chosen_sha256": ids_digest(ids)}

    # --- training

    def train(self) -> Mapping[str, Any]:
        """Train on the selected documents from where the previous round ended, and measure the losses at evaluation points."""
        from curate.lm.checkpoint import save_model

        options, model, folder = self._options, self.loop.model, self._path(loop_dir.MODEL)
        stream = model.token_stream(self._selected_texts())
        if options.tokens > len(stream):
            self.loop.listener.note(
                f"round {self.number}: {options.tokens:,} tokens to train on, {len(stream):,} chosen, so some are seen again. "
                "Raise 'top', or give more documents"
            )
        evaluations, trained = self._train_segments(stream, folder)
        save_model(trained.model, folder, model.tokenizer)
        table = pa.table({"step": np.arange(1, len(trained.losses) + 1), "loss": np.array(trained.losses)})
        with self._store.create(self._name(f"{loop_dir.MODEL}/losses.parquet")) as path:
            pq.write_table(table, path)
        return {
            "tokens_chosen": len(stream),
            "epochs": round(options.tokens / len(stream), 4),
            "losses": evaluations,
            "model_sha256": file_hash(str(folder / "model.safetensors")),
        }

    def _train_segments(self, stream: Tokens, folder: Path) -> tuple[list[dict[str, Any]], Any]:
        """Train from one evaluation point to the next; the losses at each, and the model after the last.

        Losses that were measured before an interruption are read, not measured again.
        """
        from curate.lm.train import CHECKPOINT, TrainSegment

        options, model = self._options, self.loop.model
        first = self.number * options.steps
        begin = self.loop.out / in_round(self.number - 1, loop_dir.MODEL) / CHECKPOINT if self.number else None
        phase = f"round {self.number}"
        self.loop.listener.phase(phase, options.steps, 0)
        progress = StepProgress(self.loop.listener, phase, first)
        file = self._name(loop_dir.LOSSES)
        lines = self._store.read_text(file).splitlines() if self._store.exists(file) else []
        measured = {row["step"]: row for row in map(json.loads, lines)}
        evaluations: list[dict[str, Any]] = []
        for point in range(options.looks):
            until = first + options.steps * (point + 1) // options.looks
            trained = model.train(stream, folder, TrainSegment(first=first, until=until, begin=begin), progress)
            row = measured.get(until)
            row = row or {"step": until, "tokens": trained.tokens, **model.losses(trained.model.eval())}
            evaluations.append(row)
            self._store.write_text(file, "".join(json.dumps(row) + "\n" for row in evaluations))
        return evaluations, trained

    def _selected_texts(self) -> Iterator[str]:
        for table in documents_of_run(self._path(loop_dir.SELECT)):
            yield from table[TEXT].to_pylist()

    # --- cost

    def count_flops(self) -> Mapping[str, Any]:
        """The cost of the round by part, from the sizes that occurred."""
        options, model = self._options, self.loop.model
        cost: dict[str, float] = {"training": training_flops(options, model.num_parameters)}
        if self.by_influence:
            scorer = self._read_json(f"{loop_dir.SCORER}/metrics.json")
            manifest = self._read_json(f"{loop_dir.SELECT}/manifest.json")
            cost["probing"] = probing_flops(options, model.num_parameters, model.reference.tokens_read)
            cost["fitting"] = scorer["flops"]
            cost["scoring"] = scorer["flops_per_char"] * int(manifest["stages"]["influence"]["chars_in"])
        return {"flops": {part: int(flops) for part, flops in cost.items()}}

    # --- the folder

    @property
    def _options(self) -> Rounds:
        return self.loop.options

    @property
    def _store(self) -> Store:
        return self.loop.store

    @property
    def _probe_seed(self) -> int:
        return self._options.seed * 1000 + self.number

    def _name(self, name: str) -> str:
        """Path in the store."""
        return in_round(self.number, name)

    def _path(self, name: str) -> Path:
        """Path on disk, relative if the loop's folder is."""
        return self.loop.out / in_round(self.number, name)

    def _absolute(self, number: int, name: str) -> Path:
        """Path of a file or folder of a round in a recipe, which is read from another folder."""
        return self.loop.out.resolve() / in_round(number, name)

    def _read_json(self, name: str) -> Any:
        return self._store.read_json(self._name(name))
