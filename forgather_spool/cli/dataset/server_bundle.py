"""`forgather dataset-server bundle`: a server's address and token in one text, to hand to another host."""

from __future__ import annotations

import click

from forgather_spool.cli import warn
from forgather_spool.cli.dataset.server_asking import get
from forgather_spool.cli.dataset.server_chosen import chosen
from forgather_spool.cli.job.document import as_json
from forgather_spool.dataset.address import LOOPBACK, SERVER_VARIABLE, TOKEN_VARIABLE
from forgather_spool.errors import UsageError

HELP = """Print a server's address and token as one text, for another host.

There it is what --server and FORGATHER_DATASET_SERVER take for a URL. Whoever
reads it reads every data set of that server: send it as you would a password.

\b
Examples:
  forgather dataset-server bundle --host data.lab
  forgather dataset-server bundle --host data.lab | ssh gpu1 'umask 77; cat > bundle'
  export FORGATHER_DATASET_SERVER="$(cat bundle)"        (on gpu1)
"""


def _bundle(server: str | None, token: str | None, host: str | None, json_: bool) -> None:
    from forgather_spool.dataset.address import parse_address
    from forgather_spool.tls.bundle import Bundle, spell

    addresses = chosen(server, token)
    if len(addresses) > 1:
        raise UsageError(f"a bundle is of one server, not of {len(addresses)}", hint="--server URL")
    address = addresses[0]
    if address.prefix:
        raise UsageError(f"{address.url}: a bundle holds no path", hint="hand over the URL and the token")
    if host is None and address.host in LOOPBACK:
        hint = f"--host NAME, as others call it; --host {address.host} for the end of a tunnel"
        raise UsageError(f"{address.url} is of this host only", hint=hint)
    get(address, "/v1/stats")  # it is there, and takes the token
    text = spell(Bundle(address.host if host is None else host, address.port, address.token, address.scheme == "https"))
    parse_address(text)  # also of a --host that is none
    if address.token is None:
        warn("this server takes requests without a token")
    click.echo(as_json({"server": address.url, "bundle": text}) if json_ else text)


bundle = click.Command(
    "bundle",
    callback=_bundle,
    help=HELP,
    short_help="Address and token in one text.",
    params=[
        click.Option(["--server"], metavar="URL", help=f"[default: ${SERVER_VARIABLE}, else this host's]"),
        click.Option(["--token"], metavar="TOKEN",
                     help=f"[default: ${TOKEN_VARIABLE}, else the file of this host's server]"),
        click.Option(["--host"], metavar="NAME", help="What other hosts call it. [default: the URL's]"),
        click.Option(["--json", "json_"], is_flag=True, help="One JSON object."),
    ],
)  # fmt: skip
