"""``visus serve``: arguments and printing."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from visus.cli.options import Network

EXAMPLES = (
    "visus serve runs/mine",
    "visus serve cats=runs/mine boxes=found.safetensors --port 9000",
    "visus serve runs/mine --host 0.0.0.0 --token-file secret.txt",
)


def serve(
    models: Annotated[
        list[str], typer.Argument(metavar="MODEL", help="Model files or run folders, also as NAME=FILE.")
    ],
    host: Annotated[str, typer.Option(help="Address to listen at; any but loopback needs a token.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen at; 0 takes a free one.")] = 8000,
    token_file: Annotated[
        Path | None,
        typer.Option(help="File with the token; else $VISUS_TOKEN, else one is made where it is needed and shown."),
    ] = None,
    allow_host: Annotated[
        list[str] | None, typer.Option(help="Further name by which it may be called, such as that of a proxy.")
    ] = None,
    queue: Annotated[int, typer.Option(help="Pictures that may wait; further ones are refused.", min=1)] = 128,
    batch: Annotated[int, typer.Option(help="Pictures looked at at once, at most.", min=1)] = 32,
    max_pixels: Annotated[int, typer.Option(help="Largest picture that is decoded.", min=1)] = 50_000_000,
    max_bytes: Annotated[int, typer.Option(help="Longest body that is read.", min=1)] = 64 << 20,
    header_seconds: Annotated[float, typer.Option(help="In which the head of a request must have come.")] = 10.0,
    body_seconds: Annotated[float, typer.Option(help="In which its body must have come.")] = 30.0,
    picture_seconds: Annotated[float, typer.Option(help="In which a picture must have been read.")] = 10.0,
    readers: Annotated[int | None, typer.Option(help="Processes that read pictures; one a core.", min=1)] = None,
    watch: Annotated[float, typer.Option(help="Seconds between looks at the files; 0 for none.", min=0)] = 1.0,
    network: Network = None,
) -> None:
    """Answer over HTTP, with a page to try it."""
    import visus

    visus.serve(
        models, host=host, port=port, token_file=token_file, allow_host=allow_host or (), queue=queue, batch=batch,
        max_pixels=max_pixels, max_bytes=max_bytes, header_seconds=header_seconds,
        body_seconds=body_seconds, picture_seconds=picture_seconds, readers=readers, watch=watch, network=network,
        tell=lambda line: print(line, flush=True),
    )  # fmt: skip
