"""``accelerate launch -m edgesnn.cli.train``: one process of several."""

import typer

from edgesnn.cli.train.command import train

typer.run(train)
