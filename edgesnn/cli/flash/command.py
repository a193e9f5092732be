"""``edgesnn flash``: build the firmware of a board with a bundle's model and put it there."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgesnn.cli.output import JsonFlag, session


def flash(
    bundle: Annotated[Path, typer.Argument(help="Bundle: the folder that edgesnn export made.")],
    *,
    board: Annotated[str, typer.Option(help="Board: pico2 or nucleo-h743zi.")],
    port: Annotated[
        str | None, typer.Option(help="Serial port at which the board is asked afterwards who it is.")
    ] = None,
    json_mode: JsonFlag = False,
) -> None:
    """Build the firmware of a board with a bundle's model in it and write it to the board's flash.

    The board's own tool writes it, the first that is installed: picotool or openocd for pico2; st-flash,
    openocd or pyocd for nucleo-h743zi. Where there is none, exit code 1, and the command to run is shown. A
    tool that fails, or a board that does not answer at the port, is exit code 4.

    Examples:
        edgesnn flash bundle --board pico2
        edgesnn flash bundle --board nucleo-h743zi --port /dev/ttyACM0
    """
    with session("flash", json_mode) as out:
        from edgesnn.api.bundles import open_bundle
        from edgesnn.runners.board.flashing import flash_bundle

        with out.progress() as progress:
            task = progress.add_task("building", total=None, detail="")
            done = flash_bundle(
                open_bundle(bundle), board, port, lambda what: progress.update(task, description=what)
            )
        out.document(
            "edgesnn.flash/1",
            {
                "board": done.board,
                "firmware": str(done.firmware),
                "command": list(done.command),
                "flash_bytes": done.flash_bytes,
                "answers": done.answers,
            },
        )
        out.print(f"{done.board}: {done.flash_bytes:,} bytes written by {done.command[0]}")
        if done.answers is not None:
            out.print(f"{port}: {done.answers}")
        out.print(f"see: edgesnn verify {bundle} --target serial:{port or 'PORT'}")
