"""The pages of the site that are written elsewhere: the README, what the commands say of themselves, the notebook.

They are made at every build, so they cannot grow stale, and mkdocs checks their links as those of all pages.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import nbformat
import typer
from mkdocs.structure.files import File
from nbconvert import MarkdownExporter
from typer.cli import get_docs_for_click
from typer.main import get_command

from cdtr.cli import build_app

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

NOTEBOOK = "localizer"


def on_files(files: Files, config: MkDocsConfig) -> None:
    """Add what has no file in docs/."""
    docs = Path(config.docs_dir)
    pages: dict[str, str | bytes] = {"index.md": start_page(docs.parent), "commands.md": command_page()}
    for name, content in {**pages, **notebook_page(docs)}.items():
        files.append(File.generated(config, name, content=content))


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Links to the notebook, which a code host shows, lead to its page here."""
    return markdown.replace(f"({NOTEBOOK}.ipynb)", f"({NOTEBOOK}.md)")


def start_page(root: Path) -> str:
    """The README, with its links as seen from docs/."""
    return (root / "README.md").read_text(encoding="utf-8").replace("](docs/", "](")


def command_page() -> str:
    """The help of every command, by Typer's own writer of it."""
    command = get_command(build_app())
    _name_whole(command)
    return get_docs_for_click(
        obj=command, ctx=typer.Context(command, info_name="cdtr"), name="cdtr", title="All commands"
    )


def _name_whole(group: Any) -> None:
    """In lists of commands the first sentence of each, which Typer would cut after 45 letters."""
    for command in group.commands.values():
        command.short_help = " ".join((command.help or "").split("\n\n")[0].split())
        if hasattr(command, "commands"):
            _name_whole(command)


def notebook_page(docs: Path) -> dict[str, str | bytes]:
    """The notebook as a page, and the pictures in it."""
    notebook = nbformat.read(docs / f"{NOTEBOOK}.ipynb", as_version=4)
    page, resources = MarkdownExporter().from_notebook_node(notebook)
    pictures = {f"{NOTEBOOK}_files/{name}": data for name, data in resources["outputs"].items()}
    for name in resources["outputs"]:
        page = page.replace(f"({name})", f"({NOTEBOOK}_files/{name})")
    return {f"{NOTEBOOK}.md": page, **pictures}
