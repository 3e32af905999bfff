"""The command line.

Each verb is a file of this package with a function ``command``; the file's name is its name. A package of such files is
a group of verbs, `cdtr data shards`.

Verbs import what is heavy inside the function, so that `cdtr --help` does not wait for PyTorch.
"""

import inspect
import os
import pkgutil
import sys
import warnings
from collections.abc import Iterable
from importlib import import_module
from importlib.metadata import version
from typing import Annotated, NoReturn

import typer

from cdtr.cli._options import name_switches, option
from cdtr.cli._output import output_for, with_flags
from cdtr.cli._panels import panel_of, place_of
from cdtr.faults import explain, show_warning, sigterm_cleans_up
from cdtr.text import printable, printable_streams

# Typer carries its own copy of click since 0.20, so its errors are found by way of the one that it exports.
_USAGE_ERROR = typer.BadParameter.__mro__[1]
_CLICK_ERROR = typer.BadParameter.__mro__[2]


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run the command line; whatever goes wrong ends in one line on stderr and an exit code."""
    warnings.showwarning = show_warning
    # OpenMP's threads spin while they wait for each other. Where two programs share the cores, each spins away the time
    # that the other one's threads need; it is read once, when PyTorch is imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    arguments = sys.argv[1:] if arguments is None else arguments
    debug = os.environ.get("CDTR_DEBUG", "") not in ("", "0") or "--debug" in arguments
    quiet = "--quiet" in arguments
    arguments = [word for word in arguments if word not in ("--debug", "--quiet")]  # before or after the verb
    with sigterm_cleans_up(), output_for(arguments, quiet), printable_streams(with_flags):
        try:
            code = build_app()(args=arguments or ["--help"], prog_name="cdtr", standalone_mode=False)
        except (KeyboardInterrupt, typer.Abort):
            code = 130
        except Exception as error:
            if debug:
                raise
            message, code = (_explain_usage(error), 2) if isinstance(error, _CLICK_ERROR) else explain(error)
            print(f"error: {printable(' '.join(message.split()))}", file=sys.stderr)
        if code == 130:
            print("interrupted", file=sys.stderr)
    sys.exit(code if isinstance(code, int) else 0)


def build_app() -> typer.Typer:
    """The application with every verb found in this package."""
    names = {"help_option_names": ["-h", "--help"]}  # verbs inherit them
    app = typer.Typer(context_settings=names, pretty_exceptions_enable=False)
    app.callback()(_root)
    _add_verbs(app, __name__, __path__)
    return app


def _add_verbs(app: typer.Typer, package: str, path: Iterable[str]) -> None:
    for found in sorted(pkgutil.iter_modules(path), key=lambda found: place_of(found.name)):
        if found.name.startswith("_"):
            continue
        module, name = import_module(f"{package}.{found.name}"), found.name.replace("_", "-")
        if found.ispkg:
            group = typer.Typer(add_completion=False, no_args_is_help=True, help=module.__doc__)
            _add_verbs(group, module.__name__, module.__path__)
            app.add_typer(group, name=name, rich_help_panel=panel_of(name))
        else:
            name_switches(module.command)
            text, panel = _unwrapped(inspect.getdoc(module.command) or ""), panel_of(name)
            app.command(name, help=text, rich_help_panel=panel if package == __name__ else None)(module.command)


def _unwrapped(text: str) -> str:
    """Join each paragraph to one line, as typer keeps the line ends of all but the first."""
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in text.split("\n\n"))


def _version(asked: bool) -> None:
    if asked:
        print(f"cdtr {version('cdtr')}")
        raise typer.Exit


def _root(
    _show_version: Annotated[bool, option("Print the version.", "--version", is_eager=True, callback=_version)] = False,
    _debug: Annotated[bool, option("Show tracebacks, as CDTR_DEBUG=1 does.", "--debug")] = False,
    _quiet: Annotated[
        bool, option("No progress, notes or next steps; results, warnings and errors stay.", "--quiet")
    ] = False,
) -> None:
    """Boxes and heat maps from images sorted by class.

    Start with `cdtr quickstart --out runs/quickstart`, or with your own folder of class folders:
    `cdtr train DATA --out RUN`.
    """


def _explain_usage(error: Exception) -> str:
    # A group without a verb has no message of its own.
    message = getattr(error, "format_message", lambda: str(error))() or "Expected a command."
    context = getattr(error, "ctx", None) if isinstance(error, _USAGE_ERROR) else None
    if context is None:
        return str(message)
    stop = "" if message.endswith((".", "?", "!")) else "."  # typer ends only some of its messages
    return f"{message}{stop} See `{context.command_path} --help`."
