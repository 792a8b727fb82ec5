"""Broken pipeline files: each with its whole message, and generated mutants of every shipped file. None a traceback."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from click.testing import CliRunner

from curate.cli.main import main
from curate.stages import STAGES as OWN_STAGES
from curate.stages.extract.language import PY3LANGID
from tests.conftest import Thin, WritePipeline, write_corpus

ROOT = Path(__file__).parents[2]
SHIPPED = sorted((ROOT / "pipelines").glob("*.yaml"))

SOURCE = "source: {parquet: {paths: corpus/*.parquet}}\n"
EXAMPLES = ["example_broken", "example_dashes", "example_kill", "example_lengths", "example_longest", "example_slow"]
STAGES = ", ".join(sorted([*EXAMPLES, *OWN_STAGES]))
COLUMNS = "count, fetched_at, file, http_status, id, length, offset, ordinal, score, text, url"

BROKEN = {
    "unknown stage": (
        SOURCE + "stages:\n  - sample: {share: 0.5}\n  - kep: {column: score, min: 1}\n",
        "p.yaml:4: stage 2 'kep': unknown stage 'kep'. Did you mean 'keep'? Known: {stages}.",
    ),
    "unknown option": (
        SOURCE + "stages:\n  - keep:\n      colum: score\n      min: 1\n",
        "p.yaml:4: stage 1 'keep': unknown option 'colum'. Did you mean 'column'? Known: column, max, min, values.",
    ),
    "option missing": (
        SOURCE + "stages:\n  - keep: {min: 1}\n",
        "p.yaml:3: stage 1 'keep': option 'column' is required and missing. Add 'column: ...'",
    ),
    "wrong type": (
        SOURCE + "stages:\n  - keep:\n      column: score\n      min: three\n",
        "p.yaml:5: stage 1 'keep': min: 'three': must be a valid number.",
    ),
    "value out of range": (
        SOURCE + "stages:\n  - sample: {share: 1.5}\n",
        "p.yaml:3: stage 1 'sample': share: 1.5: must be less than or equal to 1.",
    ),
    "value not among the choices": (
        SOURCE + "stages:\n  - select: {column: score, top: 0.1, by: char}\n",
        "p.yaml:3: stage 1 'select': by: 'char': must be 'docs', 'chars' or 'tokens'. "
        "Did you mean 'chars'? Known: chars, docs, tokens.",
    ),
    "bounds that exclude each other": (
        SOURCE + "stages:\n  - keep: {column: score, min: 2, max: 1}\n",
        "p.yaml:3: stage 1 'keep': min (2.0) is greater than max (1.0)",
    ),
    "a boolean where a number is wanted": (
        SOURCE + "stages:\n  - sample: {share: true}\n",
        "p.yaml:3: stage 1 'sample': share: True: must be a valid number.",
    ),
    "a column no stage writes": (
        SOURCE + "stages:\n  - keep: {column: edu, min: 3}\n",
        "p.yaml:3: stage 1 'keep' reads ['edu'], which no earlier stage writes. Known: {columns}. "
        "Put the stage that writes it before this one.",
    ),
    "a column of the wrong type": (
        SOURCE + "stages:\n  - keep: {column: url, min: 3}\n",
        "p.yaml:3: stage 1 'keep' reads 'url' as double, but it is string here. Choose another column.",
    ),
    "an output column nobody makes": (
        SOURCE + "stages: []\noutput: {columns: [id, txt]}\n",
        "p.yaml:3: output: no column 'txt' at the end of the run. Did you mean 'text'? Known: {columns}.",
    ),
    "a missing model": (
        SOURCE + "stages:\n  - tokens: {tokenizer: none/tokenizer.json}\n",
        "p.yaml:3: stage 1 'tokens': tokenizer: '{tmp}/none/tokenizer.json' does not exist. "
        "Relative paths count from the file's folder. Known: bpe-v1, prox-mini-v1.",
    ),
    "a scorer without a card": (
        SOURCE + "stages:\n  - score: {scorer: corpus}\n",
        "p.yaml:3: stage 1 'score': scorer '{tmp}/corpus' has no card.md. A scorer is a folder with a card and a model, "
        "as 'curate fit' writes it. Others in its place: none. By name: Known: preselect-mini-v1, prox-mini-v1.",
    ),
    "a list of takedowns that is not there": (
        SOURCE + "stages: []\nremove:\n  urls: none.txt\n",
        "p.yaml:3: remove: urls: '{tmp}/none.txt' does not exist. Relative paths count from the file's folder.",
    ),
    "a glob that matches nothing": (
        "source:\n  parquet: {paths: corpus/*.parq}\nstages: []\n",
        "p.yaml:2: source 'parquet': paths: '{tmp}/corpus/*.parq' matches no file. "
        "Check the path; globs may use *, ** and [a-z].",
    ),
    "a file matched twice": (
        "source:\n  parquet: {paths: [corpus/*.parquet, corpus/part-1.parquet]}\nstages: []\n",
        "p.yaml:2: source 'parquet': paths: '{tmp}/corpus/part-1.parquet' is matched twice, by '{tmp}/corpus/*.parquet' and "
        "'{tmp}/corpus/part-1.parquet'. Each file may be read once: make the patterns disjoint.",
    ),
    "inputs of different schemas": (
        "source:\n  parquet: {paths: [corpus/*.parquet, other.parquet]}\nstages: []\n",
        "p.yaml:2: source 'parquet': paths: '{tmp}/other.parquet' has another schema than '{tmp}/corpus/part-0.parquet': "
        "column 'url' is string there and missing here. Read them in two runs, or rewrite one.",
    ),
    "an input that is no Parquet": (
        "source:\n  parquet: {paths: broken.parquet}\nstages: []\n",
        "p.yaml:2: source 'parquet': paths: '{tmp}/broken.parquet' is not a readable Parquet file: Parquet magic bytes not "
        "found in footer. Either the file is corrupted or this is not a parquet file. Remove or repair it.",
    ),
    "a text column that is not there": (
        "source:\n  parquet: {paths: corpus/*.parquet, text: content}\nstages: []\n",
        "p.yaml:2: source 'parquet': paths: '{tmp}/corpus/part-0.parquet' has no column 'content' for 'text'. "
        "Did you mean 'count'? Known: count, id, score, text, url.",
    ),
    "an unknown source": (
        "source:\n  parket: {paths: corpus/*.parquet}\nstages: []\n",
        "p.yaml:2: source: unknown source 'parket'. Did you mean 'parquet'? Known: {sources}.",
    ),
    "two sources": (
        "source:\n  parquet: {paths: a}\n  jsonl: {paths: b}\nstages: []\n",
        "p.yaml:1: source: one source is read, found ['parquet', 'jsonl']. Known: {sources}.",
    ),
    "no source": (
        "stages: []\n",
        "p.yaml:1: 'source' is missing. Add 'source: {parquet: {paths: ...}}', or run with --source FILE",
    ),
    "an unknown key at the top": (
        SOURCE + "stage: []\n",
        "p.yaml:2: unknown key 'stage'. Did you mean 'stages'? "
        "Known: keep_steps, max_failed_shards, name, output, remove, rounds, source, stages.",
    ),
    "the same stage twice without a name": (
        SOURCE + "stages:\n  - sample: {share: 0.5}\n  - sample: {share: 0.5}\n",
        "p.yaml:4: stage 2 'sample': the name is taken by stage 1. Add 'as: OTHER_NAME'.",
    ),
    "two stages in one item": (
        SOURCE + "stages:\n  - sample: {share: 0.5}\n    keep: {column: score, min: 1}\n",
        "p.yaml:3: stage 1: {'sample': {'share': 0.5}, 'keep': {'column': 'score', 'min': 1}} must be a stage name or one "
        "'name: {options}'",
    ),
    "a range that is none": (
        SOURCE + "stages:\n  - sample: {share: 0.5, expect: {drop: 60..5}}\n",
        "p.yaml:3: stage 1 'sample': expect: '60..5' must be a range such as 5%..60%",
    ),
    "a key given twice": (
        SOURCE + "stages:\n  - keep:\n      min: 1\n      column: score\n      min: 2\n",
        "p.yaml:6: key 'min' appears twice",
    ),
    "no YAML": (
        "source: {parquet: {paths: corpus/*.parquet}\nstages: []\n",
        "p.yaml:2: not YAML: expected ',' or '}', but got '<scalar>'. Check indent, quotes, colons.",
    ),
    "code in YAML": (
        SOURCE + "stages:\n  - keep: {column: !python/object/apply:os.system [ls], min: 1}\n",
        "p.yaml:3: tag '!python/object/apply:os.system' is not supported: values are plain text, numbers, lists, mappings",
    ),
    "a negative tolerance": (
        SOURCE + "stages: []\nmax_failed_shards: -1\n",
        "p.yaml:3: max_failed_shards: -1 must be a whole number, 0 or more",
    ),
    "a step to keep that does not exist": (
        SOURCE + "stages: [{sample: {share: 1}}]\nkeep_steps: [samples]\n",
        "p.yaml:3: keep_steps: no stage 'samples'. Did you mean 'sample'? Known: sample.",
    ),
    "no path at all": (
        "source:\n  parquet: {paths: []}\nstages: []\n",
        "p.yaml:2: source 'parquet': paths: [] names no file. Give a path or a glob.",
    ),
    "a range with two points": (
        SOURCE + "stages:\n  - sample: {share: 0.5, expect: {drop: 1.2.3%..5%}}\n",
        "p.yaml:3: stage 1 'sample': expect: '1.2.3%..5%' must be a range such as 5%..60%",
    ),
    "an alias that holds itself": (
        SOURCE + "stages: &s\n  - sample: *s\n",
        "p.yaml:3: values are nested too deep: does an alias contain itself?",
    ),
    "aliases of aliases without bound": (
        SOURCE
        + "x0: &x0 [a, a, a, a, a, a, a, a, a, a]\n"
        + "".join(f"x{n + 1}: &x{n + 1} [{', '.join([f'*x{n}'] * 10)}]\n" for n in range(9)),
        "p.yaml:6: more than 200,000 values. Do aliases repeat what holds aliases?",
    ),
    "lists a thousand deep": (
        SOURCE + f"stages: {'[' * 1000}{']' * 1000}\n",
        "p.yaml: values are nested too deep to be read. A pipeline file needs ten levels.",
    ),
    "a tag of YAML 1.1": (
        SOURCE + "stages:\n  - sample: {share: !!timestamp x}\n",
        "p.yaml:3: tag 'tag:yaml.org,2002:timestamp' is not supported: values are plain text, numbers, lists, mappings",
    ),
    "a file of megabytes": (
        SOURCE + f"stages: []\n# {'x' * 2**24}\n",
        "p.yaml: more than 16,777,216 bytes. Word lists and paths go into files of their own.",
    ),
    "a name with a meaning of its own": (
        SOURCE + "stages:\n  - sample: {share: 0.5, as: source}\n",
        "p.yaml:3: stage 1 'sample': as: 'source' has a meaning of its own. Choose another name.",
    ),
    "no output columns": (
        SOURCE + "stages: []\noutput: {columns: []}\n",
        "p.yaml:3: output: columns: [] leaves nothing. Name one at least.",
    ),
    "a barrier as a step to keep": (
        SOURCE + "stages: [{select: {column: score, top: 0.5}}]\nkeep_steps: [select]\n",
        "p.yaml:3: keep_steps: 'select' is a global stage; name the stage before or after it.",
    ),
    "a list that is no UTF-8": (
        SOURCE + "stages: [{url_filter: {words: [latin.txt]}}]\n",
        "RUN: '{tmp}/latin.txt' is no UTF-8 text: 'utf-8' codec can't decode byte 0xe9 in position 3",
    ),
    "a tokenizer that is none": (
        SOURCE + "stages: [{tokens: {tokenizer: latin.txt}}]\n",
        "RUN: p.yaml:2: stage 'tokens' cannot be opened: ",
    ),
    "a language nobody speaks": (
        SOURCE + "stages:\n  - language: {keep: [eng]}\n",
        "p.yaml:3: stage 1 'language': keep: 'eng' is no language of py3langid. Did you mean 'en'? Known: {languages}.",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_answered_with_one_message(name: str, tmp_path: Path, write_pipeline: WritePipeline) -> None:
    write_corpus(tmp_path / "corpus", files=2, rows=5)
    pq.write_table(pa.table({"id": ["a"], "text": ["b"]}), tmp_path / "other.parquet")
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9\n")
    (tmp_path / "broken.parquet").write_bytes(b"not a parquet file, whatever its name says")
    text, message = BROKEN[name]
    path = write_pipeline(text)
    if message.startswith("RUN: "):
        # Looks right from outside: found when the stage opens it.
        result = CliRunner().invoke(main, ["run", str(path), "--out", str(tmp_path / "out"), "--inline"])
        expected = message.removeprefix("RUN: ").replace("{tmp}", str(tmp_path)).replace("p.yaml", str(path))
        assert result.exit_code == 1 and f"error: {expected}" in result.stderr, result.stderr
        return
    result = CliRunner().invoke(main, ["check", str(path)])
    for key, value in (
        ("{tmp}", str(tmp_path)),
        ("{stages}", STAGES),
        ("{sources}", "example_lines, html, hub, jsonl, parquet, warc"),
        ("{columns}", COLUMNS),
        ("{languages}", ", ".join(sorted(PY3LANGID))),
    ):
        message = message.replace(key, value)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == f"error: {tmp_path}/{message}\n"
    again = CliRunner().invoke(main, ["run", str(path), "--out", str(tmp_path / "out"), "--inline"])
    assert (again.exit_code, again.stderr) == (1, result.stderr)
    assert not (tmp_path / "out").exists()


def test_a_file_that_is_not_there_is_said_to_be_missing(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["check", str(tmp_path / "no.yaml")])
    assert result.exit_code == 1 and "cannot be read" in result.stderr


def test_yaml_is_read_as_version_1_2(tmp_path: Path, write_pipeline: WritePipeline) -> None:
    """`no` is Norwegian, 1e-1 a number, 100_000 too."""
    from curate.pipeline.spec import load

    pipeline = load(
        str(
            write_pipeline(
                SOURCE + "stages: [{language: {keep: [no, en]}}, {sample: {share: 1e-1}}]\noutput: {rows_per_file: 100_000}\n"
            )
        )
    )
    assert pipeline.stages[0].stage.keep == ("no", "en")  # type: ignore[attr-defined]
    assert pipeline.stages[1].stage.share == 0.1  # type: ignore[attr-defined]
    assert pipeline.output.rows_per_file == 100_000


# -- mutants of every shipped file


def _paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every mapping key and list item."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*path, key)
        yield from _paths(inner, (*path, key))


def _at(value: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        value = value[key]
    return value


def _misspelt(tree: Any, path: tuple[Any, ...]) -> bool:
    parent, key = _at(tree, path[:-1]), path[-1]
    if not isinstance(parent, dict):
        return False
    entries = [(f"{k}x" if k == key else k, v) for k, v in parent.items()]
    parent.clear()
    parent.update(entries)
    return True


def _retyped(tree: Any, path: tuple[Any, ...]) -> bool:
    parent, key = _at(tree, path[:-1]), path[-1]
    value = parent[key]
    if isinstance(value, dict | list) or value is None:
        parent[key] = 3.25
    elif isinstance(value, str):
        parent[key] = {"nested": [1]}
    else:
        parent[key] = ["text"]
    return True


def _removed(tree: Any, path: tuple[Any, ...]) -> bool:
    """Remove a stage that writes columns others read, or a required option."""
    parent, key = _at(tree, path[:-1]), path[-1]
    needed = {"source", "stages", "paths", "column", "top", "tokenizer", "scorer", "extract", "tokens", "share"}
    if isinstance(parent, dict) and key in needed and path[0] != "output":
        del parent[key]
        return True
    if isinstance(parent, list) and path[0] == "stages" and isinstance(parent[key], dict) and set(parent[key]) & needed:
        del parent[key]
        return True
    return False


# A mutant that is a sound file after all: free text and names may be anything.
FREE = {"name", "as", "detail"}


def mutants(file: Path) -> Iterator[tuple[str, str]]:
    original = yaml.safe_load(file.read_text())
    for kind, mutate in (("misspelt", _misspelt), ("retyped", _retyped), ("removed", _removed)):
        for path in list(_paths(original)):
            tree = copy.deepcopy(original)
            if kind == "misspelt" and path[-1] in FREE and len(path) > 1:
                continue
            if mutate(tree, path):
                yield f"{kind} {'.'.join(map(str, path))}", yaml.safe_dump(tree, sort_keys=False)


@pytest.mark.parametrize("file", SHIPPED, ids=lambda path: path.name)
def test_every_mutant_of_a_shipped_file_is_refused_with_a_place(file: Path, tmp_path: Path, thin: Thin) -> None:
    local = _local_source(tmp_path)
    # In a folder where its relative paths lead to the same files.
    mutant = tmp_path / "pipelines" / "mutant.yaml"
    mutant.parent.mkdir()
    (tmp_path / "pipelines" / "sample").symlink_to(ROOT / "pipelines" / "sample")
    (tmp_path / "scorers").symlink_to(ROOT / "scorers")
    cases = list(mutants(file))
    assert len(cases) > 20
    for name, text in thin(cases):
        mutant.write_text(text)
        options = ["--source", str(local)] if "commoncrawl" in file.read_text() and "source" not in name else []
        result = CliRunner().invoke(main, ["check", str(mutant), *options])
        assert result.exit_code == 1, f"{name}: exit code {result.exit_code}: {result.output}"
        assert isinstance(result.exception, SystemExit), f"{name}: {result.exception!r}"
        assert result.stderr.startswith(f"error: {mutant}:") or str(local) in result.stderr, f"{name}: {result.stderr}"


def _local_source(folder: Path) -> Path:
    """A source on this disk, for files that point at a bucket."""
    path = folder / "local.yaml"
    path.write_text(f"source: {{warc: {{paths: '{ROOT}/pipelines/sample/*.warc.gz'}}}}\n")
    return path
