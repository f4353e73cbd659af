"""The verbs gathered into one command, and what becomes of an error: at most five lines and an exit code."""

from __future__ import annotations

import json
import os
import sys
import traceback
from typing import Annotated

import typer
from typer.main import get_command

from visus import __version__
from visus.cli import adopt, compare, demo, evaluate, info, predict, resume, train
from visus.cli import list as list_verb
from visus.core.errors import BUG, SIGINT, USAGE, VisusError, did_you_mean

_WRONG_WORDS = typer.BadParameter.__mro__[2]
"""What Typer raises for arguments it cannot make sense of; it carries the library this class is from under another name."""

app = typer.Typer(
    name="visus", add_completion=False, no_args_is_help=True, rich_markup_mode=None, pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="From a folder of pictures to a trained, judged model, with proof on the way.",
)  # fmt: skip
for verb in (demo.demo, train.train, resume.resume, evaluate.evaluate, compare.compare, predict.predict, adopt.adopt, info.info, list_verb.list):  # fmt: skip
    app.command()(verb)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"visus {__version__}")
        raise typer.Exit


@app.callback()
def everywhere(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Options before the verb."""
    if debug:
        os.environ["VISUS_DEBUG"] = "1"


def run(arguments: list[str]) -> int:
    """Run one command; return its exit code."""
    try:
        code = get_command(app).main(arguments, prog_name="visus", standalone_mode=False)
        return int(code or 0)
    except VisusError as error:
        return _tell(error, arguments)
    except typer.Exit as stop:
        return int(stop.exit_code)
    except _WRONG_WORDS as error:
        fix = ""
        option = getattr(error, "option_name", "")
        if option and error.ctx is not None:
            fix = did_you_mean(option, {name for parameter in error.ctx.command.params for name in parameter.opts})
        usage = VisusError("USE-000", error.format_message(), fix=fix or "visus --help")
        usage.exit = USAGE
        return _tell(usage, arguments)
    except (KeyboardInterrupt, typer.Abort):
        print("interrupted", file=sys.stderr)
        return SIGINT
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if os.environ.get("VISUS_DEBUG"):
            traceback.print_exc()
        what = f"{type(error).__name__}: {error}".splitlines()[0]
        bug = VisusError("BUG", what, where=_place(error), done="whatever a run had saved is kept",
                         fix="this is a fault of visus: please report it with the output of visus --debug ...")  # fmt: skip
        bug.exit = BUG
        return _tell(bug, arguments)


def _tell(error: VisusError, arguments: list[str]) -> int:
    if os.environ.get("VISUS_DEBUG"):
        traceback.print_exc()
    print(error, file=sys.stderr)
    if "--json" in arguments:
        told = {"code": error.code, "what": error.what, "where": error.where, "done": error.done, "fix": error.fix}
        print(json.dumps({"error": told, "exit": error.exit}))
    return error.exit


def _place(error: BaseException) -> str:
    last = traceback.extract_tb(error.__traceback__)[-1:]
    return f"{last[0].filename}:{last[0].lineno} in {last[0].name}" if last else ""
