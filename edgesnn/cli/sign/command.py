"""``edgesnn sign``: sign a bundle's manifest with an SSH key."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgesnn.cli.output import JsonFlag, session

SCHEMA = "edgesnn.sign/1"


def sign(
    bundle: Annotated[Path, typer.Argument(help="Bundle: the folder that edgesnn export made.")],
    *,
    key: Annotated[
        Path,
        typer.Option("--key", help="A private SSH key, or a public one whose private half ssh-agent holds."),
    ],
    json_mode: JsonFlag = False,
) -> None:
    """Sign a bundle's manifest, which has the hash of every other file, with an SSH key.

    Whoever sets EDGESNN_ALLOWED_SIGNERS to a list of signers (as git has it: a name and a public key a
    line) runs bundles that one of them signed, and no others.

    Examples:
        edgesnn sign bundle --key ~/.ssh/id_ed25519
    """
    with session("sign", json_mode) as out:
        from edgesnn.bundle.bundle import Bundle
        from edgesnn.bundle.signature import sign_bundle

        opened = Bundle(bundle)
        path = sign_bundle(opened, key)
        out.document(SCHEMA, {"bundle": opened.path.name, "signature": path.name})
        out.print(f"signed: {path}")
