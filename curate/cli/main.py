"""The command line: parse arguments, call one function, print. The only place that turns an error into text.

Exit codes: 0 done; 1 the user's input is wrong; 2 the run failed; 130 interrupted.
"""

from __future__ import annotations

import logging
import os
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from curate.cli.output import echo, echo_json
from curate.errors import EXTRAS, CurateError, install_hint
from curate.logs import LogOptions, configure, escape_controls
from curate.version import VERSION

if TYPE_CHECKING:
    from curate.cli.progress import Progress

SECTIONS = {
    "Run": ("init", "check", "plan", "run", "status", "logs", "stages", "index"),
    "Inspect": ("report", "serve", "sample", "explain", "whatif", "diff"),
    "Train": ("fit", "probe", "rounds", "watch"),
    "Share": ("push",),
}
"""The commands as `curate --help` lists them. Every command is in one section."""


class _Group(click.Group):
    """The error boundary: one message, no traceback, the exit code the error carries. Lists commands in sections."""

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        for section, names in SECTIONS.items():
            with formatter.section(section):
                formatter.write_dl([(name, self.commands[name].get_short_help_str(100)) for name in names], col_max=10)

    def invoke(self, context: click.Context) -> Any:
        try:
            return super().invoke(context)
        except CurateError as error:
            _print_error(context, "error: ", str(error))
            context.exit(error.exit_code)
        except ModuleNotFoundError as error:
            package = (error.name or "").partition(".")[0]
            if package not in EXTRAS:
                raise
            message = f"this needs the package {package!r}, which is not installed. {install_hint(package)}"
            _print_error(context, "error: ", message)
            context.exit(1)
        except KeyboardInterrupt:
            _print_error(context, "", "interrupted. Run the same command to continue.")
            context.exit(130)
        except BrokenPipeError:
            sys.stderr.close()
            context.exit(0)
        except OSError as error:
            _print_error(context, "error: ", f"{error}. Check that the path exists and may be written.")
            context.exit(2)


def _print_error(context: click.Context, prefix: str, message: str) -> None:
    if _log_options_of(context).log_json:
        logging.getLogger(__name__).error(message)
    else:
        echo(f"{prefix}{message}", err=True)


def _log_options_of(context: click.Context) -> LogOptions:
    options: LogOptions = context.find_root().ensure_object(LogOptions)
    return options


def _set_log_option(context: click.Context, parameter: click.Parameter, value: bool) -> None:
    options = _log_options_of(context)
    if value and parameter.name:
        setattr(options, parameter.name, True)
    if options.verbose and options.quiet:
        raise click.UsageError("--verbose and --quiet exclude each other: leave one out")
    configure(options)


def _log_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add --verbose, --quiet and --log-json. They may stand before the command, and after `run`."""
    for flag, text in (
        ("--log-json", "One JSON object per line to stderr: time, level, logger, message, and fields."),
        ("--quiet", "Only errors to stderr, and the summary at the end."),
        ("--verbose", "Debug messages to stderr, too."),
    ):
        command = click.option(flag, is_flag=True, expose_value=False, callback=_set_log_option, help=text)(command)
    return command


def _progress() -> Progress:
    from curate.cli.progress import Progress

    return Progress(options=_log_options_of(click.get_current_context()))


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(VERSION, message="curate %(version)s, distribution curate-data")
@_log_options
def main() -> None:
    """Turn raw web crawl into a pretraining corpus, with a reason for every document that was dropped."""


_pipeline = click.argument("pipeline", type=click.Path())
_source = click.option("--source", metavar="FILE", help="Read 'source:' from this YAML file instead.")
_directory = click.argument("directory", metavar="DIR", type=click.Path())


def _complete_stage(context: click.Context, parameter: click.Parameter, begun: str) -> list[str]:
    """Names of stages that begin with what was typed: stages of the run on the command line, or all stages."""
    from curate.config.registry import table_of
    from curate.pipeline import lockfile
    from curate.stages import STAGES

    try:
        # Behind an option that has no value yet, click leaves arguments where they are.
        run = context.params.get("directory") or next(iter(context.args), None)
        names = ["source", *lockfile.opened(run)[1]["identities"]] if run else sorted(table_of("curate.stages", STAGES))
    except Exception:  # whatever is wrong with it, a shell that completes says nothing
        names = []
    return [name for name in names if name.startswith(begun)]


def _where_models_run(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options of commands that train or run models."""
    for option in (
        click.option("--device", default="cpu", show_default=True, metavar="D", help="A device of torch: cpu, cuda."),
        click.option("--workers", type=click.IntRange(min=1), metavar="N", help="Of the local Ray. Default: one per core."),
        click.option("--inline", is_flag=True, help="Everything in this process, without Ray."),
        click.option(
            "--ray", metavar="ADDRESS", help="A running cluster, e.g. 'auto'. Default: Ray on this machine, if needed."
        ),
    ):
        command = option(command)
    return command


@main.command(short_help="Write a pipeline file and a sample crawl to begin from.")
@click.argument("directory", metavar="DIR", type=click.Path())
def init(directory: str) -> None:
    """Write a pipeline file, a sample crawl and a README into a new folder, to begin from."""
    from curate.data import init_project

    for name in init_project(directory):
        echo(name)
    folder = shlex.quote(escape_controls(directory))
    echo(f"Next: cd -- {folder} && curate run pipeline.yaml --out out && curate report out")


@main.command(short_help="Run a pipeline file, or continue it.")
@_pipeline
@click.option("--out", required=True, metavar="DIR", help="Where the corpus goes: a folder or URL. The same command continues.")
@click.option("--ray", metavar="ADDRESS", help="A running Ray cluster, e.g. 'auto'. Default: Ray on this machine.")
@click.option("--inline", is_flag=True, help="Everything in this process, without Ray: for debuggers.")
@click.option("--workers", type=click.IntRange(min=1), metavar="N", help="Workers of the local Ray. Default: one per core.")
@_source
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Read the first N documents only.")
@click.option("--reuse", metavar="OLD_DIR", help="Take over leading steps that did not change from this earlier run.")
@_log_options
def run(pipeline: str, out: str, **options: Any) -> None:
    """Run or continue a pipeline file."""
    from curate.cli.progress import print_summary
    from curate.execution.runner import run_file

    _check_inline(options)
    with _progress() as progress:
        if not _kernels_are_compiled():
            progress.note("the first run compiles its kernels, for a minute or two")
        summary = run_file(pipeline, out=out, listener=progress, **options)
    print_summary(summary)


def _kernels_are_compiled() -> bool:
    """Whether an earlier run left compiled kernels; they lie beside the code, where that can be written."""
    import curate.text

    folder = Path(curate.text.__file__).parent
    return any(folder.rglob("*.nbi")) or not os.access(folder, os.W_OK)


def _check_inline(options: dict[str, Any]) -> None:
    if options["inline"] and (options["ray"] or options["workers"]):
        raise click.UsageError("--inline runs without Ray: leave out --ray and --workers")


@main.command(short_help="Find mistakes in a pipeline file, without reading documents.")
@_pipeline
@_source
@click.option("--offline", is_flag=True, help="Structure only: do not look at inputs or models.")
def check(pipeline: str, source: str | None, offline: bool) -> None:
    """Find everything that can be wrong in a pipeline file, without reading documents."""
    from curate.execution.runner import missing_packages, survey
    from curate.mates.options import load_rounds
    from curate.pipeline.spec import load

    loaded = load(pipeline, source_file=source)
    load_rounds(pipeline)
    if offline:
        echo(f"{pipeline}: {len(loaded.stages)} stages, structure is sound (inputs and models not looked at)")
        return
    plan, inputs, shards = survey(loaded)
    size = sum(file.size for file in inputs)
    echo(f"{pipeline}: {len(plan.steps)} stages, {len(inputs)} files, {len(shards)} shards, {size / 1e6:,.1f} MB. All sound.")
    if missing := missing_packages(plan):
        echo(f"note: {missing} On a cluster its workers must have it.", err=True)


@main.command(short_help="Show the steps, all options, and estimates of disk and memory.")
@_pipeline
@_source
def plan(pipeline: str, source: str | None) -> None:
    """Show the steps, every option with its value, the columns written, and estimates of disk and memory."""
    from curate.execution.runner import survey
    from curate.pipeline.explain import describe_plan
    from curate.pipeline.spec import load

    echo(describe_plan(*survey(load(pipeline, source_file=source))))


@main.command(short_help="List the stages, or show one stage's options and rules.")
@click.argument("name", required=False, shell_complete=_complete_stage)
def stages(name: str | None) -> None:
    """List the stages, or show one: a line of YAML, options, drop reasons, columns, rules of its profiles, sources."""
    from curate.pipeline.explain import describe_stage, describe_stages

    echo(describe_stage(name) if name else describe_stages())


@main.command(short_help="Say how far a run is, and how long it will take.")
@_directory
def status(directory: str) -> None:
    """Say how far a run is: done, running, slowest shard, time left, failures."""
    from curate.report.inspect_run import describe_status

    echo(describe_status(directory))


@main.command(short_help="List the shards of a run, or print the logs of one.")
@_directory
@click.argument("shard", required=False)
@click.option("-n", "--num", default=50, show_default=True, type=click.IntRange(min=1), help="How many shards to list.")
def logs(directory: str, shard: str | None, num: int) -> None:
    """List the shards of a run with their times, peak memory, warnings and errors: failed ones first, then the slowest.

    With SHARD, print its logs: one per segment and attempt, with the warnings and the traceback of an error.
    """
    from curate.report.shard_logs import describe_logs, describe_shard

    echo(describe_shard(directory, shard) if shard else describe_logs(directory, num))


@main.command(short_help="Follow one document, by id or URL, through a run.")
@_directory
@click.argument("document", metavar="ID")
def explain(directory: str, document: str) -> None:
    """Follow one document, by id or URL, through a run: what edited it, what dropped it, or its text."""
    from curate.report.inspect_run import explain_document

    echo(explain_document(directory, document))


@main.command(short_help="Recount a run with other thresholds; no text is read.")
@_directory
@click.argument("changes", metavar="STAGE.OPTION=VALUE...", nargs=-1, required=True)
@click.option("-n", "--num", default=10, show_default=True, type=click.IntRange(min=0), help="Flipped documents to show.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of text.")
def whatif(directory: str, changes: tuple[str, ...], num: int, as_json: bool) -> None:
    """Recount a finished run with other thresholds, and show documents that flip; no text is read.

    For stages that ran with 'values: true'.
    """
    import json

    from curate.cli.progress import print_whatif
    from curate.report.whatif import parse_changes, recount

    result = recount(directory, parse_changes(changes), num=num)
    if as_json:
        echo_json(json.dumps(result.as_json(), ensure_ascii=False))
    else:
        print_whatif(result)


@main.command(short_help="Index a run's documents, to deduplicate later runs against.")
@_directory
@click.argument("stage", shell_complete=_complete_stage)
@click.option("--out", required=True, metavar="INDEX", help="Where the index goes: a folder or URL.")
def index(directory: str, stage: str, out: str) -> None:
    """Make an index of what a finished run kept, for later runs to be deduplicated against.

    STAGE is one of its deduplicating stages. A later pipeline names the index: 'minhash: {against: [INDEX]}'.
    """
    from curate.execution.build_dedup_index import make_index

    with _progress() as progress:
        written = make_index(directory, stage, out, progress)
    echo(f"{written.documents:,} documents of {directory} in {out}, {len(written.parts):,} files")


@main.command(short_help="Train a scorer, a refiner or small language models.")
@click.argument("recipe", type=click.Path())
@click.option(
    "--out", metavar="DIR", help="Where the result goes. Default: the recipe's folder if it is NAME, else scorers/NAME."
)
@click.option("--work", metavar="DIR", help="Where losses and checkpoints are kept, to continue. Default: out/fit/NAME.")
@_where_models_run
def fit(recipe: str, **options: Any) -> None:
    """Train what a recipe says: a fastText or PreSelect scorer, a refiner, an influence model, small language models.

    The recipe's 'kind' says which. The same command continues. One thread, without autotune_s, gives the same bytes.
    """
    from curate.train.recipe import fit_file

    _check_inline(options)
    with _progress() as progress:
        message = fit_file(recipe, listener=progress, **options)
    echo(message)


@main.command(short_help="Measure the influence of documents on a model.")
@click.argument("recipe", type=click.Path())
@click.option("--out", metavar="DIR", help="Where probes.parquet goes. Default: out/probe/NAME.")
@click.option("--work", metavar="DIR", help="Where influences are kept as they come. Default: out/fit/NAME.")
@_where_models_run
def probe(recipe: str, **options: Any) -> None:
    """Measure the influence of documents on a model: a recipe of kind 'oracle'.

    Influence is how much one training step on a document lowers the loss on a reference. The same command continues.
    """
    from curate.mates.probe_recipe import probe_file

    _check_inline(options)
    with _progress() as progress:
        message = probe_file(recipe, listener=progress, **options)
    echo(message)


@main.command(short_help="Train a model in rounds on what helps it most (MATES).")
@_pipeline
@click.option("--out", required=True, metavar="DIR", help="Where everything goes. The same command continues.")
@_source
@_where_models_run
def rounds(pipeline: str, out: str, **options: Any) -> None:
    """Train a model in rounds (MATES), each on the documents that help it most by now: section 'rounds' of a pipeline file."""
    from curate.mates.loop import rounds_file

    _check_inline(options)
    with _progress() as progress:
        message = rounds_file(pipeline, out=out, listener=progress, **options)
    echo(message)


@main.command(short_help="Upload a corpus and its data card to the Hugging Face hub.")
@_directory
@click.argument("repo", metavar="REPO")
@click.option("--public", is_flag=True, help="Make a new repository public. Default: private.")
@click.option("--verdicts", is_flag=True, help="Upload dropped/ and edited/ as well.")
def push(directory: str, repo: str, public: bool, verdicts: bool) -> None:
    """Upload a finished corpus with its data card to a dataset REPO of the Hugging Face hub, such as me/my-corpus.

    The lockfile (recipe.yaml) and manifest.json are uploaded too, and name inputs by their full paths.
    """
    from curate.execution.publish import push as upload

    echo(upload(directory, repo, public=public, verdicts=verdicts))


@main.command(short_help="Browse all documents of a run, and judge them.")
@_directory
@click.option("--port", default=0, type=click.IntRange(0, 65535), metavar="N", help="Default: a free one.")
def serve(directory: str, port: int) -> None:
    """Browse all documents of a run on this machine, and record which were good and which bad."""
    from curate.report.serve import serve as listen

    listen(directory, port, echo)


@main.command(short_help="Compare two runs: which documents fared otherwise, and why.")
@click.argument("first", metavar="A", type=click.Path())
@click.argument("second", metavar="B", type=click.Path())
@click.option("--num", default=5, show_default=True, type=click.IntRange(min=0), help="Examples of every flip.")
@click.option("--html", metavar="FILE", type=click.Path(), help="Write a page with the texts side by side.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def diff(first: str, second: str, num: int, html: str | None, as_json: bool) -> None:
    """Say which documents fared otherwise in run B than in run A, by stage and reason."""
    import json
    from pathlib import Path

    from curate.report.diff import diff_runs

    comparison = diff_runs(first, second, num=num)
    if html:
        Path(html).write_text(comparison.as_html(), encoding="utf-8")
    if as_json:
        echo_json(json.dumps(comparison.as_json(), ensure_ascii=False))
    else:
        echo(comparison.as_text())


@main.command(short_help="Write one HTML page, and JSON, of what a run did.")
@_directory
@click.option(
    "--beside", multiple=True, metavar="DIR", type=click.Path(), help="A loop whose curves are drawn too. Repeatable."
)
def report(directory: str, beside: tuple[str, ...]) -> None:
    """Write what a run did as one HTML file, and as JSON; or a loop of rounds."""
    from pathlib import Path

    from curate.report.mates_report import RESULT, write_loop_report
    from curate.report.run import write_report

    if beside or (Path(directory) / RESULT).exists():
        echo(write_loop_report(Path(directory), [Path(other) for other in beside]))
    else:
        echo(write_report(directory))


@main.command(short_help="Probe the checkpoints of a training that goes on.")
@click.argument("checkpoints", metavar="DIR", type=click.Path())
@click.argument("recipe", type=click.Path())
@click.option("--every", type=click.FloatRange(min=1), metavar="S", help="Look again after S seconds, until interrupted.")
@click.option("--settled", default=30.0, show_default=True, type=click.FloatRange(min=0), help="Seconds without a change.")
@_where_models_run
def watch(checkpoints: str, recipe: str, **options: Any) -> None:
    """Probe the checkpoints that a training of your own leaves in DIR, and write an influence model beside each.

    RECIPE is one of kind 'oracle' without a checkpoint, with a section 'influence'. What is done is not done again.
    """
    from curate.mates.watch import watch as watch_folder

    _check_inline(options)
    with _progress() as progress:
        lines = watch_folder(checkpoints, recipe, listener=progress, **options)
    for line in lines or ["no new checkpoint"]:
        echo(line)


@main.command(short_help="Read documents that were kept, dropped or edited.")
@_directory
@click.option(
    "--stage",
    metavar="S",
    shell_complete=_complete_stage,
    help="Documents this stage dropped or edited. Default: kept documents.",
)
@click.option("--dropped", is_flag=True, help="Dropped documents of all stages.")
@click.option("--reason", metavar="R", help="Only with this reason.")
@click.option("-n", "--num", default=10, show_default=True, type=click.IntRange(min=1), help="How many, drawn by keyed hash.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(min=0))
@click.option("--json", "as_json", is_flag=True, help="JSON lines instead of text.")
def sample(directory: str, **options: Any) -> None:
    """Read documents of a run: kept, dropped (with the reason and the measured value), or edited (as a diff)."""
    from curate.report.inspect_run import sample_documents

    documents = list(sample_documents(directory, **options))
    for document in documents:
        (echo_json if options["as_json"] else echo)(document)
    if not documents:
        echo("no such documents", err=True)
