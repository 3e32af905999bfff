"""The pages of the site whose text is elsewhere: README and its neighbours, examples, help of commands, notebook.

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

import cdtr
from cdtr.cli import build_app

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

NOTEBOOK = "localizer"
API = "api.md"
ROOT_PAGES = {  # file of the project's root -> page of the site
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "SECURITY.md": "security.md",
}
EXAMPLES = ("examples/README.md", "examples.md")


def on_files(files: Files, config: MkDocsConfig) -> None:
    """Add what has no file in docs/."""
    docs = Path(config.docs_dir)
    pages: dict[str, str | bytes] = {"commands.md": command_page()}
    for name, page in ROOT_PAGES.items():
        pages[page] = root_page(docs.parent / name)
    pages[EXAMPLES[1]] = example_page(docs.parent / "examples")
    for name, content in {**pages, **notebook_page(docs)}.items():
        files.append(File.generated(config, name, content=content))


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Links to the notebook, which a code host shows, lead to its page here; the API page has every public name."""
    if page.file.src_uri == API:
        markdown += rest_of_api(markdown)
    return markdown.replace(f"({NOTEBOOK}.ipynb)", f"({NOTEBOOK}.md)")


def rest_of_api(markdown: str) -> str:
    """A section with the public names that the page does not arrange itself: functions, then their results."""
    missing = [name for name in cdtr.__all__ if f"::: cdtr.{name}\n" not in markdown + "\n"]
    functions, classes = ([name for name in missing if name.islower() is lower] for lower in (True, False))
    parts = [("Workflows", functions), ("Results and options", classes)]
    return "".join(
        f"\n## {title}\n\n" + "".join(f"::: cdtr.{name}\n\n" for name in names) for title, names in parts if names
    )


def root_page(path: Path) -> str:
    """A page of the project's root, with its links as seen from docs/."""
    text = path.read_text(encoding="utf-8")
    for name, page in (*ROOT_PAGES.items(), EXAMPLES):
        text = text.replace(f"]({name}", f"]({page}")
    return text.replace("](docs/", "](")


def example_page(folder: Path) -> str:
    """The list of the examples, and the code of each."""
    page = (folder / "README.md").read_text(encoding="utf-8").replace("](../docs/", "](")
    for path in sorted(folder.glob("*.py")):
        page += f"\n## {path.name}\n\n```python\n{path.read_text(encoding='utf-8')}```\n"
    return page


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
