"""What boxes bring: a table, a line of advice, a CSV file and a page with curves."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.table import Table

from cdtr.evaluation.few_boxes import BudgetPoint
from cdtr.reports.columns import add_number, add_text
from cdtr.reports.figures import tidy
from cdtr.reports.page import COLOURS, Chart, chart_uri, new_chart, write_page
from cdtr.reports.tables import csv_text, percent

TITLES = {
    "calibrate": "threshold",
    "prior": "prior",
    "refine": "second stage",
    "detector": "detector alone",
}
_HEADER = ("boxes for", "order", "boxed images", "GT-known Loc", "gain", "95% interval", "score AUROC", "MaxBoxAcc")
_CSV = (
    "way",
    "order",
    "images",
    "draws",
    "gt_known_loc",
    "spread",
    "low",
    "high",
    "gain",
    "gain_low",
    "gain_high",
    "max_box_acc",
    "threshold",
    "score_auroc",
    "chosen",
)
_REVIEW = "review"
_LINEAR_UP_TO = 10  # boxed images, on an axis that is logarithmic above


def budget_rows(points: Sequence[BudgetPoint]) -> tuple[tuple[str, ...], list[list[str]]]:
    """Return the header of a table and its rows, one a point."""
    rows = []
    for one in points:
        found = percent(one.gt_known_loc) + ("" if one.spread is None else f" ± {one.spread:.1f}")
        between = "{:+.1f} to {:+.1f}".format(*one.gain_interval)
        numbers = (f"{one.gain:+.1f}", between, percent(one.score_auroc), percent(one.max_box_acc))
        rows.append([TITLES[one.way], one.order, str(one.images), found, *numbers])
    return _HEADER, rows


def budget_table(points: Sequence[BudgetPoint]) -> Table:
    """Return the table for a terminal."""
    table = Table(title="GT-known Loc on the measured images, in percent", title_justify="left")
    header, rows = budget_rows(points)
    for number, name in enumerate(header[:-1]):  # with MaxBoxAcc it would be wider than a terminal
        (add_text if number < 2 else add_number)(table, name)
    for before, row in zip([None, *rows], rows, strict=False):
        if before is not None and before[:2] != row[:2]:
            table.add_section()
        table.add_row(*row[:-1])
    table.caption = (
        "±: standard deviation over the draws; gain, with its interval: over the same without boxes, for the detector "
        "over the run; score AUROC: how well scores of boxes, fitted on the same images, tell hits from misses"
    )
    table.caption_justify = "left"
    return table


def budget_csv(points: Sequence[BudgetPoint]) -> str:
    """Return the points as CSV, one a line, percentages as they are."""
    lines = []
    for one in points:
        chosen = "" if one.chosen is None else "; ".join(f"{name} {count}" for name, count in one.chosen.items())
        numbers = (one.gt_known_loc, one.spread, *one.interval, one.gain, *one.gain_interval, one.max_box_acc)
        cells = ["" if number is None else f"{number:.2f}" for number in numbers]
        threshold = "" if one.threshold is None else f"{one.threshold:.3f}"
        auroc = "" if one.score_auroc is None else f"{one.score_auroc:.2f}"
        lines.append([one.way, one.order, one.images, one.draws, *cells, threshold, auroc, chosen])
    return csv_text(_CSV, lines)


def advice(points: Sequence[BudgetPoint]) -> list[str]:
    """Say how many boxes to draw, a line for each use of them and one for the order in which to draw them.

    The smallest number is enough above which none gains more than the spread of the draws.
    """
    lines: list[str] = []
    run: BudgetPoint | None = None
    for way in TITLES:
        some = [one for one in points if one.way == way and one.order != _REVIEW and one.images]
        if not some:
            continue
        if way == "calibrate":
            run = max((one for one in points if one.way == way), key=lambda one: one.gt_known_loc)
        lines.append(_against(some, run) if way == "detector" and run is not None else _gained(some))
        if way == "calibrate":
            lines += _scores(some)
    return [*lines, *_order_advice(points)]


def enough_boxes(points: Sequence[BudgetPoint]) -> BudgetPoint | None:
    """Return the first of the points, by increasing numbers of boxes, after which none gains more than its spread.

    Only points count whose gain chance does not explain; None where there is none.
    """
    clear = [one for one in points if one.gain_interval[0] > 0]
    for one in clear:
        later = max(other.gt_known_loc for other in points if other.images >= one.images)
        if later - one.gt_known_loc <= (one.spread or 0.0):
            return one
    return clear[-1] if clear else None


def _gained(points: Sequence[BudgetPoint]) -> str:
    title, last, enough = TITLES[points[0].way], points[-1], enough_boxes(points)
    if enough is None:
        best = max(points, key=lambda one: one.gain)
        if best.gain > 0:
            chance = "which chance could explain: only more measured images can tell"
            return f"{title}: {best.images} boxed images give {best.gain:+.1f} ({best.gt_known_loc:.1f}%), {chance}"
        keep = f", keep the label-free one (no threshold finds more than {percent(last.max_box_acc)}%)"
        return f"{title}: up to {last.images} boxed images bring nothing{keep if last.way == 'calibrate' else ''}"
    more = "" if enough is last else ", more bring nothing beyond the spread of the draws"
    return f"{title}: {enough.images} boxed images give {enough.gain:+.1f} ({enough.gt_known_loc:.1f}%){more}"


def _scores(points: Sequence[BudgetPoint]) -> list[str]:
    """Say from how many boxes on boxes have scores, and how good these are."""
    known = [(one.images, one.score_auroc) for one in points if one.score_auroc is not None]
    if not known:
        return []
    shown = ", ".join(
        f"{auroc:.0f} from {images} boxed images" for images, auroc in (known[0], known[-1])[: len(known)]
    )
    return [f"scores of boxes: AUROC {shown}"]


def _against(detectors: Sequence[BudgetPoint], run: BudgetPoint) -> str:
    """Compare detectors with the best threshold of the run."""
    better = next((one for one in detectors if one.gt_known_loc > run.gt_known_loc), None)
    shown, told = (detectors[-1], "less") if better is None else (better, "more")
    found = f"{TITLES['detector']}: {shown.images} boxed images find {told} ({shown.gt_known_loc:.1f}%)"
    return f"{found} than the run with its best threshold ({run.gt_known_loc:.1f}%)"


def _order_advice(points: Sequence[BudgetPoint]) -> Iterator[str]:
    """Compare the two orders at the smallest number of boxes that both have."""
    for way, title in TITLES.items():
        by_order = {one.order: one for one in reversed(points) if one.way == way and _has_both(points, one)}
        if by_order:
            random, review = by_order["random"], by_order[_REVIEW]
            difference = review.gt_known_loc - random.gt_known_loc
            clear = abs(difference) > max(random.spread or 0.0, review.spread or 0.0)
            told = "beyond" if clear else "within"
            what = f"{random.images} images in review order instead of random ones"
            yield f"{title}: {what} give {difference:+.1f}, {told} the spread"


def _has_both(points: Sequence[BudgetPoint], point: BudgetPoint) -> bool:
    """Whether a number of boxed images was measured in both orders."""
    return len({one.order for one in points if (one.way, one.images) == (point.way, point.images)}) > 1


def budget_chart(points: Sequence[BudgetPoint]) -> Chart:
    """Draw GT-known Loc over the number of boxed images, a line for each use of boxes and order."""
    figure, axes = new_chart()
    lines: dict[tuple[str, str], list[BudgetPoint]] = {}
    for one in points:
        lines.setdefault((one.way, one.order), []).append(one)
    words = []
    for (way, order), some in lines.items():
        colour, review = COLOURS[list(TITLES).index(way)], order == _REVIEW
        label = TITLES[way] + (", review order" if review else "")
        sizes, scores = [one.images for one in some], [one.gt_known_loc for one in some]
        spreads, style = [one.spread or 0.0 for one in some], "--" if review else "-"
        axes.errorbar(sizes, scores, spreads, label=label, marker=".", capsize=2, color=colour, linestyle=style)
        words.append(
            f"{label}: {', '.join(f'{score:.1f} at {size}' for size, score in zip(sizes, scores, strict=True))}"
        )
    ticks = sorted({one.images for one in points})
    axes.set_xscale("symlog", linthresh=_LINEAR_UP_TO)
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.minorticks_off()
    axes.set(xlabel="boxed images", ylabel="GT-known Loc, %")
    axes.legend(fontsize="small", loc="lower center", bbox_to_anchor=(0.5, 1), frameon=False)
    tidy(axes)
    alt = f"Lines: GT-known Loc over the number of boxed images. {'; '.join(words)}."
    return Chart("What boxes bring", alt, chart_uri(figure), "Bars: standard deviation over the draws.")


def write_budget_page(page: Path, points: Sequence[BudgetPoint], run: str, drawn: int, measured: int) -> None:
    """Write one HTML file that needs no other.

    Args:
        page: The file.
        points: What was measured.
        run: Path or name of the run.
        drawn: Number of images that were drawn from.
        measured: Number of images that were measured on.
    """
    header, rows = budget_rows(points)
    words = {
        "run": run,
        "advice": advice(points),
        "chart": budget_chart(points),
        "header": header,
        "rows": rows,
        "drawn": drawn,
        "measured": measured,
    }
    write_page("budget.html", page, words)
