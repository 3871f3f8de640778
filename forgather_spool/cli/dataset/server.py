"""`forgather dataset-server`: starting one, and asking one."""

from __future__ import annotations

import os
from typing import Any

import click
from click.core import ParameterSource

from forgather_spool.cli import complain, warn
from forgather_spool.cli.dataset.server_asking import cache, list_, local, status
from forgather_spool.cli.dataset.server_bundle import bundle
from forgather_spool.cli.show import shown
from forgather_spool.errors import Missing, UsageError

START_HELP = """Serve data sets over HTTP, in the foreground or as a job.

Clients send a token. It is made at the first start, kept in
dataset_server/<port>.token under ~/.config/forgather, and found there by
clients on this host; the others are given it.

What is not given here comes from --config FILE (dataset_server/config.yaml
when there is one), then from the defaults. What is given here wins, also when
it is the default; --local adds to the file's.

\b
Examples:
  forgather dataset-server start --local stories=/data/tinystories
  forgather dataset-server start --host 0.0.0.0          (after: forgather tls init)
  forgather dataset-server start --enqueue --no-hf --local stories=/data/tinystories
  systemctl --user enable --now forgather-dataset@8766   (after: forgather units install)
"""


@click.group("dataset-server")
def dataset_server() -> None:
    """Serve data sets to training on other hosts, and look at a server."""


def _options() -> list[click.Parameter]:
    """Every setting of `dataset_server.settings.Settings`; absent is None, which no default hides."""
    flag, option = _flag, _option
    return [
        option("-H", "--host", metavar="ADDRESS", help="Where to listen. [default: 127.0.0.1]"),
        option("-p", "--port", type=click.IntRange(0, 65535), help="[default: 8766]"),
        option("-l", "--log-level", type=click.Choice(["DEBUG", "INFO", "WARNING", "ERROR"], case_sensitive=False),
               help="[default: INFO]"),
        option("--local", multiple=True, metavar="NAME=PATH", help="Serve PATH as local/NAME. Repeatable."),
        flag("--no-hf/--hf", "no_hf", "Nothing from the Hugging Face cache. [default: --hf]"),
        flag("--allow-paths/--no-allow-paths", "allow_paths",
             "Clients may name any path this user can read. [default: no]"),
        flag("--allow-downloads/--no-allow-downloads", "allow_downloads",
             "What the cache lacks may be downloaded. [default: no]"),
        flag("--no-auth/--auth", "no_auth", "Take requests without a token: from whoever reaches the port."),
        option("--auth-token", metavar="TOKEN", help="This token. Others see it in ps: prefer a file."),
        option("--auth-token-file", metavar="FILE", help="The token in FILE (mode 0600)."),
        flag("--regen-token/--keep-token", "regen_token", "Make a new token; clients with the old one are refused."),
        flag("--quiet-tokens/--show-tokens", "quiet_tokens", "Never print the token. Off a terminal it never is."),
        flag("--tls/--no-tls", "tls", "[default: when forgather tls init was run]"),
        option("--tls-cert", metavar="FILE", help="Another certificate than tls/ holds, with its chain, PEM."),
        option("--tls-key", metavar="FILE", help="Its key, PEM."),
        flag("--insecure/--no-insecure", "insecure", "Listen for others without TLS: token and data go in the clear."),
        option("--allow-host", multiple=True, metavar="NAME", help="A further name clients use for us. Repeatable."),
        option("--workers", type=click.IntRange(1, 256), help="Processes; worth it from 4 cores on. [default: 1]"),
        option("--max-connections", type=click.IntRange(1), help="[default: 1024]"),
        option("--max-streams", type=click.IntRange(1), help="At once, in one process. [default: 256]"),
        option("--idle-timeout", type=click.FloatRange(1), metavar="SECONDS",
               help="Drop who takes nothing for so long; clients go on where they were. [default: 600]"),
        option("--max-handles", type=click.IntRange(1), help="Data sets open at once. [default: 64]"),
        option("--max-mapped-gb", type=click.FloatRange(0), help="Of addresses, 0 for no limit. [default: 0]"),
    ]  # fmt: skip


def _option(*names: str, **rest: Any) -> click.Option:
    return click.Option(names, default=None, **rest)


def _flag(names: str, key: str, help: str) -> click.Option:
    return click.Option([names, key], is_flag=True, default=None, help=help)


@click.pass_context
def _start(ctx: click.Context, /, **options: Any) -> None:
    config, enqueue, priority, name = (options.pop(key) for key in ("config", "enqueue", "priority", "name"))
    given = {key: value for key, value in options.items() if _was_given(ctx, key)}
    if not enqueue and (priority is not None or name is not None):
        raise UsageError("--priority and --name are a job's", hint="with --enqueue")
    given = _shaped(given)
    _need_libraries()
    settings = _settings(given, config)
    if enqueue:
        from forgather_spool.cli.dataset.server_queue import put_into_queue
        from forgather_spool.dataset_server.serve import check_reach

        check_reach(settings)
        put_into_queue(given, config, settings, priority=priority or 0, name=name)
        return
    _serve(settings)


def _was_given(ctx: click.Context, key: str) -> bool:
    return ctx.get_parameter_source(key) not in (ParameterSource.DEFAULT, ParameterSource.DEFAULT_MAP, None)


def _shaped(given: dict[str, Any]) -> dict[str, Any]:
    """As the config file would have it."""
    shaped = dict(given)
    if "local" in shaped:
        shaped["local"] = _mapping(shaped["local"])
    if "allow_host" in shaped:
        shaped["allow_host"] = list(shaped["allow_host"])
    return shaped


def _mapping(pairs: tuple[str, ...]) -> dict[str, str]:
    found: dict[str, str] = {}
    for pair in pairs:
        name, equals, path = pair.partition("=")
        if not equals or not path:
            raise UsageError(f"--local {pair}: expected NAME=PATH")
        if name in found:
            raise UsageError(f"--local {name} is given twice")
        found[name] = os.path.abspath(os.path.expanduser(path))
    return found


def _settings(given: dict[str, Any], config: str | None) -> Any:
    """Those of a start with these words, here and now."""
    from forgather_spool.dataset_server.settings import merged, read_file
    from forgather_spool.spool.paths import Paths, default_home

    path = config or Paths(default_home()).dataset_config
    try:
        file = read_file(path)
    except FileNotFoundError:
        if config is not None:
            raise UsageError(f"--config {config}: there is no such file") from None
        file = {}
    else:
        if config is None:
            complain(f"loaded default config: {shown(path)}")
    return merged(given, file)


def _need_libraries() -> None:
    import importlib.util

    lacking = [name for name in ("aiohttp", "pyarrow", "cryptography") if importlib.util.find_spec(name) is None]
    if lacking:
        hint = "pip install forgather-spool[dataset]"
        raise Missing(f"not installed: {', '.join(lacking)}", hint=hint)


def _serve(settings: Any) -> None:
    import logging
    import sys

    from forgather_spool.dataset_server import serve
    from forgather_spool.spool.paths import Paths, default_home

    logging.basicConfig(level=settings.log_level, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    logging.getLogger("asyncio").setLevel(logging.ERROR)
    listening = serve.prepare(settings, Paths(default_home()))
    _announce(listening, settings)
    sys.stdout.flush()
    raise SystemExit(serve.serve(listening))


def _announce(listening: Any, settings: Any) -> None:
    """Where it is and how to ask. The token only where a person sees it: journals and job outputs are kept."""
    import sys

    token = listening.token
    complain(f"dataset server on {listening.url}, bound to {settings.host}")
    if token.text is None:
        warn("--no-auth: whoever reaches this port reads every data set served here")
    elif token.path is None:
        complain("clients must send the token that was given: 'Authorization: Bearer <token>'")
    else:
        if token.rotated:
            complain("*** NEW TOKEN: clients with the old one are refused from now on ***")
        if not settings.quiet_tokens and sys.stderr.isatty():
            complain(f"dataset_server auth token: {token.text}")
        complain("clients must send 'Authorization: Bearer <token>'")
        complain(f"{'kept' if token.kept else 'new'} token file: {shown(token.path)}")
    if settings.auth_token is not None:
        warn("--auth-token can be seen in ps by other users of this host: --auth-token-file")
    if not listening.context and settings.insecure:
        warn("--insecure: the token and the data go in the clear")
    if settings.allow_paths:
        warn("--allow-paths: clients may read what this user can read")


dataset_server.add_command(
    click.Command(
        "start",
        callback=_start,
        help=START_HELP,
        short_help="Serve data sets over HTTP.",
        params=[
            *_options(),
            _option("--config", metavar="FILE", help="Settings in YAML: the flags' names with _ for -."),
            click.Option(["--enqueue"], is_flag=True, help="As a job; it runs until it is cancelled or stopped."),
            _option("--priority", type=int, help="The job's."),
            _option("--name", help="The job's. [default: dataset-server-PORT]"),
        ],
    )
)
for command in (status, list_, cache, local, bundle):
    dataset_server.add_command(command)
