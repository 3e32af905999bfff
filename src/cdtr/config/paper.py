"""The paper's tables and figures as data, for `cdtr reproduce`: one YAML file each in ``presets/tables``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from cdtr.config.checking import Section, checked_section
from cdtr.config.loading import load_config, read_preset
from cdtr.errors import ConfigError
from cdtr.text import did_you_mean

ROMAN = ("I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX", "X", "XI", "XII", "XIII", "XIV")
# What the released code scores with; the paper itself does not say which.
PAPER_PROTOCOL = "cdtr"


class PaperData(Section):
    """A data set of the paper: the preset that has its settings, and its published size."""

    label: str
    preset: str
    train_images: int = Field(ge=1)
    classes: int = Field(ge=2)


class PaperRow(Section):
    """One line. settings: what to train, over the data set's preset; None for what is not trained here, and ``why``.

    text: the line's words under ``columns``. paper: data set -> the paper's value of each metric; the line is trained
    on these data sets, or on all of the table's where it names none.
    """

    label: str
    text: tuple[str, ...] = ()
    settings: dict[str, Any] | None = None
    why: str = "not implemented"
    paper: dict[str, tuple[float | None, ...]] = Field(default_factory=dict)


class PaperFigure(Section):
    """A chart: metrics over a setting (``key``), the distribution of IoU, or the lambdas or the loss over the steps."""

    kind: Literal["sweep", "iou", "lambdas", "losses"]
    key: str | None = None
    log: bool = False


class PaperDifference(Section):
    """A last line with the differences of two rows, ``row`` less ``base``, as the paper prints it."""

    label: str
    row: str
    base: str


class PaperGallery(Section):
    """Maps of every row's run on the same images, a column an image.

    panels: what is shown of each run: its localization map, its attention after training, its attention ``before``
    training beside that after, what its attention outside the boxes lies on (``noise``), or OCM's pseudo map.
    boxes: which are drawn on them: the true ones and the run's own, the true ones alone, or none. iou: print the IoU
    of the run's box. choose: the images, drawn at random, or ``failures`` of the row ``by``. images: how many a data
    set.
    """

    panels: tuple[Literal["map", "attention", "before", "noise", "pseudo_map"], ...] = ("map",)
    boxes: Literal["both", "true", "none"] = "both"
    iou: bool = False
    choose: Literal["random", "failures"] = "random"
    by: str | None = None
    images: int = Field(default=6, ge=1)


class PaperTable(Section):
    """A table or figure. ``figure``: a chart of numbers; ``gallery``: images; a figure may have both."""

    title: str
    data: tuple[str, ...] = Field(min_length=1)
    columns: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()
    figure: PaperFigure | None = None
    gallery: PaperGallery | None = None
    notes: tuple[str, ...] = ()
    difference: PaperDifference | None = None
    rows: dict[str, PaperRow] = Field(min_length=1)

    @field_validator("rows")
    @classmethod
    def _fits(cls, rows: dict[str, PaperRow], info: ValidationInfo) -> dict[str, PaperRow]:
        data, columns, metrics = (info.data.get(name, ()) for name in ("data", "columns", "metrics"))
        for name, row in rows.items():
            if len(row.text) != len(columns):
                raise ValueError(f"row {name!r} has {len(row.text)} words for {len(columns)} columns")
            for where, values in row.paper.items():
                if where not in data or len(values) != len(metrics):
                    raise ValueError(f"row {name!r}: expected {len(metrics)} values for one of {', '.join(data)}")
        difference: PaperDifference | None = info.data.get("difference")
        missing = [name for name in (difference.row, difference.base) if name not in rows] if difference else []
        if missing:
            raise ValueError(f"difference: no row {missing[0]!r}, choose from {', '.join(rows)}")
        return rows

    @model_validator(mode="after")
    def _has_the_row_of_its_failures(self) -> PaperTable:
        gallery = self.gallery
        if gallery is not None and (gallery.choose == "failures") != (gallery.by in self.rows):
            raise ValueError(
                f"gallery: choose {gallery.choose}, by {gallery.by!r}: failures, and nothing else, need one of the "
                f"rows {', '.join(self.rows)}"
            )
        return self

    def rows_on(self, data: str) -> dict[str, PaperRow]:
        """Return the rows that belong to a data set, by name."""
        return {name: row for name, row in self.rows.items() if not row.paper or data in row.paper}


@dataclass(frozen=True, slots=True)
class Reproduction:
    """A table with its name, ``table-5``, and the data sets that it needs."""

    name: str
    table: PaperTable
    data: Mapping[str, PaperData]

    @property
    def caption(self) -> str:
        """Its name in the paper, such as Table V or Fig. 7."""
        kind, _, number = self.name.partition("-")
        return f"Table {ROMAN[int(number) - 1]}" if kind == "table" else f"Fig. {number}"


def reproduction_names() -> list[str]:
    """Return the names of all tables, then of all figures, by number."""
    names = (entry.name for entry in files("cdtr.presets").joinpath("tables").iterdir())
    found = [name.removesuffix(".yaml") for name in names if name.endswith(".yaml") and not name.startswith("_")]
    return sorted(found, key=lambda name: (name.startswith("figure"), int(name.rpartition("-")[2])))


def load_reproduction(asked: str) -> Reproduction:
    """Return a table or figure.

    Args:
        asked: Any of its names, such as ``table-5``, ``5``, ``V``, ``figure-7`` or ``fig. 7``.

    Raises:
        ConfigError: There is no such table, or a row has an unknown setting.
    """
    name = _canonical(asked)
    table = checked_section(read_preset(f"tables/{name}"), PaperTable, name)
    known = {
        key: checked_section(tree, PaperData, f"_data-sets.yaml, {key}")
        for key, tree in read_preset("tables/_data-sets").items()
    }
    missing = [key for key in table.data if key not in known]
    if missing:
        raise ConfigError(f"{name}: unknown data set {missing[0]!r}: choose from {', '.join(known)}")
    found = Reproduction(name, table, {key: known[key] for key in table.data})
    for key, data in found.data.items():
        for row, of in table.rows_on(key).items():
            try:
                load_config(data.preset, changes=of.settings)
            except ConfigError as error:
                raise ConfigError(f"{name}, row {row!r}: {error}") from error
    return found


def _canonical(asked: str) -> str:
    names = reproduction_names()
    match = re.fullmatch(r"(table|figure|fig\.?)?[\s_-]*(\d+|[ivx]+)", asked.strip().lower())
    if match:
        kind, number = match.groups()
        if number.upper() in ROMAN:
            number = str(ROMAN.index(number.upper()) + 1)
        name = f"{'figure' if (kind or '').startswith('fig') else 'table'}-{number}"
        if name in names:
            return name
    raise ConfigError(f"unknown table {asked!r}{did_you_mean(asked, names)}; choose one of {', '.join(names)}")
