"""`forgather dataset`: what is in a data set, before a training spends hours on it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from forgather_spool.cli.dataset.progress import progress_told
from forgather_spool.cli.job.document import as_json
from forgather_spool.cli.train.project import chosen_config
from forgather_spool.errors import Missing, UsageError

if TYPE_CHECKING:
    from forgather_spool.dataset.look import Looked, Where

HELP = """Show what is in a data set: examples, columns, sizes, how long the texts are.

Either of a config (its `train.data`, or what --target names), or of --path: a
folder, a file, a pattern, or a name on the Hugging Face hub. With
FORGATHER_DATASET_SERVER set, that server is asked.

Lengths are of a sample from all over the data set. The first look at large
files builds an index, which takes a while; later ones take milliseconds.

\b
Examples:
  forgather dataset --path data/stories -n 5
  forgather dataset --path 'data/*.parquet' --split 'train[:90%]' --columns text
  forgather dataset -t pretrain.yaml --target data
  forgather dataset --path roneneldan/TinyStories --json
"""
MAX_EXAMPLES = 10_000
CONFIGS_OWN = "data"


def _run(
    path: str | None, target: str | None, count: int, at: int, sample: int, columns: str | None, full: bool,
    json_: bool, quiet: bool, **rest: Any,
) -> None:  # fmt: skip
    ctx = click.get_current_context()
    need_libraries()
    names = [name.strip() for name in columns.split(",")] if columns else None
    from forgather_spool.dataset.look import Where

    where = Where(count, at, sample, names)
    with progress_told(json_=json_, quiet=quiet):
        found = _of_path(path, target, rest, where) if path is not None else _of_config(ctx, target, rest, where)
    from forgather_spool.dataset.survey import surveyed

    measured = surveyed(found.sample)
    if json_:
        click.echo(as_json(_document(found, measured)))
        return
    from forgather_spool.cli.dataset.text import as_text

    click.echo("\n".join(as_text(found, measured, full=full)))


def _of_path(path: str, target: str | None, given: Mapping[str, Any], where: Where) -> Looked:
    if (config := given["config_file"]) is not None:
        raise UsageError(f"--path {path} and -t {config}: which one?", hint="give one of them")
    if target is not None:
        raise UsageError(f"--target {target} is a part of a config, and --path has none", hint="-t CONFIG")
    from forgather_spool.dataset import fast_load_iterable_dataset
    from forgather_spool.dataset.look import look

    data = fast_load_iterable_dataset(
        path, given["name"], given["split"], list(given["data_files"]) or None, given["revision"],
        force_reindex=given["force_reindex"],
    )  # fmt: skip
    return look(path, data, where)


def _of_config(ctx: click.Context, target: str | None, given: Mapping[str, Any], where: Where) -> Looked:
    from forgather_spool.training.config import Train, given_values, resolve

    named = given["config_file"]
    if named is not None:
        ctx.find_root().params["config"] = named
    if ctx.find_root().params.get("config") is None:
        raise UsageError("which data set? give --path or -t", hint="forgather dataset --help has examples")
    source = chosen_config(ctx)
    config = resolve(source, given_values(source.arguments, given["dynamic_arg"]), os.environ)
    if not isinstance(config.program, Train):
        raise UsageError(f"{config.path} has no section train: its data are its program's", hint="give --path")
    sections = targets(config.program.document)
    wanted = target or CONFIGS_OWN
    if wanted not in sections:
        raise UsageError(f"--target {wanted}: the config has none", hint=f"there are: {', '.join(sections)}")
    section = sections[wanted]
    if section.get("text") is not None:
        return _of_documents(config, where)
    from forgather_spool.dataset import fast_load_iterable_dataset
    from forgather_spool.dataset.address import SERVER_VARIABLE
    from forgather_spool.dataset.look import look

    if section.get("server") is not None:
        os.environ[SERVER_VARIABLE] = section["server"]  # as training does
    path = section.get("stream") or section.get("dataset") or section["path"]
    data = fast_load_iterable_dataset(path, section.get("name"), given["split"] or section.get("split"))
    return look(path, data, where)


def targets(train: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The parts of a config's section `train` that name data, by their keys."""
    return {
        key: part
        for key, part in train.items()
        if isinstance(part, Mapping)
        and key not in ("model", "tokenizer")
        and {"text", "dataset", "stream", "path"} & set(part)
    }


def _of_documents(config: Any, where: Where) -> Looked:
    """Text files as the built-in trainer reads them: each is a document."""
    try:
        from forgather_spool.training.lm.data import read_documents
        from forgather_spool.training.lm.section import section_of
    except ImportError as error:
        raise Missing(f"not installed: {error.name}", hint="pip install 'forgather-spool[train]'") from None
    from forgather_spool.dataset.look import look_at_texts

    texts = read_documents(section_of(config.as_document()))
    return look_at_texts("text files, each a document", texts, where)


def _document(found: Looked, columns: Any) -> dict[str, Any]:
    """What --json prints. Values that JSON has no form for are tagged as in the server's JSON lines."""
    import json

    from forgather_spool.dataset_server.ndjson import check_schema, lines

    try:
        check_schema(found.examples.schema)
    except UsageError as error:
        raise UsageError(f"--json: {error}", hint="--columns can leave it out; without --json it is shown") from None
    batches = found.examples.to_batches()
    features = found.features or {}
    return {
        "version": 1,
        "path": found.what,
        "rows": found.rows,
        **found.about,
        "sampled": len(found.sample),
        "columns": [{**asdict(column), "feature": features.get(column.name)} for column in columns],
        "examples": [json.loads(line) for batch in batches for line in lines(batch).splitlines()],
    }


def need_libraries() -> None:
    """Raise Missing unless the extra `dataset` is installed."""
    import importlib.util

    lacking = [name for name in ("numpy", "pyarrow", "orjson") if importlib.util.find_spec(name) is None]
    if lacking:
        raise Missing(f"not installed: {', '.join(lacking)}", hint="pip install 'forgather-spool[dataset]'")


def _option(*names: str, **rest: Any) -> click.Option:
    return click.Option(names, **rest)


dataset = click.Command(
    "dataset",
    callback=_run,
    help=HELP,
    short_help="What is in a data set: examples, columns, sizes, lengths.",
    params=[
        _option("--path", metavar="PATH", help="A folder, file, pattern, or a name on the hub."),
        _option("-t", "--config", "config_file", metavar="CONFIG", help="A project's config; also before the command."),
        _option("--target", metavar="NAME", help="Of a config: the part of `train` to show. [default: data]"),
        _option("--dynamic-arg", multiple=True, metavar="K=V", help="Of a config: set a dynamic argument."),
        _option("--name", metavar="NAME", help="Which configuration of a data set on the hub."),
        _option("--split", metavar="SPLIT", help="Which split; may have bounds: train[:80%]."),
        _option("--data-files", multiple=True, metavar="FILE", help="With --path parquet, json, text or arrow."),
        _option("--revision", metavar="REV", help="Of a data set on the hub."),
        _option("--force-reindex", is_flag=True, help="Do not trust the index that is there."),
        _option("-n", "count", type=click.IntRange(0, MAX_EXAMPLES), default=3, show_default=True, metavar="COUNT",
                help="Examples to show."),
        _option("--at", type=click.IntRange(0), default=0, show_default=True, metavar="POSITION",
                help="The first of them."),
        _option("--sample", type=click.IntRange(1), default=10_000, show_default=True, metavar="COUNT",
                help="Rows to measure."),
        _option("--columns", metavar="A,B", help="Only these."),
        _option("--full", is_flag=True, help="Values whole, however long."),
        _option("-q", "--quiet", is_flag=True, help="Say nothing of progress."),
        _option("--json", "json_", is_flag=True, help="One JSON object; progress as JSON lines on stderr."),
    ],
)  # fmt: skip
