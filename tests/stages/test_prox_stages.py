"""prox_doc, prox_chunk and prox: what a refiner does to documents, what is asked of it, and what becomes of its answers."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from tokenizers import Tokenizer

import curate
from curate.cli.main import main
from curate.errors import SpecError, TransientError
from curate.lm.query import Query, QueryScores
from curate.models.llm import open_model
from curate.models.lm_types import Completion, Serving, load_encoder
from curate.models.refiner import load_refiner_card
from curate.prox import line_prompt
from curate.prox.self_test_pages import GOOD, JUNK
from curate.prox.text_prompt import TEMPLATES, TextPrompts
from curate.prox.windows import without_numbers
from curate.stages.refine.lm_stage import LMClient
from curate.storage.response_log import ResponseLog, key_of
from curate.storage.store import Store

ROOT = Path(__file__).parents[2]
SCORER = str(ROOT / "scorers" / "prox-mini-v1")
BPE = ROOT / "scorers" / "bpe-v1" / "tokenizer.json"
PAGES = [*GOOD, JUNK]


def applied(stage: str, texts: Sequence[str | None], **options: Any) -> list[dict[str, Any]]:
    table = pa.table({"text": pa.array(texts, pa.large_string())})
    rows: list[dict[str, Any]] = curate.apply(stage, table, scorer=SCORER, **{"engine": "torch", **options}).to_pylist()
    return rows


def reason(row: dict[str, Any]) -> str | None:
    return str(row["drop"]["reason"]) if row["drop"] else None


# --- what comes of it


@pytest.fixture(scope="module")
def cleaned() -> list[dict[str, Any]]:
    return applied("prox_chunk", [*PAGES, None, ""])


def test_articles_stay_and_menus_go(cleaned: list[dict[str, Any]]) -> None:
    for row, page in zip(cleaned, GOOD, strict=False):
        kept = row["text"].split("\n")
        assert not {"Home", "Log in", "Share on Facebook", "Privacy Policy | Terms of Use | Cookie settings"} & set(kept)
        assert {line for line in page.split("\n") if len(line) > 150} <= set(kept)


def test_programs_and_edits_say_what_was_done(cleaned: list[dict[str, Any]]) -> None:
    for row, page in zip(cleaned, GOOD, strict=False):
        assert row["prox_status"] == "edited"
        assert curate.prox.execute(page, row["prox_program"]).text == row["text"]
        text = page
        for edit in reversed(row["edits"]):
            text = text[: edit["start"]] + edit["replacement"] + text[edit["end"] :]
        assert text == row["text"]


def test_a_page_of_nothing_is_dropped_and_texts_without_words_are_left_alone(cleaned: list[dict[str, Any]]) -> None:
    assert [reason(row) for row in cleaned[3:]] == [reason(cleaned[3]), None, None]
    assert reason(cleaned[3]) in ("too_many_words_removed", "too_few_words")
    assert [row["prox_status"] for row in cleaned[4:]] == [None, None]


def test_documents_have_a_probability_of_staying() -> None:
    rows = applied("prox_doc", [*PAGES, None])
    good, junk = [row["prox_keep"] for row in rows[:3]], rows[3]["prox_keep"]
    assert min(good) > 0.5 > junk
    assert rows[4]["prox_keep"] is None
    assert [reason(row) for row in rows] == [None] * 5


def test_one_pass_gives_what_two_give(cleaned: list[dict[str, Any]]) -> None:
    fused, judged = applied("prox", PAGES, min_keep=None), applied("prox_doc", PAGES)
    assert [row["text"] for row in fused] == [row["text"] for row in cleaned[:4]]
    assert [row["prox_keep"] for row in fused] == [row["prox_keep"] for row in judged]


def test_documents_below_the_limit_are_dropped_unedited() -> None:
    rows = applied("prox", PAGES)
    assert [reason(row) for row in rows] == [None, None, None, "prox_drop"]
    assert rows[3]["drop"]["value"] == pytest.approx(rows[3]["prox_keep"])
    assert (rows[3]["text"], rows[3]["prox_status"]) == (JUNK, None)


def test_without_a_threshold_the_card_says_which(cleaned: list[dict[str, Any]]) -> None:
    card = load_refiner_card(SCORER)
    programs = {
        limit: [row["prox_program"] for row in applied("prox_chunk", PAGES, threshold=limit, self_test=False)]
        for limit in (0.01, card.threshold)
    }
    assert [row["prox_program"] for row in cleaned[:4]] == programs[card.threshold] != programs[0.01]


def test_thresholds_at_both_ends() -> None:
    assert [row["prox_status"] for row in applied("prox_chunk", PAGES, threshold=0.0, self_test=False)] == ["kept"] * 4
    assert all(reason(row) for row in applied("prox_chunk", PAGES, threshold=1.0, self_test=False))


def test_a_line_too_long_to_be_shown_stays_unless_it_is_asked_for() -> None:
    long = "| Home | News | " + "word " * 200
    text = f"{GOOD[0]}\n{long}"
    options = {"threshold": 1.0, "drop_removed_frac": None, "min_words": 0, "self_test": False}
    assert [row["text"] for row in applied("prox_chunk", [text], **options)] == [long]
    assert reason(applied("prox_chunk", [text], max_line_chars=None, **options)[0]) == "too_few_words"


def test_good_documents_may_be_left_alone() -> None:
    table = pa.table({"text": pa.array(GOOD, pa.large_string()), "edu": pa.array([0.875, 0.5, None], pa.float32())})
    found = curate.apply("prox_chunk", table, scorer=SCORER, engine="torch", gate_column="edu", gate_min=0.875).to_pylist()
    assert [row["prox_status"] for row in found] == [None, "edited", "edited"]
    assert found[0]["text"] == GOOD[0]


def test_programs_that_take_too_much_are_not_applied() -> None:
    rows = applied("prox_chunk", GOOD[:1], max_removed_frac=0.01)
    assert (rows[0]["text"], rows[0]["prox_status"]) == (GOOD[0], "program_error")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scorer": None}, "give one of 'scorer'"),
        ({"scorer": None, "model": "some/model"}, "template: a model says not how"),
        ({"template": "plain"}, "a scorer's card says how it is asked"),
        ({"engine": "tensorflow"}, "must be vllm, torch, or the address of a server"),
        ({"gate_min": 0.5}, "gate_column and gate_min go together"),
        ({"executor": "published", "min_words": 3}, "limits of its own"),
        ({"scorer": str(ROOT / "scorers" / "preselect-mini-v1")}, "needs a refiner, of kind 'prox'"),
    ],
)
def test_options_that_do_not_fit_are_refused(options: dict[str, Any], message: str) -> None:
    table = pa.table({"text": pa.array(["text"], pa.large_string())})
    given = {name: value for name, value in {"scorer": SCORER, **options}.items() if value is not None}
    with pytest.raises(SpecError, match=message):
        curate.apply("prox_chunk", table, **given)


# --- a server: the model itself behind HTTP, which counts what it is asked


class Served(BaseHTTPRequestHandler):
    """Answers as vLLM does, by reading the model with torch: the hidden states of a prompt. What is asked is counted, except
    for the two prompts of one token over and over by which it is seen whether the model reads in both directions."""

    def log_message(self, format: str, *args: Any) -> None:
        return

    def do_GET(self) -> None:
        self._send({"data": [{"id": "refiner"}]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        server: Any = self.server
        assert self.path == "/pooling" and body["task"] == "token_embed" and body["encoding_format"] == "base64"
        with server.lock:
            server.asked += [tuple(body["input"])] if len(set(body["input"])) > 2 else []
            if server.failing and len(server.asked) > server.failing:
                self.send_error(503, "too much to do")
                return
            self._send({"data": [{"data": hidden(server.model, body["input"], server.forwards)}]})

    def _send(self, value: Any) -> None:
        data = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def hidden(model: Any, ids: list[int], forwards: bool) -> str:
    import torch

    seen = None if forwards else torch.ones(1, 1, len(ids), len(ids), dtype=torch.bool)
    with torch.inference_mode():
        states = model.hidden(torch.tensor([ids]), seen)[0].numpy()
    return base64.b64encode(states.astype("<f4").tobytes()).decode()


@pytest.fixture
def server() -> Iterator[Any]:
    from curate.lm.model import load

    httpd: Any = ThreadingHTTPServer(("127.0.0.1", 0), Served)
    httpd.model, httpd.lock, httpd.asked, httpd.failing = load(Path(SCORER)), threading.Lock(), [], 0
    httpd.forwards = False
    thread = threading.Thread(target=httpd.serve_forever, daemon=True)
    thread.start()
    yield httpd
    httpd.shutdown()
    httpd.server_close()


def url(server: Any) -> str:
    return f"http://127.0.0.1:{server.server_address[1]}"


def test_a_server_gives_what_the_model_gives_here(server: Any, cleaned: list[dict[str, Any]]) -> None:
    rows = applied("prox", PAGES, engine=url(server), min_keep=None)
    assert [row["text"] for row in rows] == [row["text"] for row in cleaned[:4]]
    assert [row["prox_keep"] for row in rows] == pytest.approx(
        [row["prox_keep"] for row in applied("prox_doc", PAGES)], abs=1e-4
    )


def test_a_server_that_reads_forwards_only_is_refused(server: Any) -> None:
    server.forwards = True
    with pytest.raises(SpecError, match=r"read forwards only.* vllm serve .*--hf-overrides '\{\"is_causal\": false\}'"):
        applied("prox", PAGES, engine=url(server))


def pipeline(folder: Path, server: Any, cache: Path | None = None) -> Path:
    texts = [f"{page}\nPage {number}" for number in range(6) for page in PAGES]
    table = pa.table({"id": [str(n) for n in range(len(texts))], "text": texts})
    pq.write_table(table, folder / "pages.parquet", row_group_size=4)
    path = folder / "clean.yaml"
    more = f", cache: {cache}" if cache else ""
    path.write_text(
        "name: clean\nsource: {parquet: {paths: pages.parquet}}\n"
        f"stages:\n  - prox: {{scorer: {SCORER}, engine: '{url(server)}', self_test: false{more}}}\n"
    )
    return path


def output(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.glob("data/*"))}


def test_a_run_that_failed_asks_for_nothing_that_was_answered(
    tmp_path: Path, server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("curate.stages.refine.lm_stage._BATCH", 4)
    monkeypatch.setattr("curate.execution.engine.MAX_TRANSIENT_RETRIES", 0)
    path = pipeline(tmp_path, server)
    curate.run(str(path), out=str(tmp_path / "whole"), inline=True)
    in_all = len(server.asked)
    server.asked.clear()
    server.failing = 10
    with pytest.raises(TransientError, match="answers 503"):
        curate.run(str(path), out=str(tmp_path / "out"), inline=True)
    logged = sum(len(file.read_text().splitlines()) for file in (tmp_path / "out").glob("steps/*/answers/*/*.jsonl"))
    assert 0 < logged <= 10
    server.asked.clear()
    server.failing = 0
    curate.run(str(path), out=str(tmp_path / "out"), inline=True)
    assert len(server.asked) == in_all - logged
    assert output(tmp_path / "out") == output(tmp_path / "whole")


def test_runs_share_a_cache_across_thresholds(tmp_path: Path, server: Any) -> None:
    path = pipeline(tmp_path, server, tmp_path / "cache")
    curate.run(str(path), out=str(tmp_path / "one"), inline=True)
    assert server.asked
    server.asked.clear()
    path.write_text(path.read_text().replace("self_test", "threshold: 0.9, self_test"))
    curate.run(str(path), out=str(tmp_path / "two"), inline=True)
    assert server.asked == []
    assert output(tmp_path / "one") != output(tmp_path / "two")


def test_equal_texts_are_asked_once(server: Any) -> None:
    applied("prox_chunk", [GOOD[0]] * 5, engine=url(server), self_test=False)
    assert len(server.asked) == len(set(server.asked))


def test_a_server_that_does_not_answer_is_tried_again_later() -> None:
    with pytest.raises(TransientError, match="does not answer"):
        applied("prox_chunk", GOOD, engine="http://127.0.0.1:9")


def test_a_model_that_makes_nothing_of_known_pages_is_refused(tmp_path: Path) -> None:
    """Random weights: every line has some probability, and no page comes out as a page should."""
    import torch

    from curate.lm.model import load, save
    from curate.storage.store import file_hash

    model = load(Path(SCORER))
    with torch.no_grad():
        model.embed_tokens.weight[line_prompt.KEEP_ID] = model.embed_tokens.weight[line_prompt.REMOVE_ID]
    save(model, tmp_path, Path(SCORER) / "tokenizer.json", eos=line_prompt.EOS_ID)
    card = (Path(SCORER) / "card.md").read_text()
    old = card.split("sha256: ")[1].split()[0]
    card = card.replace(old, file_hash(str(tmp_path / "model.safetensors")), 1)
    threshold = card.split("threshold: ")[1].split()[0]
    (tmp_path / "card.md").write_text(card.replace(f"threshold: {threshold}", "threshold: 0.4", 1))
    table = pa.table({"text": pa.array(GOOD, pa.large_string())})
    with pytest.raises(SpecError, match="self-test: of 3 known pages 0 are edited"):
        curate.apply("prox_chunk", table, scorer=str(tmp_path), engine="torch")


# --- engines that break


class Breaking:
    """Raises whenever it is asked about a prompt that holds 666, as an engine does for what it cannot take."""

    encoder = None

    def score(self, queries: Sequence[Query]) -> list[QueryScores]:
        if any(666 in query.ids for query in queries):
            raise RuntimeError("no kernel for this shape")
        return [QueryScores(np.full(len(query.positions), 0.25, np.float32), float("nan"), 0.0) for query in queries]

    def generate(self, prompts: Sequence[Sequence[int]], max_tokens: int, grammar: str | None) -> list[Completion]:
        return [Completion(f"{len(ids)}", True, 1) for ids in prompts]

    def close(self) -> None:
        return


def test_the_prompt_that_breaks_an_engine_is_found_and_the_others_are_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[Serving] = []

    def opening(serving: Serving) -> Breaking:
        opened.append(serving)
        return Breaking()

    monkeypatch.setattr("curate.stages.refine.lm_stage.open_model", opening)
    client = LMClient(Serving("model", "vllm", 100), None)
    queries = [Query([number, 666 if number == 11 else 0], range(0, 1)) for number in range(20)]
    answers = ResponseLog()
    found = client.score(queries, answers)
    assert [number for number, one in enumerate(found) if one is None] == [11]
    assert {float(one.positions[0]) for one in found if one} == {0.25}
    again = len(opened)
    assert 2 <= again <= 7  # loaded anew for each half that holds it: 20, 10, 5, 2 or 3, 1 or 2, 1
    assert client.score(queries, answers)[11] is None
    assert len(opened) == again  # what broke it is on the log, and not tried again


# --- prompts for published models


@pytest.fixture(scope="module")
def encoder() -> Any:
    return load_encoder(str(BPE.parent), None)


@pytest.mark.parametrize("template", TEMPLATES)
def test_windows_are_whole_lines_in_the_models_own_tokens(encoder: Any, template: str) -> None:
    lines = [f"line {number} of a text " + "word " * (number % 7) for number in range(60)]
    before, after = TEMPLATES[template]
    found = TextPrompts(encoder, template, 0).chunks(lines, 100)
    texts = []
    for prompt in found:
        assert prompt.ids[0] == 0
        text = encoder.decode(list(prompt.ids[1:]), skip_special_tokens=False)
        assert text.startswith(f"{before}[doc]\n[{prompt.window.first:03d}]line {prompt.window.first} ")
        assert text.endswith(f"\n[/doc]{after}")
        inside = text.removeprefix(f"{before}[doc]\n").removesuffix(f"\n[/doc]{after}").removesuffix("\n")
        assert len(encoder.encode(inside, add_special_tokens=False).ids) <= 100
        texts.append(without_numbers(inside))
    assert "\n".join(texts) == "\n".join(lines)
    assert len(found) > 5


def test_a_line_longer_than_the_window_is_not_asked_about(encoder: Any) -> None:
    found = TextPrompts(encoder, "plain", 0).chunks(["one", "word " * 200, "three"], 64)
    assert [(p.window.first, p.window.stop, p.window.skipped, bool(p.ids)) for p in found] == [
        (0, 1, False, True), (1, 2, True, False), (2, 3, False, True),
    ]  # fmt: skip


def test_a_long_document_is_cut_and_its_template_is_not(encoder: Any) -> None:
    prompts = TextPrompts(encoder, "llama2", 0)
    ids, was_cut = prompts.document("word " * 500, 120)
    assert (len(ids), was_cut) == (120, True)
    assert encoder.decode(list(ids), skip_special_tokens=False).endswith("[/INST]")
    assert prompts.document("word", 120)[1] is False


def test_an_answer_may_begin_with_or_without_a_blank(encoder: Any) -> None:
    prompts = TextPrompts(encoder, "plain", 0)
    first = {encoder.decode([token]).strip() for token in prompts.first_tokens("keep_doc()")}
    assert all("keep_doc()".startswith(word) for word in first)
    assert not prompts.first_tokens("keep_doc()") & prompts.first_tokens("drop_doc()")


def test_a_special_token_in_a_document_is_text() -> None:
    plain = Tokenizer.from_file(f"{SCORER}/tokenizer.json")
    assert len(plain.encode("[doc]", add_special_tokens=False).ids) == 1
    assert len(load_encoder(SCORER, None).encode("[doc]", add_special_tokens=False).ids) > 1


# --- answers


def test_answers_outlive_the_process_that_got_them(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    ResponseLog(store, "log").add({"a": [1.5, "\u2028 line"], "b": None})
    ResponseLog(store, "log").add({"c": 3})
    assert ResponseLog(store, "log").find(["a", "c", "d"]) == {"a": [1.5, "\u2028 line"], "c": 3}


def test_keys_hold_the_model_and_the_tokens() -> None:
    keys = [key_of("one", [1, 2]), key_of("one", [12]), key_of("two", [1, 2]), key_of("one", [2, 1])]
    assert len(set(keys)) == 4
    assert key_of("one", [1, 2]) == keys[0]


def test_torch_writes_no_programs() -> None:
    model = open_model(Serving(SCORER, "torch", 100))
    with pytest.raises(SpecError, match="reads probabilities and writes no programs"):
        model.generate([[1]], 10, None)


def test_a_run_without_its_engine_does_not_begin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pq.write_table(pa.table({"id": ["a"], "text": [GOOD[0]]}), tmp_path / "in.parquet")
    pipeline = tmp_path / "p.yaml"
    pipeline.write_text(f"source: {{parquet: {{paths: in.parquet}}}}\nstages:\n  - prox: {{scorer: {SCORER}}}\n")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(
        SpecError,
        match=r"p\.yaml:3: stage 'prox' needs vllm, which is not here\. Install it: pip install 'curate-data\[vllm\]'",
    ):
        curate.run(str(pipeline), out=str(tmp_path / "out"), inline=True)
    assert not (tmp_path / "out").exists()
    checked = CliRunner().invoke(main, ["check", str(pipeline)])
    assert checked.exit_code == 0 and "All sound" in checked.output and "needs vllm" in checked.output
