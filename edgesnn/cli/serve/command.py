"""``edgesnn serve``: a student behind HTTP, as OpenAI's interface has it."""

from __future__ import annotations

import secrets
import sys
from contextlib import ExitStack
from dataclasses import asdict
from importlib.util import find_spec
from typing import Annotated

import typer

from edgesnn.cli.output import JsonFlag, session
from edgesnn.errors import missing_extra

_LIMITS = "Limits"


def serve(
    model: Annotated[str, typer.Argument(help="A bundle, a student artifact, or 'reference'.")] = "reference",
    *,
    host: Annotated[str, typer.Option(help="Address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = 8000,
    token: Annotated[
        str | None,
        typer.Option(
            envvar="EDGESNN_TOKEN",
            help="What clients must show as their API key.",
            show_default="none on this computer's own address, else a random one that is printed",
        ),
    ] = None,
    target: Annotated[str, typer.Option(help="Where the student runs.")] = "cpu",
    meter: Annotated[
        str | None,
        typer.Option(
            help="A power meter whose readings /metrics shows, for example ppk2?voltage=3.7.",
            show_default="none",
        ),
    ] = None,
    runners: Annotated[
        int | None, typer.Option(min=1, help="Answers side by side.", show_default="a core each, 4 at most")
    ] = None,
    max_tokens: Annotated[
        int, typer.Option(min=1, help="Tokens of an answer at most.", rich_help_panel=_LIMITS)
    ] = 1024,
    prompt_tokens: Annotated[
        int, typer.Option(min=1, help="Tokens of a prompt at most.", rich_help_panel=_LIMITS)
    ] = 4096,
    seconds: Annotated[
        float, typer.Option(min=0.1, help="Seconds of an answer at most.", rich_help_panel=_LIMITS)
    ] = 60.0,
    waiting: Annotated[
        int, typer.Option(min=0, help="Requests that may wait; more get 429.", rich_help_panel=_LIMITS)
    ] = 64,
    json: JsonFlag = False,
) -> None:
    """Serve a student over HTTP: /v1/completions, /v1/chat/completions, /v1/models, /healthz, /metrics.

    Any client of OpenAI's interface works with it, streaming or not. Ctrl-C lets answers end first; --json
    then says what was answered.

    Examples:
        edgesnn serve
        edgesnn serve bundle --port 9000 --runners 2
        edgesnn serve --host 0.0.0.0 --token secret
        edgesnn serve --meter sim:ppk2?voltage=3.7
    """
    with session("serve", json) as output:
        for package in ("starlette", "uvicorn", "prometheus_client"):
            if find_spec(package) is None:
                raise missing_extra(package, "serve", "edgesnn serve")
        from edgesnn.api.runtime.student import OpenStudent
        from edgesnn.server.app import StudentApp
        from edgesnn.server.requests import ServerLimits
        from edgesnn.server.running import is_loopback, listening
        from edgesnn.server.running import serve as run

        limits = ServerLimits(
            prompt_tokens=prompt_tokens, max_tokens=max_tokens, seconds=seconds, waiting=waiting
        )
        where = listening(host, port)
        with ExitStack() as stack:
            stack.enter_context(where)
            student = stack.enter_context(OpenStudent(model, target, runners=runners))
            power = None
            if meter is not None:
                from edgesnn.server.power import ServerPower

                power = ServerPower(meter, lambda: student.usage.tokens, output.warn)
                stack.enter_context(power)
            if token is None and not is_loopback(host):
                token = secrets.token_urlsafe(18)
                output.warn(f"other computers reach {host}: clients must show the API key {token}")
            shown, number = where.getsockname()[:2]
            name = f"[{shown}]" if ":" in shown else shown
            base = f"http://{name}:{number}/v1"
            print(f"serving {student.bundle.name} at {base}", file=sys.stderr, flush=True)
            app = StudentApp(student, limits, token)
            if power is not None:
                app.registry.register(power)
            run(app.app, where, most=student.runners + waiting + 16)
            output.document(
                "edgesnn.serve/1",
                {"address": base, "model": student.bundle.name, **asdict(student.usage)},
            )
