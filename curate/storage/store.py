"""Where runs live. The only module that knows paths: local folders and any fsspec URL (s3://, gs://, hf://, memory://).

Whole or absent: a file is written beside its final name and renamed (local), or uploaded in one request (object
stores), and the file that means "done" is written last, by the caller. Attempts never share a temporary name.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import json
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

import fsspec
from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

from curate.errors import SpecError, TransientError

TEMPORARY = ".tmp"
INDEX = "dedup-index.json"
_FOOTER_BYTES = 64 * 2**10
_PASSING = {
    errno.EIO, errno.EAGAIN, errno.ECONNRESET, errno.ETIMEDOUT, errno.EPIPE, errno.ENETUNREACH, errno.EHOSTUNREACH,
    errno.ECONNREFUSED, errno.ECONNABORTED, errno.ENETDOWN, errno.EINTR, errno.ESTALE,
}  # fmt: skip


@contextlib.contextmanager
def passing_faults(what: str) -> Iterator[None]:
    """Turn faults of network and storage that may pass into TransientError, which the engine retries."""
    try:
        yield
    except (ConnectionError, TimeoutError) as error:
        raise TransientError(f"{what}: {error}") from error
    except OSError as error:
        if error.errno in _PASSING:
            raise TransientError(f"{what}: {error}") from error
        raise


@dataclass(frozen=True)
class InputFile:
    """One input file: its URL, the name it has below the common folder of its listing, and what identifies its bytes."""

    url: str
    name: str
    size: int
    tag: str


def is_url(path: str) -> bool:
    return "://" in path


def file_system(url: str) -> tuple[fsspec.AbstractFileSystem, str]:
    """The file system of a path or URL, and the path on it. Raises SpecError for a URL nothing here can open."""
    try:
        fs, path = url_to_fs(url)
    except (ImportError, ValueError) as error:
        raise SpecError(f"{url!r}: {error}. Stores need their package: pip install 'curate-data[s3]', or [gcs]") from error
    return fs, str(path)


def open_file(url: str) -> BinaryIO:
    """Open for reading; seekable wherever the file system allows."""
    fs, path = file_system(url)
    file: BinaryIO = fs.open(path, "rb")
    return file


@contextlib.contextmanager
def open_decompressed(url: str) -> Iterator[BinaryIO]:
    """Open for reading, decompressed by the file's ending: .gz, .zst, .bz2, .xz, or as it is.

    Memory does not grow with what a byte unpacks to. Reading a damaged or cut file raises OSError, EOFError or zlib.error.
    """
    if url.endswith(".zst"):
        import pyarrow as pa

        # Arrow's reader bounds what it unpacks at once and tells of a cut frame; zstandard's own does one or the other.
        with open_file(url) as raw, pa.CompressedInputStream(raw, "zstd") as file:
            yield io.BufferedReader(file, 2**20)
        return
    with fsspec.open(url, "rb", compression="infer") as file:
        # Files of object stores have no readline() that takes a size.
        yield io.BufferedReader(file)


def read_lines(url: str) -> Iterator[str]:
    """Lines of a UTF-8 text file without line ends, blanks or `#` comments."""
    with open_decompressed(url) as file, io.TextIOWrapper(file, encoding="utf-8") as lines:
        try:
            for line in lines:
                if line.strip() and not line.startswith("#"):
                    yield line.strip()
        except UnicodeDecodeError as error:
            raise SpecError(f"{url!r} is no UTF-8 text: {error}. Convert it.") from error


def expand(pattern: str) -> list[str]:
    """The files a path, folder or glob stands for, as URLs, sorted. Empty when nothing matches.

    Raises SpecError when the store cannot be listed: no network, no credentials, no such bucket.
    """
    fs, path = file_system(pattern)
    try:
        paths = [path] if fs.isfile(path) else fs.find(path) if fs.isdir(path) else fs.glob(path)
    except Exception as error:  # every object store has its own tree of errors
        raise SpecError(
            f"{pattern!r} cannot be listed: {type(error).__name__}: {error}. Check network and credentials "
            "(for S3: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile)."
        ) from error
    files = sorted(p for p in paths if not fs.isdir(p) and not os.path.basename(p).startswith((".", "_")))
    return [p if isinstance(fs, LocalFileSystem) else str(fs.unstrip_protocol(p)) for p in files]


def describe(urls: Iterable[str]) -> list[InputFile]:
    """Name, size and etag (or a hash of the last 64 KiB) of every file: what a rerun compares. Never the mtime."""
    listed = list(urls)
    common = _common_folder(listed)
    with ThreadPoolExecutor(32) as pool:
        return list(pool.map(lambda url: _describe(url, os.path.relpath(url, common) if common else url), listed))


def _common_folder(urls: Sequence[str]) -> str:
    """The folder above all of them; empty where there is none (local files and a bucket, two buckets)."""
    try:
        return os.path.commonpath([os.path.dirname(url) for url in urls])
    except ValueError:
        return ""


def _describe(url: str, name: str) -> InputFile:
    fs, path = file_system(url)
    with passing_faults(url):
        info = fs.info(path)
        size = int(info["size"])
        tag = info.get("ETag") or info.get("etag") or _tail_hash(fs, path, size)
    return InputFile(url, name, size, str(tag).strip('"'))


def _tail_hash(fs: fsspec.AbstractFileSystem, path: str, size: int) -> str:
    with fs.open(path, "rb") as file:
        file.seek(max(0, size - _FOOTER_BYTES))
        return hashlib.sha256(file.read()).hexdigest()[:32]


def hash_asset(path: str) -> str:
    """sha256 over the files of a model folder (names and contents), or over one file; for a URL, over name, size, etag.

    An index for deduplication is what its `dedup-index.json` says, which names the hashes of the other files.
    """
    if is_index(path):
        path = f"{path.rstrip('/')}/{INDEX}"
    if is_url(path):
        listing = [[found.name, found.size, found.tag] for found in describe(expand(path))]
        return hashlib.sha256(json.dumps(listing).encode()).hexdigest()
    digest = hashlib.sha256()
    root = Path(path)
    for file in [root] if root.is_file() else sorted(p for p in root.rglob("*") if p.is_file()):
        digest.update(str(file.relative_to(root)).encode() + b"\0")
        digest.update(file_hash(str(file)).encode())
    return digest.hexdigest()


def is_index(path: str) -> bool:
    """Whether a folder is an index for deduplication."""
    fs, folder = file_system(path)
    return bool(fs.exists(f"{folder.rstrip('/')}/{INDEX}"))


def file_hash(path: str) -> str:
    """sha256 of a local file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Store:
    """One output directory. Paths given to methods are relative to it and use `/`."""

    def __init__(self, root: str) -> None:
        self.root = root if is_url(root) else os.path.abspath(root)

    @cached_property
    def _fs(self) -> fsspec.AbstractFileSystem:
        return file_system(self.root)[0]

    @cached_property
    def _base(self) -> str:
        return file_system(self.root)[1]

    def __reduce__(self) -> tuple[type[Store], tuple[str]]:
        return (Store, (self.root,))

    @property
    def is_local(self) -> bool:
        return isinstance(self._fs, LocalFileSystem)

    def path(self, name: str) -> str:
        """The path of `name` on the store's file system."""
        return f"{self._base.rstrip('/')}/{name}" if name else self._base

    def exists(self, name: str) -> bool:
        return bool(self._fs.exists(self.path(name)))

    def open(self, name: str) -> BinaryIO | str:
        """What pyarrow reads from: the path itself when local, else an open file."""
        if self.is_local:
            return self.path(name)
        with passing_faults(name):
            file: BinaryIO = self._fs.open(self.path(name), "rb")
        return file

    @contextlib.contextmanager
    def reading(self, name: str) -> Iterator[BinaryIO]:
        """An open file of which only what is asked for is fetched, for what is not Parquet."""
        with passing_faults(name), self._fs.open(self.path(name), "rb", cache_type="none") as file:
            yield file

    def read_text(self, name: str) -> str:
        with passing_faults(name), self._fs.open(self.path(name), "rb") as file:
            return str(file.read().decode())

    def read_json(self, name: str) -> Any:
        return json.loads(self.read_text(name))

    def write_text(self, name: str, text: str, *, flush: bool = True) -> None:
        with self.create(name, flush=flush) as path:
            Path(path).write_text(text, encoding="utf-8")

    def write_json(self, name: str, value: Any) -> None:
        self.write_text(name, json.dumps(value, indent=1, ensure_ascii=False) + "\n")

    @contextlib.contextmanager
    def create(self, name: str, *, flush: bool = True) -> Iterator[str]:
        """A local path to write to; the file appears under `name` when the block ends, whole, or not at all.

        Without `flush` it may be empty after a power failure.
        """
        final = self.path(name)
        if not self.is_local:
            with tempfile.TemporaryDirectory(prefix="curate-") as folder:
                path = os.path.join(folder, "part")
                yield path
                with passing_faults(name):
                    self._fs.put_file(path, final)
            return
        os.makedirs(os.path.dirname(final), exist_ok=True)
        path = f"{final}.{uuid.uuid4().hex[:8]}{TEMPORARY}"
        try:
            yield path
            if flush:
                _flush(path)
            os.replace(path, final)
        except BaseException:
            Path(path).unlink(missing_ok=True)
            raise

    def create_once(self, name: str, text: str) -> bool:
        """Create a small file unless it is there; False if it was. Atomic on local disks, best effort elsewhere."""
        if not self.is_local:
            fresh = not self.exists(name)
            if fresh:
                self.write_text(name, text)
            return fresh
        os.makedirs(self._base, exist_ok=True)
        path = f"{self.path(name)}.{uuid.uuid4().hex[:8]}{TEMPORARY}"
        Path(path).write_text(text, encoding="utf-8")
        try:
            os.link(path, self.path(name))  # unlike open("x"), never leaves an empty file behind
        except FileExistsError:
            return False
        finally:
            Path(path).unlink()
        return True

    def list(self, folder: str) -> list[str]:
        """Names of the files directly in `folder`, sorted; empty when there is no such folder."""
        try:
            entries = self._fs.ls(self.path(folder), detail=False, refresh=True)
        except FileNotFoundError:
            return []
        return sorted(os.path.basename(str(entry).rstrip("/")) for entry in entries)

    def delete(self, name: str) -> None:
        """Delete a file or a folder with all in it; nothing happens when it is not there."""
        if self.exists(name):
            self._fs.rm(self.path(name), recursive=True)

    def sweep(self) -> None:
        """Delete what writers that died left beside the files they meant to write."""
        if self.is_local and self.exists(""):
            for path in Path(self._base).rglob(f"*{TEMPORARY}"):
                path.unlink(missing_ok=True)

    def find(self, folder: str) -> Iterator[str]:
        """Names of all files in `folder` and below it."""
        start = len(self._base.rstrip("/")) + 1
        for path in self._fs.find(self.path(folder)):
            yield path[start:]

    def adopt(self, other: Store, names: Iterable[str]) -> None:
        """Copy files of another store, in the order given: as hard links where both are on one local disk."""
        for name in names:
            if self.is_local and other.is_local:
                _link(other.path(name), self.path(name))
            else:
                with self.create(name) as copy:
                    other._fs.get_file(other.path(name), copy)


def _flush(path: str) -> None:
    with open(path, "rb") as file:
        os.fsync(file.fileno())


def _link(source: str, target: str) -> None:
    os.makedirs(os.path.dirname(target), exist_ok=True)
    beside = f"{target}.{uuid.uuid4().hex[:8]}{TEMPORARY}"
    try:
        os.link(source, beside)
    except OSError:
        shutil.copyfile(source, beside)
    os.replace(beside, target)
