"""Reads web archives: members (gzip members, zstandard frames, plain records) and the records in them.

Whether a member begins at a byte depends on the bytes there only, never on what was read before, and a member is decompressed
in steps counted from its own first byte. So readers that enter a file at different points see the same members, the
same errors and the same bytes before an error. The one thing that can mislead an entry is an archive stored, neither
compressed nor encrypted, inside a record of another: such a reading begins off the joint to the piece before.
"""

from __future__ import annotations

import io
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Literal, Protocol

import zstandard
from warcio.statusandheaders import StatusAndHeaders, StatusAndHeadersParser

State = Literal["record", "other", "end"]

_BLANK = b" \t\r\n"
_WARC = rb"WARC/[01]\.\d{1,2}[ \t\r]*\n[A-Za-z][\w-]{0,63}[ \t]*:"
# URL, address, date, then type (and in version 2 five more fields), length.
_ARC = rb"([A-Za-z][\w+.-]{1,20}:[^\r\n]{0,8000}) ([\w.:-]{1,64}) (\d{8,17}|-|null) ([^\r\n]{1,300}) (\d{1,15})\r?\n"
_WARC_RECORD = re.compile(_WARC)
_ARC_RECORD = re.compile(_ARC)
_ARC_BYTES = 8500  # more than _ARC can match

# Magic, deflate, and flags without a header CRC, which nobody writes (RFC 1952).
_GZIP = rb"\x1f\x8b\x08[\x00\x01\x04\x05\x08\x09\x0c\x0d\x10\x11\x14\x15\x18\x19\x1c\x1d]"
_STARTS = {"gzip": _GZIP, "zstd": rb"\x28\xb5\x2f\xfd", "warc": _WARC, "arc": b"(?m:^)" + _ARC}
_MAGIC = (b"\x1f\x8b\x08", b"\x28\xb5\x2f", b"WAR")
_START = {kind: re.compile(b"(?P<%s>%s)" % (kind.encode(), pattern)) for kind, pattern in _STARTS.items()}
_ANY_START = re.compile(b"|".join(pattern.pattern for pattern in _START.values()))
_NEXT_RECORD = re.compile(rb"\n(?:%s|%s)" % (_WARC, _ARC))
_NEXT_WARC = re.compile(rb"\n" + _WARC)
_SKIPPABLE = re.compile(rb"[\x50-\x5f]\x2a\x4d\x18")
_MAX_GZIP_HEADER_BYTES = 2**12
"""Names of files and extra fields are short. A name of megabytes may hold any number of what look like members."""
_DICTIONARY = b"\x5d\x2a\x4d\x18"  # https://iipc.github.io/warc-specifications/specifications/warc-zstd/
_MAX_DICTIONARY_BYTES = 64 * 2**20

_BLANK_LINE = re.compile(rb"\n[ \t\r]*\n")
_WORD = re.compile(r"[a-z][a-z0-9_-]{0,31}")
_HEADERS = StatusAndHeadersParser([], verify=False)
_MAX_HEADER_BYTES = 2**20

_WINDOW = 2**20
_OVERLAP = 2**14
GZIP_STEP = 2**15
# One block of zstandard takes 4 bytes and gives 128 KiB at most: 512 bytes never become more than 16 MiB at once.
ZSTD_STEP = 512
# Bytes that may go in before the first comes out, more than a block of zstandard: what looks like a member by chance
# may have a header without end.
_MAX_SILENT_BYTES = 2**18


class Broken(Exception):
    """The file is not what it should be; `cut` when that is because it ends too early."""

    def __init__(self, detail: str, *, cut: bool = False) -> None:
        super().__init__(detail)
        self.cut = cut


class Tape:
    """Random access to a file through one window of it in memory."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.size = file.seek(0, 2)
        self._start = 0
        self._data = b""

    def view(self, offset: int, size: int) -> memoryview:
        """`size` bytes, fewer only at the end of the file."""
        end = max(min(offset + size, self.size), offset)
        if offset < self._start or end > self._start + len(self._data):
            self._load(offset, max(end - offset, _WINDOW))
        return memoryview(self._data)[offset - self._start : end - self._start]

    def _load(self, offset: int, size: int) -> None:
        kept = self._data[offset - self._start :] if offset >= self._start else b""
        self._file.seek(offset + len(kept))
        self._data = kept + self._file.read(size - len(kept))
        self._start = offset

    def skip_blank(self, offset: int) -> int:
        """The next byte that is not blank, or the end of the file."""
        while offset < self.size:
            head = bytes(self.view(offset, 4096))
            if text := head.lstrip(_BLANK):
                return offset + len(head) - len(text)
            offset += len(head)
        return offset


class Stream:
    """Decompressed bytes from the start of a member on."""

    problem: Broken | None = None
    """Why there is nothing more to read, where the stream does not end as it should."""

    def peek(self, size: int) -> bytes:
        """`size` bytes, fewer where the stream ends. Raises Broken when there is a problem before the first one."""
        raise NotImplementedError

    def take(self, size: int) -> bytes:
        """The same, and move on."""
        raise NotImplementedError

    def skip(self, size: int) -> int:
        """Move on; the number of bytes that were there."""
        raise NotImplementedError

    def advance(self) -> State:
        """Skip blanks; what comes next."""
        size = 128
        while head := self.peek(size):
            blank = len(head) - len(head.lstrip(_BLANK))
            self.skip(blank)
            if blank < len(head):
                return "record" if self._at_record() else "other"
            size = min(2 * size, _WINDOW)
        return "end"

    def _at_record(self) -> bool:
        if _WARC_RECORD.match(head := self.peek(128)):
            return True
        return b":" in head[:22] and _ARC_RECORD.match(self.peek(_ARC_BYTES)) is not None


class PlainStream(Stream):
    """An uncompressed file from a given byte on."""

    def __init__(self, tape: Tape, offset: int) -> None:
        self._tape = tape
        self.position = offset

    def peek(self, size: int) -> bytes:
        return bytes(self._tape.view(self.position, size))

    def take(self, size: int) -> bytes:
        data = self.peek(size)
        self.position += len(data)
        return data

    def skip(self, size: int) -> int:
        moved = min(size, self._tape.size - self.position)
        self.position += moved
        return moved

    def _at_record(self) -> bool:
        """A WARC record begins a line, as it must for those who enter the file; ARC records may follow upon each other."""
        line_start = self.position == 0 or self._tape.view(self.position - 1, 1)[0] == 0x0A
        return (line_start or self.peek(5) != b"WARC/") and super()._at_record()


class Decompressor(Protocol):
    """The interface of zlib's decompression objects."""

    @property
    def eof(self) -> bool: ...
    @property
    def unconsumed_tail(self) -> bytes: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes | memoryview, max_length: int, /) -> bytes: ...


class Frame:
    """A zstandard frame behind zlib's interface, except that it gives all it has."""

    unconsumed_tail = b""

    def __init__(self, dictionary: zstandard.ZstdCompressionDict | None = None) -> None:
        self._frame = zstandard.ZstdDecompressor(dictionary).decompressobj()

    def decompress(self, data: bytes | memoryview, max_length: int, /) -> bytes:
        try:
            return self._frame.decompress(data)
        except zstandard.ZstdError as error:
            raise zlib.error(str(error)) from error

    @property
    def eof(self) -> bool:
        return self._frame.eof

    @property
    def unused_data(self) -> bytes:
        return self._frame.unused_data


class MemberStream(Stream):
    """One compressed member; `end` is the byte after it, once it is known."""

    end: int | None = None

    def __init__(self, tape: Tape, offset: int, decompressor: Decompressor, step: int = GZIP_STEP) -> None:
        self._tape = tape
        self._offset = self._fed = offset
        self._decompressor = decompressor
        self._step = step
        self._rest = b""
        self._silent = True
        self._buffer = bytearray()

    @property
    def consumed(self) -> int:
        """Compressed bytes taken in so far."""
        return self._fed - len(self._rest) - len(self._decompressor.unused_data) - self._offset

    def peek(self, size: int) -> bytes:
        while len(self._buffer) < size and self.end is None and not self.problem:
            # Never more than is asked for: an error further on must not cost the bytes before it.
            self._decompress(size - len(self._buffer))
        if self.problem and not self._buffer and size:
            raise self.problem
        return bytes(self._buffer[:size])

    def take(self, size: int) -> bytes:
        data = self.peek(size)
        del self._buffer[: len(data)]
        return data

    def skip(self, size: int) -> int:
        left = size
        while left and (data := self.take(min(left, 2**18))):
            left -= len(data)
        return size - left

    def resync(self) -> State:
        """Skip to the next record in this member."""
        self.skip(1)
        while head := self.peek(2 * _OVERLAP):
            if match := _NEXT_RECORD.search(head):
                self.skip(match.start() + 1)
                return "record"
            self.skip(_OVERLAP)
        return "end"

    def _decompress(self, wanted: int) -> None:
        data: bytes | memoryview = self._rest
        if not data:
            data = self._tape.view(self._fed, self._step)
            self._fed += len(data)
        try:
            out = self._decompressor.decompress(data, wanted)
        except zlib.error as error:
            self.problem = Broken(str(error))
            return
        # At the end zlib leaves what follows the member there too.
        self._rest = b"" if self._decompressor.eof else self._decompressor.unconsumed_tail
        self._buffer += out
        self._silent = self._silent and not out
        if self._decompressor.eof:
            self.end = self._fed - len(self._decompressor.unused_data)
        elif self._silent and self.consumed > _MAX_SILENT_BYTES:
            self.problem = Broken(f"nothing in {_MAX_SILENT_BYTES} compressed bytes")
        elif not data and not out:
            self.problem = Broken("the file ends inside compressed data", cut=True)


class Archive:
    """A file of members. Its format follows from its first bytes or, where they are damaged, from the first intact member."""

    def __init__(self, file: BinaryIO) -> None:
        self._tape = Tape(file)
        self.size = self._tape.size
        self._dictionary: zstandard.ZstdCompressionDict | None = None
        self.kind = self._find_kind()
        self._dictionary = self._load_dictionary() if self.kind == "zstd" else None

    def open(self, offset: int, kind: str | None = None) -> PlainStream | MemberStream:
        kind = kind or self.kind
        if kind == "gzip":
            return MemberStream(self._tape, offset, zlib.decompressobj(31))
        if kind == "zstd":
            return MemberStream(self._tape, offset, Frame(self._dictionary), ZSTD_STEP)
        return PlainStream(self._tape, offset)

    def enter(self, offset: int, kind: str | None = None) -> tuple[PlainStream | MemberStream, State]:
        """A stream from `offset` on and what it begins with."""
        stream = self.open(offset, kind)
        kind, head = kind or self.kind, self._tape.view(offset, _OVERLAP)
        if not _START[kind].match(head) or (kind == "gzip" and not _has_short_header(head)):
            return stream, "other"
        try:
            return stream, stream.advance()
        except Broken:
            return stream, "other"

    def find(self, start: int, stop: int | None = None) -> int | None:
        """Offset of the first member that begins with a record, in start <= offset < stop. None if there is none."""
        return next((offset for offset, _ in self._scan(_START[self.kind], start, stop)), None)

    def skip_filler(self, offset: int) -> int:
        """The next byte that is neither blank nor of a skippable zstandard frame, or the end of the file."""
        offset = self._tape.skip_blank(offset)
        while self.kind == "zstd" and _SKIPPABLE.match(head := bytes(self._tape.view(offset, 8))):
            end = offset + 8 + int.from_bytes(head[4:], "little")
            if len(head) < 8 or end > self.size:
                break
            offset = self._tape.skip_blank(end)
        return offset

    def head(self, offset: int) -> bytes:
        """The first bytes at `offset`, to show in a message."""
        return bytes(self._tape.view(offset, 24))

    def is_cut(self, offset: int, stream: Stream) -> bool:
        """Whether what is no record may be the beginning of one, where the file ends."""
        if stream.problem:
            return stream.problem.cut
        head = bytes(self._tape.view(offset, 128))
        if len(head) < 5:
            return any(magic.startswith(head[:3]) for magic in _MAGIC)
        return len(head) < 128 and head.startswith(b"WARC/") and not _BLANK_LINE.search(head)

    def has_small_members(self, limit: int) -> bool:
        """Whether it can be entered in the middle: no dictionary, and the first member neither huge nor all there is."""
        if self.kind in ("warc", "arc"):
            return self.kind == "warc"
        stream, state = self.enter(self.skip_filler(0))
        if self._dictionary is not None or state != "record" or not isinstance(stream, MemberStream):
            return False
        try:
            while stream.consumed <= limit and stream.take(2**18):
                pass
        except Broken:
            return False
        return stream.consumed <= limit and stream.end is not None and stream.end < self.size

    def _find_kind(self) -> str:
        offset = self._tape.skip_blank(0)
        head = self._tape.view(offset, _OVERLAP)
        if _SKIPPABLE.match(head):
            return "zstd"
        if (match := _ANY_START.match(head)) and match.lastgroup:
            return match.lastgroup
        return next((kind for _, kind in self._scan(_ANY_START, offset, None)), "warc")

    def _scan(self, pattern: re.Pattern[bytes], start: int, stop: int | None) -> Iterator[tuple[int, str]]:
        """(offset, kind) of the members that begin with a record in start <= offset < stop."""
        stop = self.size if stop is None else min(stop, self.size)
        while start < stop:
            lead = 1 if start else 0  # a line begins after a line end: the byte before has to be seen
            window = self._tape.view(start - lead, _WINDOW + _OVERLAP)
            size = min(stop - start, _WINDOW)
            for match in pattern.finditer(window, lead):
                offset, kind = start + match.start() - lead, str(match.lastgroup)
                if offset >= start + size:
                    break
                if self.enter(offset, kind)[1] == "record":
                    yield offset, kind
            start += size

    def _load_dictionary(self) -> zstandard.ZstdCompressionDict | None:
        """The Internet Archive puts the dictionary of all frames into a skippable frame before the first, compressed or not."""
        head = bytes(self._tape.view(0, 8))
        if not head.startswith(_DICTIONARY):
            return None
        data = bytes(self._tape.view(8, min(int.from_bytes(head[4:], "little"), _MAX_DICTIONARY_BYTES)))
        try:
            if data.startswith(zstandard.FRAME_HEADER):
                data = MemberStream(self._tape, 8, Frame(), ZSTD_STEP).take(_MAX_DICTIONARY_BYTES)
            dictionary = zstandard.ZstdCompressionDict(data)
            Frame(dictionary)
        except (Broken, zstandard.ZstdError):
            return None  # no frame can be read without it then, which is what the drop reason will say
        return dictionary


@dataclass(frozen=True)
class Record:
    """Fields of a record's header."""

    kind: str
    """WARC-Type; empty where it is missing."""
    id: str | None
    url: str | None
    date: str
    length: int | None
    """Content-Length; None where it is missing or no number."""
    content_type: str | None
    truncated: bool
    """The crawler has stored a part and says so."""


class Body:
    """The block of a record: the next `left` bytes of a stream. Raises Broken when it ends before."""

    def __init__(self, stream: Stream, left: int) -> None:
        self._stream = stream
        self.left = left

    @property
    def problem(self) -> Broken | None:
        return self._stream.problem

    def peek(self, size: int) -> bytes:
        return self._stream.peek(min(size, self.left))

    def take(self, size: int) -> bytes:
        wanted = min(size, self.left)
        data = self._stream.take(wanted)
        self._moved(len(data), wanted)
        return data

    def skip(self) -> None:
        self._moved(self._stream.skip(self.left), self.left)

    def _moved(self, size: int, wanted: int) -> None:
        self.left -= size
        if size < wanted:
            raise self.problem or Broken(f"ends {self.left} bytes before its Content-Length", cut=True)

    def read_http_header(self) -> StatusAndHeaders:
        """Status line and headers; without an end to them the body is all header."""
        return _HEADERS.parse(io.BytesIO(self.take(len(_header_block(self, self.left)))))


def read_record_header(stream: Stream) -> Record:
    """The header a stream is at. The stream moves behind it, unless it is broken or does not give a length."""
    if stream.peek(5) != b"WARC/" and (match := _ARC_RECORD.match(stream.peek(_ARC_BYTES))):
        stream.skip(match.end())
        return _arc_record(*(field.decode("utf-8", "replace") for field in match.groups()))
    block = _header_block(stream)
    headers = {name.lower(): value.strip() for name, value in reversed(_HEADERS.parse(io.BytesIO(block)).headers)}
    has_length = re.fullmatch(r"[0-9]{1,15}", headers.get("content-length", ""))
    if has_length:
        stream.skip(len(block))
    return Record(
        kind=as_word(headers["warc-type"]) if headers.get("warc-type") else "",
        id=_bare(headers.get("warc-record-id")),
        url=_bare(headers.get("warc-target-uri")),
        date=headers.get("warc-date", ""),
        length=int(has_length[0]) if has_length else None,
        content_type=headers.get("content-type"),
        truncated="warc-truncated" in headers,
    )


def _has_short_header(member: memoryview) -> bool:
    """Whether a gzip member's header (RFC 1952, 2.3) ends within _MAX_GZIP_HEADER_BYTES, or the file ends inside it."""
    head = bytes(member[:_MAX_GZIP_HEADER_BYTES])
    flags, at = head[3], 10
    if flags & 4:  # an extra field, its length before it
        at += 2 + int.from_bytes(head[10:12], "little")
    for flag in (8, 16):  # name and comment, each ended by a zero
        if flags & flag:
            zero = head.find(b"\0", at)
            at = len(head) + 1 if zero < 0 else zero + 1
    return at <= len(head) or len(head) < _MAX_GZIP_HEADER_BYTES


def _arc_record(url: str, address: str, date: str, fields: str, length: str) -> Record:
    kind = "warcinfo" if url.startswith("filedesc:") else "response"
    return Record(kind, None, url, f"{date[:8]}T{date[8:14]}Z", int(length), fields.split(" ")[0], False)


def _header_block(source: Stream | Body, most: int | None = None) -> bytes:
    """All to the first blank line, that included; all of it where `most` bytes have none. A record's header holds no record."""
    size = 512
    while size <= _MAX_HEADER_BYTES:
        head = source.peek(size)
        match = _BLANK_LINE.search(head)
        if isinstance(source, Stream) and _NEXT_WARC.search(head, 0, match.start() if match else len(head)):
            raise Broken("the next record begins inside its header")
        if match:
            return head[: match.end()]
        if len(head) == most:
            return head
        if len(head) < size:
            raise source.problem or Broken("ends inside its header", cut=True)
        size *= 2
    raise Broken(f"a header of more than {_MAX_HEADER_BYTES} bytes")


def as_word(value: str) -> str:
    """A type or scheme to count under, however strange."""
    return value.lower() if _WORD.fullmatch(value.lower()) else "other"


def _bare(value: str | None) -> str | None:
    """An identifier without the brackets around it."""
    return (value or "").strip().removeprefix("<").removesuffix(">") or None
