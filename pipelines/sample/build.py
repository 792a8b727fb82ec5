"""Packs the sample pages as a small WARC crawl with what real ones hold: odd charsets, broken markup, damaged records.

python pipelines/sample/build.py            write crawl-00000.warc.gz and crawl-00001.warc.gz
python pipelines/sample/build.py --check    exit 1 where the files on disk differ from a fresh build
"""

import argparse
import base64
import hashlib
import io
import random
import re
import sys
import uuid
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from urllib.parse import urlsplit

import yaml
from render import Page, document, made, made_up, paragraph, plain, printable
from warcio.statusandheaders import StatusAndHeaders
from warcio.warcwriter import WARCWriter

HERE = Path(__file__).resolve().parent
NAMES = ("crawl-00000.warc.gz", "crawl-00001.warc.gz")
PROSE = ("article", "docs", "recipe", "news", "qa")
AGENT = "curate-sample/1.0"
HTML = "text/html; charset={}"
PIXEL = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==")
PDF = b"%PDF-1.4\n1 0 obj<</Type/Catalog>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF\n"
STANDARD = "https://iipc.github.io/warc-specifications/specifications/warc-format/warc-1.1/"
REVISIT = "http://netpreserve.org/warc/1.1/revisit/identical-payload-digest"
GOOD_LAST, MALFORMED = 5, 6  # records in damaged_end()
ROBOTS = b"User-agent: *\nDisallow: /search\nDisallow: /login\n"


@dataclass(frozen=True)
class Response:
    """One HTTP response as the crawler stored it; `kind` is for the table of counts alone."""

    url: str
    kind: str
    date: str
    body: bytes
    content_type: str = HTML.format("utf-8")
    status: str = "200 OK"
    protocol: str = "HTTP/1.1"
    headers: tuple[tuple[str, str], ...] = ()

    @property
    def is_document(self) -> bool:
        text = re.match(r"text/(html|plain)|application/xhtml", self.content_type)
        return bool(text) and self.status.startswith("2") and not self.url.endswith("/robots.txt")


@dataclass(frozen=True)
class Treatment:
    """One thing that goes wrong with, or is unusual about, one page in the given language that holds `needs`."""

    name: str
    lang: str = "en"
    codec: str = "utf-8"
    header: str | None = "utf-8"
    meta: str | None = "utf-8"
    edit: Callable[[str], str] = str
    pack: Callable[[bytes], bytes] = bytes
    headers: tuple[tuple[str, str], ...] = ()
    content_type: str = "text/html"
    protocol: str = "HTTP/1.1"
    needs: str = ""


def compressed(body: bytes, wbits: int = 31) -> bytes:
    """Gzip with no time in it (31), zlib (15) or raw deflate (-15)."""
    squeezer = zlib.compressobj(9, zlib.DEFLATED, wbits)
    return squeezer.compress(body) + squeezer.flush()


def chunked(body: bytes, size: int = 1500) -> bytes:
    parts = [body[start : start + size] for start in range(0, len(body), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in [*parts, b""])


def unclosed(page: str) -> str:
    return re.sub(r"</(p|li|td|tr|ul|article|main)>", "", page)


def nested_tables(page: str) -> str:
    return page.replace("<p>", "<table><tr><td><table><tr><td><p>", 12)


def two_heads(page: str) -> str:
    head = re.search(r"(?is)<head>.*</head>", page)
    return page.replace(head[0], head[0] * 2, 1) if head else page


def overlapping(page: str) -> str:
    return re.sub(r"<p>([^<]+)</p>", r"<p><b><i>\1</b></p></i>", page)


def deep(page: str) -> str:
    start, end = "<div>" * 3000, "</div>" * 3000
    return re.sub(r"(?is)(<body[^>]*>)(.*)(</body>)", lambda m: m[1] + start + m[2] + end + m[3], page)


def open_comment(page: str) -> str:
    """A comment that begins halfway through the paragraphs and never ends."""
    parts = page.split("<p>")
    return "<p>".join(parts[: len(parts) // 2]) + "<!-- advert <p>" + "<p>".join(parts[len(parts) // 2 :])


def fragment(page: str) -> str:
    return re.sub(r"(?is).*<body[^>]*>|</body>.*", "", page)


def typeset(page: str) -> str:
    """Typographic apostrophes, so that English text depends on its charset too."""
    return re.sub(r"(?<=[a-z])'(?=[a-z])", "\u2019", page)


def mojibake(page: str) -> str:
    return typeset(page).encode().decode("cp1252", "replace")


def controls(page: str) -> str:
    return page.replace(". ", ".\x00 ", 4).replace(", ", "\x08, ", 3).replace("<p>", "<p>\x1b\x0c", 2)


def invalid_bytes(body: bytes) -> bytes:
    return body.replace(b". ", b". \xff\xfe\xc3 ", 3).replace(b", ", b"\xe2\x82, ", 3)


CHUNKED = (("Transfer-Encoding", "chunked"),)
GZIPPED = (("Content-Encoding", "gzip"), ("Vary", "Accept-Encoding"))
DEFLATED = (("Content-Encoding", "deflate"),)
TREATMENTS = (
    Treatment("iso-8859-1", "de", "iso-8859-1", "ISO-8859-1", "iso-8859-1"),
    Treatment("iso-8859-1, meta only", "fr", "iso-8859-1", None, "iso-8859-1"),
    Treatment("windows-1252", "es", "cp1252", "windows-1252", "windows-1252"),
    Treatment("windows-1252 declared latin-1", "en", "cp1252", "iso-8859-1", "iso-8859-1", typeset, needs="n't"),
    Treatment("iso-8859-2", "pl", "iso-8859-2", "iso-8859-2", "iso-8859-2"),
    Treatment("windows-1251", "ru", "cp1251", "windows-1251", "windows-1251"),
    Treatment("windows-1251, meta only", "ru", "cp1251", None, "windows-1251"),
    Treatment("gb18030, header only", "zh", "gb18030", "gb18030", None),
    Treatment("gbk, meta only", "zh", "gbk", None, "gbk"),
    Treatment("gbk, undeclared", "zh", "gbk", None, None),
    Treatment("shift_jis", "ja", "shift_jis", "Shift_JIS", "Shift_JIS"),
    Treatment("euc-jp, meta only", "ja", "euc_jp", None, "EUC-JP"),
    Treatment("utf-8 with BOM", "it", "utf-8-sig", None, None),
    Treatment("utf-16 with BOM", "de", "utf-16-le", None, None, edit=lambda page: "\ufeff" + page),
    Treatment("wrong header, right meta", "fr", header="iso-8859-1"),
    Treatment("wrong header, right meta", "ru", "cp1251", "utf-8", "windows-1251"),
    Treatment("mojibake", "es", edit=mojibake),
    Treatment("mojibake", "en", edit=mojibake, needs="n't"),
    Treatment("control characters", edit=controls),
    Treatment("invalid utf-8", pack=invalid_bytes),
    Treatment("unclosed tags", edit=unclosed),
    Treatment("nested tables", edit=nested_tables),
    Treatment("p in p", edit=lambda page: page.replace("<p>", "<p><p>")),
    Treatment("no body end", edit=lambda page: re.sub(r"(?i)</(body|html)>", "", page)),
    Treatment("two heads", edit=two_heads),
    Treatment("no quotes", edit=lambda page: re.sub(r'="([\w./:-]+)"', r"=\1", page)),
    Treatment("deep nesting", edit=deep),
    Treatment("fragment", edit=fragment),
    Treatment("overlapping tags", edit=overlapping),
    Treatment("open comment", edit=lambda page: re.sub(r"(?i)(</body>)", r"<!-- counter \1", page)),
    Treatment("open comment in text", edit=open_comment),
    Treatment("text/plain", content_type="text/plain"),
    Treatment("text/plain", "fr", content_type="text/plain"),
    Treatment("application/xhtml+xml", content_type="application/xhtml+xml"),
    Treatment("chunked", pack=chunked, headers=CHUNKED),
    Treatment("chunked", "de", pack=chunked, headers=CHUNKED),
    Treatment("gzip", pack=compressed, headers=GZIPPED),
    Treatment("gzip", "es", pack=compressed, headers=GZIPPED),
    Treatment("gzip, chunked", pack=lambda body: chunked(compressed(body)), headers=GZIPPED + CHUNKED),
    Treatment("deflate, zlib", pack=lambda body: compressed(body, 15), headers=DEFLATED),
    Treatment("deflate, raw", pack=lambda body: compressed(body, -15), headers=DEFLATED),
    Treatment("HTTP/1.0", protocol="HTTP/1.0"),
)
SPECIALS = {
    "empty": "",
    "empty-body": "<html><head><title>Untitled</title></head><body></body></html>",
    "script-only": "<script>setTimeout(function () { document.write(location.hash.slice(1)) }, 900);</script>",
    "frames": '<html><frameset cols="20%,80%"><frame src="menu.html"><frame src="main.html"></frameset></html>',
    "refresh": '<html><head><meta http-equiv="refresh" content="0; url=/home"></head><body>Please wait.</body></html>',
}


def fraction(text: str) -> float:
    """A number in [0, 1) that depends on the text alone."""
    return random.Random(text).random()


def load_pages(root: Path) -> list[Page]:
    """The written pages, in an order that mixes hosts and kinds."""
    pages, targets = [], set()
    for path in root.glob("*/*.html"):
        _, front, body = path.read_text("utf-8").split("---\n", 2)
        meta = yaml.safe_load(front)
        original = meta.get("near_duplicate_of")
        targets.add(Path(str(original)).stem)
        pages.append(
            Page(
                path.parent.name,
                path.stem,
                meta["kind"],
                meta["lang"],
                str(meta["title"]),
                str(meta["date"]),
                str(meta["author"]),
                body.strip(),
                paired=bool(original),
            )
        )
    pages = [replace(page, paired=True) if page.slug in targets else page for page in pages]
    return sorted(pages, key=lambda page: (fraction(page.url), page.url))


def assign(pages: Sequence[Page]) -> dict[str, Treatment]:
    """Which page gets which treatment, by URL; near-duplicates and their originals get none."""
    chosen: dict[str, Treatment] = {}
    pool = [page for page in pages if page.kind in PROSE and not page.paired]
    for treatment in TREATMENTS:
        page = next(
            (page for page in pool if page.lang == treatment.lang and page.url not in chosen and treatment.needs in page.body),
            None,
        )
        if page is None:
            raise SystemExit(f"no page left in {treatment.lang!r} for {treatment.name!r}")
        chosen[page.url] = treatment
    return chosen


def serve(page: Page, siblings: Sequence[Page], treatment: Treatment | None = None) -> Response:
    """The response for a page; without a treatment it is utf-8, declared in the header, in meta or in both."""
    if treatment is None:
        style = int(fraction("declared " + page.host) * 3)
        treatment = Treatment("", header="utf-8" if style != 1 else None, meta="utf-8" if style != 2 else None)
    others = [other for other in siblings if other.url != page.url and other.lang == page.lang]
    markup = treatment.edit(document(page, others, treatment.meta))
    if treatment.content_type == "text/plain":
        markup = f"{page.title}\n\n{plain(page.body)}\n"
    body = treatment.pack(markup.encode(treatment.codec, "xmlcharrefreplace"))
    content_type = treatment.content_type + (f"; charset={treatment.header}" if treatment.header else "")
    return Response(page.url, page.kind, page.date, body, content_type, "200 OK", treatment.protocol, treatment.headers)


def copies(pages: Sequence[Page], served: dict[str, Response]) -> Iterator[Response]:
    """Printer-friendly pages, mirrors under another host, and the same page under an address with tracking in it."""
    for page in pages[:12]:
        mark = "&" if "?" in page.url else "?"
        yield Response(f"{page.url}{mark}print=1", "print", page.date, printable(page).encode())
    for page in pages[12:18]:
        original = served[page.url]
        yield replace(original, url=original.url.replace("://", "://mirror."), kind="mirror")
    for page in pages[18:24]:
        mark = "&" if "?" in page.url else "?"
        yield replace(served[page.url], url=f"{page.url}{mark}utm_source=letter&PHPSESSID=0a1b2c3d4e", kind="tracking")


def others() -> Iterator[Response]:
    """Odd documents, and the responses that are no documents."""
    for name, markup in SPECIALS.items():
        yield Response(f"http://oddments.example/{name}", "odd", "2024-05-06", markup.encode(), "text/html")
    moved = b"<html><body><h1>Moved</h1><p>The document has moved.</p></body></html>"
    wrong = b"<html><body><h1>Error</h1><p>Something went wrong, sorry.</p></body></html>"
    for path, status, body, content_type, headers in (
        ("old", "301 Moved Permanently", moved, "text/html", (("Location", "https://oddments.example/new"),)),
        ("away", "302 Found", moved, "text/html", (("Location", "/login"),)),
        ("gone", "404 Not Found", wrong, "text/html", ()),
        ("lost/page.html", "404 Not Found", wrong, "text/html; charset=utf-8", ()),
        ("failing", "500 Internal Server Error", wrong, "text/html", ()),
        ("same", "304 Not Modified", b"", "text/html", (("ETag", '"5f3a"'),)),
        ("logo.png", "200 OK", PIXEL, "image/png", ()),
        ("leaflet.pdf", "200 OK", PDF, "application/pdf", ()),
        ("main.css", "200 OK", b"body { margin: 0 auto; max-width: 60em }\n", "text/css", ()),
        ("app.js", "200 OK", b"(function () { track('view') })();\n", "application/javascript", ()),
        ("api/items", "200 OK", b'{"items": [], "next": null}', "application/json", ()),
        ("feed", "200 OK", b"<rss version='2.0'><channel></channel></rss>", "application/rss+xml", ()),
    ):
        yield Response(
            f"https://oddments.example/{path}", "no document", "2024-05-06", body, content_type, status, headers=headers
        )
    for host in ("oddments.example", "pricelist.example", "villagehall.example"):
        yield Response(f"https://{host}/robots.txt", "robots.txt", "2024-05-06", ROBOTS, "text/plain")


def record_id(record_type: str, url: str) -> str:
    return f"<urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, url if record_type == 'response' else f'{record_type} {url}')}>"


def moment(date: str, url: str) -> datetime:
    """When the crawler came by: the page's own date, at a second that depends on the URL."""
    return datetime.fromisoformat(date).replace(tzinfo=UTC) + timedelta(seconds=int(fraction(url) * 86400))


def iso(when: datetime) -> str:
    return when.strftime("%Y-%m-%dT%H:%M:%SZ")


def payload_digest(body: bytes) -> str:
    return "sha1:" + base64.b32encode(hashlib.sha1(body).digest()).decode()


class Crawl:
    """One WARC file in memory."""

    def __init__(self, name: str, gzip: bool = True) -> None:
        self.out = io.BytesIO()
        self.writer = WARCWriter(self.out, gzip=gzip, warc_version="1.1")
        self.info = record_id("warcinfo", name)
        self.name = name

    def add(
        self,
        record_type: str,
        url: str,
        when: datetime,
        body: bytes = b"",
        content_type: str = "",
        http: StatusAndHeaders | None = None,
        fields: Mapping[str, str] | None = None,
    ) -> None:
        """Writes one record; `fields` are further WARC headers."""
        headers = {"WARC-Type": record_type, "WARC-Record-ID": record_id(record_type, url or self.name), "WARC-Date": iso(when)}
        if record_type != "warcinfo":
            headers |= {"WARC-Warcinfo-ID": self.info, "WARC-Target-URI": url}
        headers |= dict(fields or {})
        self.writer.write_record(
            self.writer.create_warc_record(
                url, record_type, io.BytesIO(body), len(body), content_type, headers, http_headers=http
            )
        )

    def add_warcinfo(self) -> None:
        lines = (
            f"software: {AGENT}",
            "format: WARC File Format 1.1",
            "robots: obey",
            "description: pages written for this project",
            f"conformsTo: {STANDARD}",
        )
        body = "".join(line + "\r\n" for line in lines).encode()
        self.add("warcinfo", "", moment("2025-01-01", self.name), body, fields={"WARC-Filename": self.name})

    def add_response(self, response: Response) -> Counter[str]:
        """The response, with the request and metadata records that a crawler keeps for some; counts the records."""
        url, address, chance = response.url, urlsplit(response.url), fraction("records " + response.url)
        when = moment(response.date, url)
        fields = {"WARC-IP-Address": f"192.0.2.{1 + int(fraction(address.netloc) * 253)}"}
        together = {"WARC-Concurrent-To": record_id("response", url)}
        if chance < 0.3:
            line = f"GET {address.path or '/'}{'?' * bool(address.query)}{address.query} HTTP/1.1"
            headers = [("Host", address.netloc), ("User-Agent", AGENT), ("Accept", "text/html,*/*;q=0.8")]
            self.add("request", url, when, http=StatusAndHeaders(line, headers, is_http_request=True), fields=fields | together)
        headers = [
            ("Date", format_datetime(when, usegmt=True)),
            ("Server", "nginx" if chance < 0.6 else "Apache/2.4"),
            ("Content-Type", response.content_type),
            *response.headers,
        ]
        if CHUNKED[0] not in response.headers and response.protocol != "HTTP/1.0":
            headers.append(("Content-Length", str(len(response.body))))
        if chance > 0.5:
            fields["WARC-Identified-Payload-Type"] = response.content_type.split(";")[0]
        fields["WARC-Payload-Digest"] = payload_digest(response.body)
        http = StatusAndHeaders(response.status, headers, protocol=response.protocol)
        self.add("response", url, when, response.body, http=http, fields=fields)
        if chance < 0.1:
            self.add("metadata", url, when, f"fetchTimeMs: {int(chance * 9000)}\r\n".encode(), fields=together)
        return Counter({"request": chance < 0.3, "response": 1, "metadata": chance < 0.1})

    def add_rarities(self, seen: Response) -> Counter[str]:
        """The record types that hold no page of their own: a revisit, a name look-up, a resource."""
        first = moment(seen.date, seen.url)
        http = StatusAndHeaders(seen.status, [("Content-Type", seen.content_type)], protocol="HTTP/1.1")
        self.add(
            "revisit",
            seen.url,
            first + timedelta(days=30),
            http=http,
            fields={
                "WARC-Profile": REVISIT,
                "WARC-Refers-To": record_id("response", seen.url),
                "WARC-Refers-To-Target-URI": seen.url,
                "WARC-Refers-To-Date": iso(first),
                "WARC-Payload-Digest": payload_digest(seen.body),
            },
        )
        host = urlsplit(seen.url).netloc
        self.add("response", f"dns:{host}", first, f"{iso(first)}\n{host}. 300 IN A 192.0.2.17\n".encode(), "text/dns")
        self.add("resource", "https://oddments.example/stations.csv", first, b"id,name\n1,North pier\n", "text/csv")
        return Counter(("revisit", "dns response", "resource"))


def loose(number: int, gzip: bool) -> bytes:
    """A good record on its own, for the damaged end of the crawl."""
    rng = random.Random(f"loose {number}")
    body = "\n".join(paragraph(rng, 6) for _ in range(6))
    page = made("lastpages.example", f"loose-{number}", "last", f"Loose page {number}", body)
    crawl = Crawl(NAMES[1], gzip)
    crawl.add(
        "response",
        page.url,
        moment(page.date, page.url),
        printable(page).encode(),
        http=StatusAndHeaders("200 OK", [("Content-Type", HTML.format("utf-8"))], protocol="HTTP/1.1"),
    )
    return crawl.out.getvalue()


def relength(record: bytes, change: int) -> bytes:
    """The record with its WARC Content-Length off by `change`."""
    head, rest = record.split(b"\r\n\r\n", 1)
    head = re.sub(rb"Content-Length: (\d+)", lambda m: b"Content-Length: %d" % (int(m[1]) + change), head)
    return head + b"\r\n\r\n" + rest


def damaged_end() -> bytes:
    """The end of the last file: GOOD_LAST good records between MALFORMED ones that a reader must survive."""
    garbage = random.Random("garbage").randbytes(700).replace(b"\x1f", b"\x1e")
    cut, last = loose(7, True), loose(9, True)
    return b"".join(
        (
            compressed(loose(0, False).replace(b"WARC-Type: response\r\n", b"")),
            loose(1, True),
            compressed(relength(loose(2, False), 1000)),
            loose(3, True),
            compressed(relength(loose(4, False), -300)),
            loose(5, True),
            garbage,
            loose(6, True),
            cut[: len(cut) // 2],
            loose(8, True),
            last[: len(last) * 2 // 3],
        )
    )


def build() -> tuple[dict[str, bytes], Counter[str], Counter[str]]:
    """Both files, the documents by kind, and the other records by type."""
    pages = load_pages(HERE / "pages")
    everything = [*pages, *made_up(pages)]
    siblings: dict[str, list[Page]] = {}
    for page in everything:
        siblings.setdefault(page.host, []).append(page)
    treatments = assign(pages)
    served = {page.url: serve(page, siblings[page.host], treatments.get(page.url)) for page in everything}
    untouched = [page for page in pages if page.kind in PROSE and not page.paired and page.url not in treatments]
    responses = [*served.values(), *copies(untouched, served), *others()]
    if len({response.url for response in responses}) != len(everything) + len(responses) - len(served):
        raise SystemExit("two pages have the same address")
    responses.sort(key=lambda response: fraction("order " + response.url))

    documents = Counter(response.kind for response in responses if response.is_document)
    records: Counter[str] = Counter()
    files: dict[str, bytes] = {}
    half = len(responses) // 2
    for name, part in zip(NAMES, (responses[:half], responses[half:]), strict=True):
        crawl = Crawl(name)
        crawl.add_warcinfo()
        for response in part:
            records += crawl.add_response(response)
        if name == NAMES[0]:
            records += crawl.add_rarities(served[untouched[0].url])
        files[name] = crawl.out.getvalue()
    files[NAMES[1]] += damaged_end()
    documents["last"] = GOOD_LAST
    records += Counter({"warcinfo": len(NAMES), "response": GOOD_LAST, "malformed": MALFORMED})
    return files, documents, records


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Build the sample crawl from its pages.")
    parser.add_argument("--check", action="store_true", help="compare the files with a fresh build, write nothing")
    options = parser.parse_args(arguments)
    files, documents, records = build()
    if options.check:
        on_disk = {path.name: path.read_bytes() for path in HERE.glob("*.warc.gz")}
        stale = sorted(name for name in files.keys() | on_disk.keys() if files.get(name) != on_disk.get(name))
        print("\n".join(f"{name}: differs from a fresh build" for name in stale) or "up to date")
        return 1 if stale else 0
    for name, data in files.items():
        (HERE / name).write_bytes(data)
    for title, counts in (("documents", documents), ("records", records)):
        print("\n".join(f"{kind:<16}{count:>6}" for kind, count in sorted(counts.items())))
        print(f"{title:<16}{counts.total():>6}\n")
    for name, data in files.items():
        print(f"{name:<24}{len(data):>10,} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
