"""Uploading a corpus, to a server of our own that answers as the hub does where it is asked."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import flask
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from werkzeug.serving import make_server

import curate
from curate.errors import RunError, SpecError
from curate.execution.publish import push


class Hub:
    """Repositories in memory: name -> (private, files)."""

    def __init__(self) -> None:
        self.private: dict[str, bool] = {}
        self.files: dict[str, dict[str, bytes]] = {}
        self.app = flask.Flask("hub", static_folder=None)
        self.app.post("/api/repos/create")(self.create)
        self.app.post("/api/validate-yaml")(lambda: {"errors": [], "warnings": []})
        self.app.post("/api/datasets/<owner>/<name>/preupload/main")(self.preupload)
        self.app.post("/api/datasets/<owner>/<name>/commit/main")(self.commit)
        self.app.get("/api/datasets/<owner>/<name>/tree/main")(self.tree)
        self.address = ""

    def create(self) -> Any:
        if flask.request.headers.get("Authorization") != "Bearer hf_right":
            return {"error": "Invalid username or password."}, 401
        asked = flask.request.get_json()
        name = asked["organization"] + "/" + asked["name"] if asked.get("organization") else asked["name"]
        self.private.setdefault(name, asked.get("private", asked.get("visibility") == "private"))
        return {"url": f"{self.address}/datasets/{name}", "name": name}

    def tree(self, owner: str, name: str) -> Any:
        found = self.files.get(f"{owner}/{name}", {})
        return [{"type": "file", "path": path, "size": len(content), "oid": "0"} for path, content in found.items()]

    def preupload(self, owner: str, name: str) -> Any:
        found = flask.request.get_json()["files"]
        return {"files": [{"path": one["path"], "uploadMode": "regular", "shouldIgnore": False} for one in found]}

    def commit(self, owner: str, name: str) -> Any:
        files = self.files.setdefault(f"{owner}/{name}", {})
        for line in flask.request.get_data().splitlines():
            entry = json.loads(line)
            if entry["key"] == "deletedFile":
                del files[entry["value"]["path"]]
            if entry["key"] == "file":
                files[entry["value"]["path"]] = base64.b64decode(entry["value"]["content"])
        return {"commitUrl": f"{self.address}/datasets/{owner}/{name}/commit/abc", "commitOid": "abc", "success": True}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    made = Hub()
    server = make_server("127.0.0.1", 0, made.app, threaded=True)
    made.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setattr("huggingface_hub.utils._headers.get_token", lambda: "hf_right")
    yield made
    server.shutdown()
    thread.join()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("push")
    rows = {"id": ["a", "b"], "text": ["The tide and the crabs have to wait with us. " * 20, "short"]}
    pq.write_table(pa.table(rows), folder / "in.parquet")
    pipeline = {"source": {"parquet": {"paths": "in.parquet"}}, "stages": [{"gopher_quality": {}}], "keep_steps": "all"}
    (folder / "run.yaml").write_text(yaml.safe_dump(pipeline))
    curate.run(str(folder / "run.yaml"), out=str(folder / "out"), inline=True)
    return folder / "out"


def test_the_card_the_data_and_the_recipe_go_up_and_nothing_else(run: Path, hub: Hub) -> None:
    assert push(str(run), "me/tides", endpoint=hub.address).endswith("/datasets/me/tides/commit/abc")
    files = hub.files["me/tides"]
    data = sorted(f"data/{path.name}" for path in (run / "data").glob("*.parquet"))
    assert sorted(files) == sorted(["README.md", "manifest.json", "recipe.yaml", *data])
    assert files[data[0]] == (run / data[0]).read_bytes()
    assert hub.private == {"me/tides": True}
    (run / "data" / "part-00000.parquet").rename(run / "data" / "part-00009.parquet")
    push(str(run), "me/tides", endpoint=hub.address)
    (run / "data" / "part-00009.parquet").rename(run / "data" / "part-00000.parquet")
    assert [name for name in hub.files["me/tides"] if name.startswith("data/")] == ["data/part-00009.parquet"]


def test_verdicts_go_up_on_request(run: Path, hub: Hub) -> None:
    push(str(run), "me/open", public=True, verdicts=True, endpoint=hub.address)
    assert any(name.startswith("dropped/") for name in hub.files["me/open"])
    assert hub.private["me/open"] is False


def test_what_cannot_be_pushed_is_refused(run: Path, hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SpecError, match="holds no run"):
        push(str(tmp_path), "me/tides", endpoint=hub.address)
    with pytest.raises(SpecError, match="is a URL"):
        push("s3://bucket/out", "me/tides", endpoint=hub.address)
    with pytest.raises(SpecError, match="is no name of a repository"):
        push(str(run), "me/tides/again", endpoint=hub.address)
    monkeypatch.setattr("huggingface_hub.utils._headers.get_token", lambda: "hf_wrong")
    with pytest.raises(RunError, match=r"(?s)'me/tides' was not uploaded: .*401.*hf auth login"):
        push(str(run), "me/tides", endpoint=hub.address)
    with pytest.raises(RunError, match="'me/tides' was not uploaded"):
        push(str(run), "me/tides", endpoint="http://127.0.0.1:9")
    assert hub.files == {}
