"""`salus key`: the API keys of the endpoint: add, list, revoke."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from actors.serve.gateway.keys import Role
from pipelines.cli.console.commands import FactsCommand
from pipelines.cli.console.output import answer, console, notice, say, told

KeysFile = Annotated[Path, typer.Option("--keys", metavar="FILE", help="As publish.gateway.keys_file names it.")]
KeyName = Annotated[
    str, typer.Argument(metavar="NAME", help="Whose key it is: letters, digits, dot, hyphen, underscore.")
]
# Beside the registry of policies, which git ignores.
DEFAULT = Path("registry/keys.jsonl")


def register(app: typer.Typer) -> None:
    key = typer.Typer(help="The API keys of the endpoint; only their hashes are kept.", no_args_is_help=True)
    key.command(cls=FactsCommand, epilog="Example: salus key add ward-3 --role client")(add)
    key.command("list", cls=FactsCommand, epilog="Example: salus key list")(list_keys)
    key.command(cls=FactsCommand, epilog="Example: salus key revoke ward-3")(revoke)
    app.add_typer(key, name="key")


def add(
    name: KeyName,
    role: Annotated[
        Role, typer.Option(help="client: asks the model. reviewer: also reads feedback and metrics. admin: everything.")
    ] = "client",
    keys: KeysFile = DEFAULT,
) -> None:
    """Make a key and print it, once: it cannot be shown again."""
    from actors.serve.gateway.keys import KeyFile

    token = KeyFile(keys).add(name, role)
    answer({"name": name, "role": role, "key": token, "keys_file": keys})
    if not told().json:
        # The key alone, so that a program can take it.
        print(token)
    notice(f"{name} is a {role}; an endpoint with publish.gateway.keys_file={keys} takes this key from now on.")


def list_keys(keys: KeysFile = DEFAULT) -> None:
    """Every key's name, role and age; never the key."""
    from rich.table import Table

    from actors.serve.gateway.keys import KeyFile

    table = Table("name", "role", "created at")
    entries = KeyFile(keys).entries()
    # Not the hashes: what a key may do is asked for, and not what it is.
    answer([{"name": key.name, "role": key.role, "created_at": key.created_at} for key in entries])
    for key in entries:
        table.add_row(key.name, key.role, key.created_at.isoformat())
    console().print(table)


def revoke(name: KeyName, keys: KeysFile = DEFAULT) -> None:
    """Take a key out; endpoints that read this file refuse it within seconds."""
    from actors.serve.gateway.keys import KeyFile

    key = KeyFile(keys).revoke(name)
    answer({"name": key.name, "role": key.role, "revoked": True})
    say(f"{key.name} ({key.role}) is revoked")
