"""`forgather dataset-server status|list|cache|local`: what a server says of itself."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import click

from forgather_spool.cli.dataset.server_chosen import chosen
from forgather_spool.cli.job.document import as_json
from forgather_spool.cli.show import shown
from forgather_spool.dataset.address import (
    DEFAULT_PORT,
    SERVER_VARIABLE,
    TOKEN_VARIABLE,
    Address,
    connection_hint,
    verification_hint,
)
from forgather_spool.errors import ForgatherError, JobFailed, Missing, UsageError

ANSWER_TIMEOUT_S = 30.0
MAX_ANSWER_BYTES = 64 << 20
Ask = Callable[[str], dict[str, Any]]
Answer = Callable[[Address], Any]


def _command(
    name: str, help: str, render: Callable[[dict[str, Any]], str], ask: Callable[[Ask], dict[str, Any]]
) -> click.Command:
    def text(address: Address) -> str:
        found = ask(lambda path: get(address, path))
        try:
            return f"server: {shown(address.url)}\n{render(found)}".rstrip()
        except (LookupError, TypeError, ValueError, AttributeError):  # of some other service, or of a version to come
            hint = f"--json shows it; ours listen on {DEFAULT_PORT} unless told otherwise"
            raise Missing(f"{address.url}: this is no answer of a dataset server", hint=hint) from None

    def document(address: Address) -> dict[str, Any]:
        return ask(lambda path: get(address, path))

    def run(server: str | None, token: str | None, json_: bool) -> None:
        addresses = chosen(server, token)
        if len(addresses) > 1:
            _each(addresses, document, text, json_)
        else:
            click.echo(as_json(document(addresses[0])) if json_ else text(addresses[0]))

    return click.Command(
        name,
        callback=run,
        help=help,
        params=[
            click.Option(["--server"], metavar="URL",
                         help=f"Several with commas are each asked. [default: ${SERVER_VARIABLE}, else this host's]"),
            click.Option(["--token"], metavar="TOKEN",
                         help=f"[default: ${TOKEN_VARIABLE}, else the file of this host's server]"),
            click.Option(["--json", "json_"], is_flag=True, help="One JSON object."),
        ],
    )  # fmt: skip


def _each(addresses: list[Address], document: Answer, text: Answer, json_: bool) -> None:
    """Several: what each says, or in its place why it says nothing. Raises Missing after all, if one did not."""
    told: list[dict[str, Any]] = []
    for address in addresses:
        try:
            told.append({"server": address.url, **document(address)} if json_ else {"text": text(address)})
        except ForgatherError as error:
            told.append({"server": address.url, "error": str(error)})
    if json_:
        click.echo(as_json({"servers": told}))
    else:
        click.echo("\n\n".join(
            one.get("text") or f"server: {shown(one['server'])}\nerror: {shown(one['error'])}" for one in told
        ))  # fmt: skip
    if silent := sum("error" in one for one in told):
        raise Missing(f"{silent} of {len(addresses)} servers gave no answer", hint="--server URL asks one alone")


def get(address: Address, path: str) -> dict[str, Any]:
    """The JSON object at a path of the server.

    Raises:
        Missing: it cannot be reached or verified, or it is no dataset server.
        UsageError: the token is missing or wrong.
        JobFailed: it answered with an error.
    """
    import http.client
    import ssl

    connection = address.connect(ANSWER_TIMEOUT_S)
    try:
        connection.request("GET", address.prefix + path, headers=address.headers())
        answer = connection.getresponse()
        status, data = answer.status, answer.read(MAX_ANSWER_BYTES)
    except ssl.SSLCertVerificationError as error:
        hint = verification_hint(error.verify_code)
        raise Missing(f"{address.url} cannot be verified: {error.verify_message}", hint=hint) from None
    except (OSError, http.client.HTTPException) as error:
        message = f"no dataset server answers at {address.url}: {error or type(error).__name__}"
        hint = connection_hint(address, error, "forgather dataset-server start, or --server URL")
        raise Missing(message, hint=hint) from None
    finally:
        connection.close()
    return _object(address, status, data)


def _object(address: Address, status: int, data: bytes) -> dict[str, Any]:
    try:
        found = json.loads(data)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise Missing(f"{address.url} is no dataset server: it answered {status}")
    if status == 401:
        raise _refused(address)
    if status != 200:
        raise JobFailed(f"{status} from {address.url}: {found.get('error', 'no reason given')}")
    return found


def _refused(address: Address) -> ForgatherError:
    if address.token is None:
        return UsageError(f"{address.url} asks for a token", hint=f"--token, or {TOKEN_VARIABLE}")
    hint = "the server's token may have been made anew: dataset_server/<port>.token on its host"
    return UsageError(f"{address.url} does not take this token", hint=hint)


def _status(ask: Ask) -> dict[str, Any]:
    found = {**ask("/v1/health"), **ask("/v1/auth/status")}
    try:
        found["stats"] = ask("/v1/stats")
    except ForgatherError as error:
        found["stats"] = None
        found["stats_error"] = str(error)
    return found


def _status_text(found: dict[str, Any]) -> str:
    policy, stats = found["policy"], found["stats"]
    lines = [
        f"status: {shown(found['status'])}  ({shown(found['service'])} {shown(found['version'])})",
        f"token: {'asked for' if found['auth_required'] else 'NOT asked for'}",
        f"policy: hf cache {_on(policy['hf_cache_enabled'])}, paths {_on(policy['allow_paths'])}, "
        f"downloads {_on(policy['allow_downloads'])}, {policy['local_count']} local",
    ]
    if stats is None:
        return "\n".join([*lines, f"more: {shown(found['stats_error'])}"])
    return "\n".join(
        [
            *lines,
            f"clients: {stats['connections']} connected, {stats['streams']} streams, {stats['loading']} loading",
            f"sent: {stats['rows']:,} rows, {_size(stats['bytes'])}; in the last {stats['over_s']:.0f} s "
            f"{stats['rows_per_s']:,.0f} rows/s, {_size(stats['bytes_per_s'])}/s",
            *_clients(stats),
            f"open: {stats['handles']} data sets, {_size(stats['mapped_bytes'])} mapped; "
            f"memory {_size(stats['anonymous_bytes'])} (anonymous)",
        ]
    )


def _clients(stats: dict[str, Any]) -> list[str]:
    """Who reads what, and how fast; older servers do not say. Of several processes, that of the one that answered."""
    return [
        f"- {shown(one['client'])}  {shown(one['path'])}  {one['rows']:,} rows in {one['since_s']:.0f} s: "
        f"{one['rows_per_s']:,.0f} rows/s, {_size(one['bytes_per_s'])}/s"
        for one in stats.get("clients", [])
    ]


def _on(value: bool) -> str:
    return "on" if value else "off"


def _list_text(found: dict[str, Any]) -> str:
    lines = []
    for one in found["handles"]:
        words = [str(value) for key, value in one["load_args"].items() if key in ("path", "name", "split", "revision")]
        lines.append(f"- {one['handle']}  {one['length']:>14,}  {one['source']:<5}  {shown(' '.join(words))}")
    return "\n".join(lines) or "nothing is open"


def _cache_text(found: dict[str, Any]) -> str:
    lines = [f"cache_root: {shown(found['cache_root'])}", f"datasets: {len(found['datasets'])}"]
    for one in found["datasets"]:
        lines.append(f"- {shown(one['repo'])} ({_size(one['size_bytes'])})")
        for config in one["configs"]:
            splits = ", ".join(f"{split['name']}={split['num_examples']:,}" for split in config["splits"]
                               if split["num_examples"] is not None)  # fmt: skip
            lines.append(f"    {shown(config['config'])} @ {shown(config['version'])} -- {shown(splits)}")
    return "\n".join(lines)


def _local_text(found: dict[str, Any]) -> str:
    return "\n".join(f"- local/{shown(one['name'])}  {shown(one['path'])}" for one in found["local"]) or "none"


def _size(amount: float) -> str:
    for unit in ("B", "KB", "MB", "GB"):
        if amount < 1000:
            return f"{amount:.0f} B" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} TB"


status = _command("status", "Is it up, what does it serve, who is connected, how fast?", _status_text, _status)
list_ = _command(
    "list", "The data sets that are open: handle, rows, source, request.", _list_text, lambda ask: ask("/v1/datasets")
)
cache = _command("cache", "What the server's Hugging Face cache holds.", _cache_text, lambda ask: ask("/v1/cache/hf"))
local = _command("local", "The data sets it serves by name.", _local_text, lambda ask: ask("/v1/local"))
