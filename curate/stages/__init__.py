"""The table of stages: YAML name -> "module:Class". Lazy, sorted; a package adds its own under `curate.stages`."""

STAGES: dict[str, str] = {
    "extract": "curate.stages.extract:Extract",
    "gopher_quality": "curate.stages.gopher_quality:GopherQuality",
    "keep": "curate.stages.keep:Keep",
    "language": "curate.stages.language:Language",
    "sample": "curate.stages.sample:Sample",
    "score": "curate.stages.score:Score",
    "select": "curate.stages.select:Select",
    "tokens": "curate.stages.tokens:Tokens",
    "url_filter": "curate.stages.url_filter:UrlFilter",
}
