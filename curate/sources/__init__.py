"""The table of sources: YAML name -> "module:Class". Lazy, sorted; a package adds its own under `curate.sources`."""

SOURCES: dict[str, str] = {
    "html": "curate.sources.html:HtmlSource",
    "hub": "curate.sources.hub:HubSource",
    "jsonl": "curate.sources.jsonl:JsonlSource",
    "parquet": "curate.sources.parquet:ParquetSource",
    "warc": "curate.sources.warc:WarcSource",
}
