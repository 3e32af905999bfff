"""The command line.

Each verb is a file of this package with a function ``command``; the file's name is its name. A package of such files is
a group of verbs, `cdtr data shards`.

Verbs import what is heavy inside the function, so that `cdtr --help` does not wait for PyTorch.
"""

from __future__ import annotations

import errno
import inspect
import os
import pkgutil
import signal
import sys
import threading
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.metadata import version
from typing import Annotated, NoReturn, TextIO

import typer

from cdtr.cli._output import output_for, with_flags
from cdtr.errors import CdtrError
from cdtr.text import printable, printable_streams

# Typer carries its own copy of click since 0.20, so its errors are found by way of the one that it exports.
_USAGE_ERROR = typer.BadParameter.__mro__[1]
_CLICK_ERROR = typer.BadParameter.__mro__[2]

_OUT_OF_MEMORY = (
    "out of memory: take fewer images at a time, with --set train.accumulation=4 or a smaller train.batch_size when "
    "training, a smaller --batch-size when localizing; or use --device cpu where a command has it"
)

_DISK_FULL = "the disk is full: free some space, or choose another --out"
_WORKER_KILLED = (
    "a process that loads images was killed, most likely because the memory was used up: take fewer of them with "
    "--set data.workers=1 (or 0), or smaller images; a training goes on with --resume"
)


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run the command line; whatever goes wrong ends in one line on stderr and an exit code."""
    warnings.showwarning = _show_warning
    # OpenMP's threads spin while they wait for each other. Where two programs share the cores, each spins away the time
    # that the other one's threads need; it is read once, when PyTorch is imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    arguments = sys.argv[1:] if arguments is None else arguments
    debug = os.environ.get("CDTR_DEBUG", "") not in ("", "0") or "--debug" in arguments
    quiet = "--quiet" in arguments
    arguments = [word for word in arguments if word not in ("--debug", "--quiet")]  # before or after the verb
    with _sigterm_cleans_up(), output_for(arguments, quiet), printable_streams(with_flags):
        try:
            code = build_app()(args=arguments or ["--help"], prog_name="cdtr", standalone_mode=False)
        except (KeyboardInterrupt, typer.Abort):
            code = 130
        except Exception as error:
            if debug:
                raise
            message, code = _explain(error)
            _print_error(message)
        if code == 130:
            print("interrupted", file=sys.stderr)
    sys.exit(code if isinstance(code, int) else 0)


@contextmanager
def _sigterm_cleans_up() -> Iterator[None]:
    """SIGTERM ends the command as Ctrl-C does, so that what was half written goes; a second one ends it at once.

    Not in one of several processes that torchrun started: it may wait for the others where no signal is heard.
    """
    if threading.current_thread() is not threading.main_thread() or "RANK" in os.environ:
        yield
        return

    def end(_number: int, _frame: object) -> NoReturn:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        print("terminated", file=sys.stderr)
        raise SystemExit(128 + signal.SIGTERM)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before if before is not None else signal.SIG_DFL)


def build_app() -> typer.Typer:
    """The application with every verb found in this package."""
    names = {"help_option_names": ["-h", "--help"]}  # verbs inherit them
    app = typer.Typer(context_settings=names, pretty_exceptions_enable=False)
    app.callback()(_root)
    _add_verbs(app, __name__, __path__)
    return app


def _add_verbs(app: typer.Typer, package: str, path: Iterable[str]) -> None:
    for found in sorted(pkgutil.iter_modules(path), key=lambda found: found.name):
        if found.name.startswith("_"):
            continue
        module, name = import_module(f"{package}.{found.name}"), found.name.replace("_", "-")
        if found.ispkg:
            group = typer.Typer(add_completion=False, no_args_is_help=True, help=module.__doc__)
            _add_verbs(group, module.__name__, module.__path__)
            app.add_typer(group, name=name)
        else:
            app.command(name, help=_unwrapped(inspect.getdoc(module.command) or ""))(module.command)


def _unwrapped(text: str) -> str:
    """Join each paragraph to one line.

    Typer breaks all paragraphs but the first where the source does, on top of its own breaks at the terminal's edge.
    """
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in text.split("\n\n"))


def _version(asked: bool) -> None:
    if asked:
        print(f"cdtr {version('cdtr')}")
        raise typer.Exit


def _root(
    _show_version: Annotated[
        bool, typer.Option("--version", is_eager=True, help="Print the version.", callback=_version)
    ] = False,
    _debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks, as CDTR_DEBUG=1 does.")] = False,
    _quiet: Annotated[
        bool, typer.Option("--quiet", help="No progress, notes or next steps; results, warnings and errors stay.")
    ] = False,
) -> None:
    """Boxes and heat maps from images sorted by class.

    Start with `cdtr quickstart --out runs/quickstart`, or with your own folder of class folders:
    `cdtr train DATA --out RUN`.
    """


def _explain(error: Exception) -> tuple[str, int]:
    """One line and the exit code."""
    from cdtr.files import is_full_disk

    if isinstance(error, CdtrError):
        return str(error), error.exit_code
    if isinstance(error, _CLICK_ERROR):
        return _explain_usage(error), 2
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        if is_full_disk(error):
            return f"{where}{_DISK_FULL}", 2
        if error.errno == errno.EFBIG:
            return f"{where}a file may not be as large as this one here: see `ulimit -f`, or choose another --out", 2
        return f"{where}{error.strerror or error}", 1
    if is_full_disk(error):
        return _DISK_FULL, 2
    if isinstance(error, ModuleNotFoundError) and error.name and not error.name.startswith("cdtr"):
        return f"this needs {error.name}, which is not installed: `pip install .` in cdtr's folder brings it", 2
    # By name, because importing PyTorch would delay every error; RuntimeError is what the CPU's allocator raises.
    if (
        type(error).__name__ == "OutOfMemoryError"
        or isinstance(error, MemoryError)
        or "can't allocate memory" in str(error)
    ):
        return _OUT_OF_MEMORY, 1
    if "DataLoader worker" in str(error) and ("killed by signal" in str(error) or "exited unexpectedly" in str(error)):
        return _WORKER_KILLED, 1
    reason = f"{type(error).__name__}: {error}"
    return f"{reason} (unexpected, so a fault of cdtr; CDTR_DEBUG=1 shows where)", 1


def _explain_usage(error: Exception) -> str:
    # A group without a verb has no message of its own.
    message = getattr(error, "format_message", lambda: str(error))() or "Expected a command."
    context = getattr(error, "ctx", None) if isinstance(error, _USAGE_ERROR) else None
    if context is None:
        return str(message)
    stop = "" if message.endswith((".", "?", "!")) else "."  # typer ends only some of its messages
    return f"{message}{stop} See `{context.command_path} --help`."


def _print_error(message: str) -> None:
    print(f"error: {printable(' '.join(message.split()))}", file=sys.stderr)


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """One line, without the place in the code that means nothing to a user."""
    if not issubclass(category, DeprecationWarning | FutureWarning | PendingDeprecationWarning):
        print(f"warning: {printable(' '.join(str(message).split()))}", file=sys.stderr)
