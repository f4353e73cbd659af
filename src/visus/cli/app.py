"""The verbs gathered into one command, and what becomes of an error: at most five lines and an exit code."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import threading
import traceback
from typing import Annotated

import typer
from typer.main import get_command

from visus import __version__
from visus.cli import (
    adopt,
    check,
    compare,
    compress,
    convert,
    demo,
    evaluate,
    explain,
    export,
    fix,
    generate,
    info,
    predict,
    resume,
    serve,
    split,
    stylize,
    train,
)
from visus.cli import list as list_verb
from visus.core.errors import BUG, OK, SIGINT, Interrupted, UsageError, VisusError, nearest, users_line

_WRONG_WORDS: type[Exception] = typer.BadParameter.__mro__[2]
"""What Typer raises for arguments it cannot make sense of: a class of a library that it carries under another name."""

app = typer.Typer(
    name="visus",
    help="From a folder of pictures to a trained, judged model, with proof on the way.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
for verb, examples in (
    (demo.demo, demo.EXAMPLES),
    (check.check, check.EXAMPLES),
    (split.split, split.EXAMPLES),
    (train.train, train.EXAMPLES),
    (resume.resume, resume.EXAMPLES),
    (evaluate.evaluate, evaluate.EXAMPLES),
    (compare.compare, compare.EXAMPLES),
    (predict.predict, predict.EXAMPLES),
    (explain.explain, explain.EXAMPLES),
    (generate.generate, generate.EXAMPLES),
    (stylize.stylize, stylize.EXAMPLES),
    (serve.serve, serve.EXAMPLES),
    (compress.compress, compress.EXAMPLES),
    (export.export, export.EXAMPLES),
    (adopt.adopt, adopt.EXAMPLES),
    (convert.convert, convert.EXAMPLES),
    (fix.fix, fix.EXAMPLES),
    (info.info, info.EXAMPLES),
    (list_verb.list, list_verb.EXAMPLES),
):
    app.command(epilog="\b\nExamples:\n  " + "\n  ".join(examples))(verb)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"visus {__version__}")
        raise typer.Exit


@app.callback()
def everywhere(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of an error; also after the verb.")
    ] = False,
) -> None:
    """Take the options before the verb, which act by being there."""


def run(arguments: list[str]) -> int:
    """Run one command; return its exit code.  SIGTERM ends it as Ctrl-C does, so that no draft of a file is left."""
    came: list[int] = []

    def stop(number: int, frame: object) -> None:
        came.append(number)
        raise KeyboardInterrupt(number)

    if threading.current_thread() is not threading.main_thread():
        return _run(arguments, came)  # only the main thread may handle signals
    before = signal.signal(signal.SIGTERM, stop)
    try:
        return _run(arguments, came)
    finally:
        signal.signal(signal.SIGTERM, before)


def _run(arguments: list[str], came: list[int]) -> int:
    """Run one command, which the signals that came have ended; return its exit code."""
    debug = "--debug" in arguments
    words = [word for word in arguments if word != "--debug"] or ["--help"]
    try:
        code = int(get_command(app).main(words, prog_name="visus", standalone_mode=False) or OK)
        sys.stdout.flush()
        return code if code != SIGINT else _tell(_stopped(came), words, debug=False)  # Typer makes that of Ctrl-C
    except BrokenPipeError:
        return _unheard()
    except SystemExit as stop:
        if isinstance(stop.__context__, BrokenPipeError):  # what Typer makes of one
            return _unheard()
        raise
    except KeyboardInterrupt:
        return _tell(_stopped(came), words, debug=False)
    except VisusError as error:
        return _tell(error, words, debug)
    except _WRONG_WORDS as error:
        return _tell(_misused(error), words, debug)
    except Exception as error:
        return _tell(_fault(error), words, debug)


def _unheard() -> int:
    """Go silent: whoever read our output, such as ``head``, has seen enough."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return OK


def _tell(error: VisusError, words: list[str], debug: bool) -> int:
    """Print an error on stderr, and on stdout the document that ``--json`` promises; return the exit code."""
    if debug:
        traceback.print_exc()
    print(error, file=sys.stderr)
    if "--json" in words:
        told = {"code": error.code, "what": error.what, "where": error.where, "looked_for": error.looked,
                "done": error.done, "fix": error.fix}  # fmt: skip
        print(json.dumps({"error": told, "exit": error.exit}, indent=1))
    return error.exit


def _misused(error: Exception) -> VisusError:
    """Return what to say of arguments that make no sense: the nearest option, or where the help is."""
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "visus"
    option, fix = getattr(error, "option_name", ""), ""
    if option and context is not None:
        names = [name for parameter in context.command.params for name in parameter.opts]
        known = {name.lstrip("-") for name in names if name.startswith("-")}  # the others are arguments
        near = nearest(option.lstrip("-"), {*known, "help"})
        fix = f"did you mean '--{near}'?" if near else f"{command} --help"
        if context.info_name in ("train", "check") and (key := _setting(option)):
            fix = f"it is a setting: --set {key}=VALUE"
        return UsageError("USE-000", f"there is no option {option}", where=command, fix=fix)
    what = str(error.format_message()) if hasattr(error, "format_message") else str(error)
    if number := re.match(r"Invalid value for '?(.+?)'?: Input should be a valid (integer|number)", what):
        what = f"{number[1]} takes a {'whole number' if number[2] == 'integer' else 'number'}"
    return UsageError("USE-000", what[:1].lower() + what[1:].rstrip("."), fix=f"{command} --help")


def _setting(option: str) -> str:
    """Return the setting that an unknown option is called like: its key, its section, or the only one that ends so."""
    from visus.core.recipe import Recipe

    name, keys = option.lstrip("-").replace("-", "_"), list(Recipe().flat())
    if name in keys or f"{name}.name" in keys:
        return name
    ending = [key for key in keys if key.endswith(f".{name}")]
    return ending[0] if len(ending) == 1 else ""


def _stopped(came: list[int]) -> VisusError:
    return Interrupted(came[0] if came else signal.SIGINT, "interrupted")


def _fault(error: Exception) -> VisusError:
    """Return what to say of an error that nobody foresaw: whose it is, the user's own code's, the system's or ours."""
    if line := users_line(error):
        return UsageError(
            "USE-026", f"your own code failed: {type(error).__name__}: {error}".splitlines()[0], where=line,
            done="whatever a run had saved is kept", fix="mend that line; --debug shows how it was reached",
        )  # fmt: skip
    if isinstance(error, OSError) and isinstance(error.filename, str | bytes):
        return UsageError(
            "USE-028", f"{os.fsdecode(error.filename)}: {(error.strerror or str(error)).lower()}",
            done="whatever a run had saved is kept", fix="check the name, and who may read or write there",
        )  # fmt: skip
    at = traceback.extract_tb(error.__traceback__)[-1:]
    bug = VisusError(
        "BUG", f"{type(error).__name__}: {error}".splitlines()[0],
        where=f"{at[0].filename}:{at[0].lineno} in {at[0].name}" if at else "",
        done="whatever a run had saved is kept",
        fix="this is a fault of visus: please report it with what the same command prints with --debug",
    )  # fmt: skip
    bug.exit = BUG
    return bug
