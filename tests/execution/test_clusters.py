"""Object stores and clusters, as far as one machine can stand in for them: a local S3 server, a local Ray cluster."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

import curate
from curate.errors import DriftError
from tests.conftest import WritePipeline, contents, rows

PIPELINE = """
name: far
source: {{parquet: {{paths: '{source}/*.parquet'}}}}
stages:
  - url_filter: {{words: ['{words}']}}
  - keep: {{column: count, min: 1}}
  - select: {{column: score, top: 0.5}}
  - minhash: {{ngram: 4}}
  - bloom_dedup: {{ngram: 4, min_ngram: 2}}
output: {{rows_per_file: 40, columns: [id, text, score]}}
"""


@pytest.fixture
def words(tmp_path: Path) -> Path:
    path = tmp_path / "words.txt"
    path.write_text("casino\n7\n")
    return path


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A bucket on a server of our own, on loopback."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in (
        ("AWS_ENDPOINT_URL", f"http://{host}:{port}"),
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "test"),
        ("AWS_DEFAULT_REGION", "us-east-1"),
    ):
        monkeypatch.setenv(name, value)
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()
    name = f"corpus-{uuid.uuid4().hex[:8]}"
    s3fs.S3FileSystem().mkdir(name)
    yield f"s3://{name}"
    server.stop()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("engine", ["inline", "ray"])
def test_a_run_from_and_to_an_object_store_gives_the_bytes_of_a_local_one(
    bucket: str, corpus: Path, words: Path, write_pipeline: WritePipeline, tmp_path: Path, engine: str
) -> None:
    import s3fs

    fs = s3fs.S3FileSystem()
    fs.put(str(corpus) + "/", f"{bucket}/in/", recursive=True)
    local = write_pipeline(PIPELINE.format(source=corpus, words=words), "local.yaml")
    far = write_pipeline(PIPELINE.format(source=f"{bucket}/in", words=words), "far.yaml")
    curate.run(str(local), out=str(tmp_path / "local"), inline=True)
    options = {"inline": True} if engine == "inline" else {"workers": 1}
    summary = curate.run(str(far), out=f"{bucket}/out", **options)
    assert summary.documents_in == 300
    fs.get(f"{bucket}/out/", str(tmp_path / "far") + "/", recursive=True)
    assert {row["reason"] for row in rows(tmp_path / "far", "dropped")} > {"near_duplicate", "known_document"}
    assert [row["id"] for row in rows(tmp_path / "far")] == [row["id"] for row in rows(tmp_path / "local")]
    assert contents(tmp_path / "far", ("data",)) == contents(tmp_path / "local", ("data",))
    assert curate.run(str(far), out=f"{bucket}/out", **options).already_done


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.filterwarnings("ignore")
def test_a_cluster_of_two_nodes_gives_the_bytes_of_an_inline_run(
    corpus: Path, words: Path, write_pipeline: WritePipeline, tmp_path: Path
) -> None:
    """Lists travel with the job: workers read their copy, not the original, which is gone when they start."""
    path = write_pipeline(PIPELINE.format(source=corpus, words=words))
    curate.run(str(path), out=str(tmp_path / "inline"), inline=True)
    code = """
import sys
import uuid
from ray.cluster_utils import Cluster
from curate.execution import runner, ship_assets
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
cluster.add_node(num_cpus=1)
pack = ship_assets.pack
def pack_and_forget(plan, folder):
    places = pack(plan, folder)
    assert sys.argv[3] in places
    import os
    os.rename(sys.argv[3], sys.argv[3] + ".away")
    return places
ship_assets.pack = pack_and_forget
runner.run_file(sys.argv[1], out=sys.argv[2], ray=cluster.address)
"""
    environment = {**os.environ, "RAY_AUTH_MODE": "disabled"}
    command = [sys.executable, "-c", code, str(path), str(tmp_path / "cluster"), str(words)]
    result = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
    assert result.returncode == 0, result.stderr
    assert not words.exists()
    assert contents(tmp_path / "cluster") == contents(tmp_path / "inline")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_json_lines_and_lists_are_read_from_an_object_store(bucket: str, write_pipeline: WritePipeline, tmp_path: Path) -> None:
    import s3fs

    fs = s3fs.S3FileSystem()
    lines = [f'{{"id": "d{n}", "text": "text {n}", "url": "https://site-{n % 2}.example/"}}' for n in range(50)]
    fs.pipe(f"{bucket}/in/a.jsonl", "\n".join(lines).encode())
    fs.pipe(f"{bucket}/lists/domains.txt", b"site-1.example\n")
    text = f"source: {{jsonl: {{paths: '{bucket}/in/*.jsonl', split_bytes: 1024}}}}\n"
    stages = f"stages: [{{url_filter: {{domains: ['{bucket}/lists/domains.txt']}}}}]\n"
    curate.run(str(write_pipeline(text + stages)), out=str(tmp_path / "out"), inline=True)
    assert [row["id"] for row in rows(tmp_path / "out")] == [f"d{n}" for n in range(0, 50, 2)]
    fs.pipe(f"{bucket}/lists/domains.txt", b"site-0.example\n")
    with pytest.raises(DriftError, match="has other content"):
        curate.run(str(write_pipeline(text + stages)), out=str(tmp_path / "out"), inline=True)
