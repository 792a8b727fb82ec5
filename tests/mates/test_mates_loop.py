"""The closed loop: what it chooses, that it never takes a document twice, and that a run cut short ends the same."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from click.testing import CliRunner

from curate.cli.main import main
from curate.errors import DataError, DriftError, SpecError
from curate.events import Silent
from curate.lm.train import torch_threads
from curate.mates import documents
from curate.mates.documents import SplitDocuments
from curate.mates.flops import flops_report
from curate.mates.loop import rounds_file
from curate.mates.options import Rounds
from curate.mates.probe_recipe import draw_order
from curate.report.mates_report import write_loop_report
from tests.mates.test_probe_recipe import texts

ROUNDS: dict[str, Any] = {
    "rounds": 3, "tokens": 12_800, "top": 0.3, "gumbel": 0.2, "holdout": 0.25, "judge": 0.05, "reference": ["items.jsonl"],
    "also_judge": ["others.jsonl"], "max_items": 40,
    "probes": 150, "length": 24, "width": 16, "layers": 1, "heads": 2, "hidden": 32, "context": 32,
    "vocab_size": 320, "batch": 8, "lr": 1e-2, "looks": 2, "threads": 1,
    "influence": {
        "width": 16, "layers": 1, "heads": 2, "hidden": 16, "vocab_size": 310, "window": 48, "epochs": 6, "lr": 1e-2,
        "batch": 8, "validation": 0.2, "test": 0.2,
    },
}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    with torch_threads(1):
        yield


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Documents of two subjects, one in four of which is of the reference's, and the loop over them."""
    folder = tmp_path_factory.mktemp("rounds")
    rows = [("cooking", text) for text in texts("cooking", 250, 1)] + [("sailing", text) for text in texts("sailing", 750, 1)]
    names = [f"{kind}-{number}" for number, (kind, _) in enumerate(rows)]
    table = pa.table({"id": names, "text": [text for _, text in rows]}).take(np.random.default_rng(0).permutation(1000))
    (folder / "in").mkdir()
    for number in range(2):
        pq.write_table(table.slice(number * 500, 500), folder / "in" / f"{number}.parquet")
    for name, seed in (("items", 2), ("others", 3)):
        lines = [json.dumps({"text": text}) + "\n" for text in texts("cooking", 40, seed)]
        (folder / f"{name}.jsonl").write_text("".join(lines))
    loop(folder, folder / "mates")
    loop(folder, folder / "random", choose="random")
    return folder


def loop(world: Path, out: Path, **changes: Any) -> str:
    """The loop, changed, into `out`."""
    pipeline = {
        "name": "mates", "source": {"parquet": {"paths": "in/*.parquet"}}, "stages": ["whitespace"],
        "rounds": {**ROUNDS, **changes},
    }  # fmt: skip
    path = world / f"{out.name}.yaml"
    path.write_text(yaml.safe_dump(pipeline))
    return rounds_file(str(path), out=str(out), inline=True)


def chosen(out: Path, number: int) -> list[str]:
    names: list[str] = pq.read_table(out / f"round-{number}" / "select" / "data")["id"].to_pylist()
    return names


@pytest.mark.slow
def test_from_the_second_round_on_what_helps_the_reference_is_chosen(world: Path) -> None:
    shares = [np.mean([name.startswith("cooking") for name in chosen(world / "mates", n)]) for n in range(3)]
    assert shares[0] == pytest.approx(0.25, abs=0.12)
    assert min(shares[1:]) > 0.5
    mates, random = (json.loads((world / name / "rounds.json").read_text())["rounds"] for name in ("mates", "random"))
    assert mates[0]["losses"] == random[0]["losses"]
    assert mates[-1]["losses"][-1]["reference"] < random[-1]["losses"][-1]["reference"]
    assert mates[-1]["losses"][-1]["items"] < random[-1]["losses"][-1]["items"]
    assert mates[-1]["losses"][-1]["tokens"] == random[-1]["losses"][-1]["tokens"] == 3 * 12_800


@pytest.mark.slow
def test_no_document_is_trained_on_twice_and_none_of_the_hold_out_ever(world: Path) -> None:
    sets = [{*chosen(world / "mates", number)} for number in range(3)]
    assert all(sets)
    assert len(set.union(*sets)) == sum(map(len, sets))
    probes = [{*pq.read_table(world / "mates" / f"round-{n}" / "probes" / "probes.parquet")["id"].to_pylist()} for n in (1, 2)]
    assert not set.union(*sets) & set.union(*probes)
    assert probes[0] != probes[1]


@pytest.mark.slow
def test_a_large_hold_out_is_cut_to_the_candidates_that_are_drawn_first(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    split = SplitDocuments(world / "mates" / "base", Rounds(**ROUNDS))
    whole = split.hold_out(7)
    monkeypatch.setattr(documents, "CANDIDATES_PER_PROBE", 1)
    first = draw_order(whole["id"].to_pylist(), 7)[: ROUNDS["probes"]]
    assert len(whole) > ROUNDS["probes"]
    assert split.hold_out(7)["id"].to_pylist() == whole.take(np.sort(first))["id"].to_pylist()


@pytest.mark.slow
def test_every_scorer_and_choice_is_on_record(world: Path) -> None:
    found = json.loads((world / "mates" / "rounds.json").read_text())
    names = [one.get("scorer", {}).get("name") for one in found["rounds"]]
    assert names == [None, "influence-r1", "influence-r2"]
    scorer = found["rounds"][2]["scorer"]
    assert {"live_spearman", "stale_spearman", "overlap"} <= scorer["stale"].keys()
    assert scorer["spearman"]["model"]["spearman"]["value"] > 0.5
    assert found["rounds"][1]["chosen"] == len(chosen(world / "mates", 1))
    flops = found["flops"]
    assert flops["total"] == sum(flops[name] for name in ("training", "probing", "fitting", "scoring"))
    assert 0 < flops["selection_frac"] < 1
    assert json.loads((world / "random" / "rounds.json").read_text())["flops"]["selection_frac"] == 0


@pytest.mark.slow
def test_the_report_of_a_loop_shows_curves_and_probes_and_asks_nobody(world: Path) -> None:
    done = CliRunner().invoke(main, ["report", str(world / "mates"), "--beside", str(world / "random")])
    assert done.exit_code == 0, done.output
    page = (world / "mates" / "rounds.html").read_text()
    found = json.loads((world / "mates" / "rounds.json").read_text())
    assert page.count("<svg ") == len(found["rounds"][0]["losses"][0]) - 2  # less step and tokens
    assert "influence-r2" in page and "For comparison:\nrandom." in page
    rows = pq.read_table(world / "mates" / "round-2" / "probes" / "probes.parquet").sort_by("influence").to_pylist()
    assert all(rows[place]["text"][:40] in page for place in (0, -1))
    assert "src=" not in page and 'href="http' not in page and "<script" not in page
    undone = CliRunner().invoke(main, ["report", str(world / "in")])
    assert undone.exit_code == 1 and "holds no run" in undone.output


def test_text_of_a_report_is_text(tmp_path: Path) -> None:
    """Whatever a document or a folder is called: nothing of it becomes markup."""
    folder = tmp_path / "<b>loop"
    losses = [{"step": step, "tokens": step * 10, "reference": 3.0 - step, "documents": 2.0} for step in (1, 2)]
    one = {"round": 0, "documents": 9, "chosen": 3, "tokens_chosen": 30, "epochs": 0.7, "losses": losses}
    flops = {"training": 10}
    scorer = {
        "name": "influence-r0", "probed": {"probes": 1, "positive_frac": 1.0},
        "spearman": {"model": {"spearman": {"value": 0.5, "low": 0.1, "high": 0.9}}},
    }  # fmt: skip
    (folder / "round-0" / "probes").mkdir(parents=True)
    rows = {"influence": [1e-3], "text": ["</td><script>alert(1)</script>"]}
    pq.write_table(pa.table(rows), folder / "round-0" / "probes" / "probes.parquet")
    found = {"rounds": [{**one, "scorer": scorer, "flops": flops}], "flops": flops_report(flops)}
    (folder / "rounds.json").write_text(json.dumps(found))
    page = write_loop_report(folder).read_text()
    assert "&lt;script&gt;alert(1)" in page and "&lt;b&gt;loop: 1 rounds" in page
    assert "<script" not in page and "<b>" not in page


class Counting(Silent):
    """Counts what it hears of every phase."""

    def __init__(self) -> None:
        self.totals: dict[str, int] = {}
        self.heard: dict[str, int] = {}

    def phase(self, name: str, total: int, done: int) -> None:
        self.totals[name], self.heard[name] = total, done

    def advance(self, name: str, item: str, rows: int | None) -> None:
        self.heard[name] += 1


@pytest.mark.slow
def test_every_step_is_reported_once(world: Path) -> None:
    (world / "counted.yaml").write_text((world / "random.yaml").read_text())
    counting = Counting()
    rounds_file(str(world / "counted.yaml"), out=str(world / "counted"), inline=True, listener=counting)
    steps = {name: total for name, total in counting.totals.items() if name.startswith("round ")}
    assert len(steps) == 3
    assert {name: counting.heard[name] for name in steps} == steps


def files(out: Path) -> dict[str, bytes]:
    """What a loop leaves, of which every byte must be the same again."""
    names = ("rounds.json", "round.json", "losses.jsonl", "model.safetensors", "head.safetensors", "probes.parquet")
    return {str(path.relative_to(out)): path.read_bytes() for path in sorted(out.rglob("*")) if path.name in names}


class Killed(BaseException):
    pass


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["probes", "select", "model"])
def test_a_loop_that_was_cut_short_ends_the_same(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """In the middle of probing, of choosing, and of training in the second round."""
    from curate.lm import train
    from curate.mates import probe_recipe as oracle

    with monkeypatch.context() as patch:
        if moment == "probes":
            written = oracle._write

            def breaks(table: pa.Table, path: Path) -> None:
                if path.parent.name == "influences" and [*path.parent.glob("*.parquet")]:
                    raise Killed
                written(table, path)

            patch.setattr(oracle, "_write", breaks)
        elif moment == "select":
            from curate.stages.score.select import Select

            def refuses(*_: Any) -> None:
                raise Killed

            patch.setattr(Select, "apply_decision", refuses)
        else:
            taken = train._take

            def dies(state: Any, *rest: Any) -> float:
                if len(state.losses) == 90:
                    raise Killed
                return taken(state, *rest)

            patch.setattr(train, "_take", dies)
        with pytest.raises(Killed):
            loop(world, tmp_path / "mates")
    assert not (tmp_path / "mates" / "rounds.json").exists()
    loop(world, tmp_path / "mates")
    assert files(tmp_path / "mates") == files(world / "mates")


@pytest.mark.slow
def test_a_folder_of_another_loop_is_refused(world: Path) -> None:
    with pytest.raises(DriftError, match=r"was built from other rounds: top was 0\.3, is now 0\.5\. Change it back"):
        loop(world, world / "mates", top=0.5)
    with pytest.raises(SpecError, match=r"length \(64\) is more than the model sees at once, context \(32\)"):
        loop(world, world / "long", length=64)
    with pytest.raises(SpecError, match=r"must be a file with the name tokenizer\.json"):
        loop(world, world / "named", tokenizer="plain.json")
    items = (world / "items.jsonl").read_text()
    (world / "items.jsonl").write_text(items + json.dumps({"text": "another one"}) + "\n")
    with pytest.raises(DriftError, match="was built from other rounds: reference has other content"):
        loop(world, world / "mates", max_items=ROUNDS["max_items"])
    (world / "items.jsonl").write_text(items)
    broken = CliRunner().invoke(main, ["check", str(world / "long.yaml"), "--offline"])
    assert broken.exit_code == 1
    assert "length (64) is more than the model sees at once" in broken.output
    plain = world / "plain.yaml"
    plain.write_text("source: {parquet: {paths: in/*.parquet}}\nstages: [whitespace]\n")
    with pytest.raises(SpecError, match="'rounds' is missing"):
        rounds_file(str(plain), out=str(world / "plain"))


@pytest.mark.slow
def test_a_loop_of_an_earlier_version_goes_on_and_so_does_one_with_other_resources(world: Path) -> None:
    before = (world / "mates" / "rounds.json").read_bytes()
    path = world / "mates" / "about.json"
    about = json.loads(path.read_text())
    path.write_text(json.dumps({name: about[name] for name in about if name not in ("dtype", "gpus", "base", "replicas")}))
    loop(world, world / "mates", threads=2, replicas=3)
    assert (world / "mates" / "rounds.json").read_bytes() == before
    path.write_text(json.dumps(about))


@pytest.mark.slow
def test_a_loop_with_an_empty_evaluation_split_says_so(world: Path) -> None:
    with pytest.raises(DataError, match=r"judge: no document of .* is in a share of 1e-06\. Raise it"):
        loop(world, world / "unjudged", judge=1e-6, rounds=1)


def test_costs_add_up_as_published() -> None:
    """MATES at 410 M and 1 B parameters, in 1e19 FLOPs."""
    small = flops_report({"training": 6.35, "probing": 0.29, "fitting": 0.01, "scoring": 1.46})
    assert (round(small["total"], 2), round(small["selection_frac"], 3)) == (8.11, 0.217)
    large = flops_report({"training": 17.67, "probing": 0.83, "fitting": 0.01, "scoring": 1.46})
    assert (round(large["total"], 2), round(large["selection_frac"], 3)) == (19.97, 0.115)
