"""`cdtr calibrate`"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cdtr.cli._options import BoxesOption, DeviceOption, JsonOption, ViewOption

if TYPE_CHECKING:
    import torch

    from cdtr.data.loader import EvalLoader
    from cdtr.data.pixels import View
    from cdtr.evaluation import Calibration, Protocol
    from cdtr.localization.quality import BoxQuality
    from cdtr.records import DataSource, Method, Sample
    from cdtr.runs import RunFolder

CHOSEN_ON = "held-out training images"
NOT_TO_CHOOSE_ON = ("test", "train")
_CHOSEN_ON = "the images to choose on"  # comes after the splits for scores in the search for copies


def command(
    run: Annotated[str, typer.Argument(help="A trained run folder, or a hub id.")],
    data: Annotated[Path, typer.Option("--data", help="The data set that the run was trained on.")],
    split: Annotated[
        str | None,
        typer.Option("--split", help="val, train-fullsup, ...; by default the training images that were held out."),
    ] = None,
    boxes: BoxesOption = None,
    label_free: Annotated[bool, typer.Option("--label-free", help="Look at no box: the maps alone choose it.")] = False,
    mirror: Annotated[
        bool,
        typer.Option("--mirror", help="Let scores of boxes see the mirrored image; localizing takes twice as long."),
    ] = False,
    view: ViewOption = None,
    device: DeviceOption = None,
    json_file: JsonOption = None,
) -> None:
    """Choose the map threshold on images that are not the test set, and store it in the run.

    One threshold is chosen for every protocol; the run's own is the one that `cdtr localize` uses. The boxes found
    with it get scores, fitted on the same images: the probability that their IoU is at least 0.5. Data without boxes
    takes --label-free, which gives a threshold and no scores. The view that it is
    chosen under is kept with it. Of a hub id, the calibration lies in the hub's cache.

    Example: cdtr calibrate runs/neu --data NEU-DET
    """
    from cdtr.api import find_run
    from cdtr.cli._output import write_answer
    from cdtr.cli._shared import LOCALIZE_REST, TERMINAL, next_steps, require_outputs, shell, tell_reading
    from cdtr.errors import ConfigError
    from cdtr.evaluation.calibration import LABEL_FREE
    from cdtr.workflows.opening import find_test_split, open_source

    require_outputs(json_file)
    folder = find_run(run)
    if label_free and mirror:
        raise ConfigError("--mirror is for the scores of boxes, which --label-free cannot fit: give one of them")
    source = open_source(folder, data, boxes, split, TERMINAL)
    found, quality = calibrate_run(folder, source, device, split, label_free, mirror, view)
    tell_reading(source)
    chosen = LABEL_FREE if found.gt_known_loc is None else f"GT-known Loc {found.gt_known_loc:.1f}%"
    print(
        f"threshold {found.threshold:.3g}: {chosen}, on {found.n_images} {chosen_on(split)} (protocol {found.protocol})"
    )
    if quality is not None:
        print(f"scores of boxes: fitted on {quality.n_images} boxes, {100 * quality.hit_rate:.1f}% of them hits")
    print(f"wrote {folder.calibration_file}")
    write_answer(json_file, {"run": run, **(folder.calibration() or {})})
    test = [shell("cdtr", "evaluate", run, "--data", data)] if find_test_split(source, split) else []
    report = shell("cdtr", "report", run, "--data", data)
    next_steps([*test, report, shell("cdtr", "localize", run) + LOCALIZE_REST])


def calibrate_run(
    run: RunFolder,
    source: DataSource,
    device: str | None = None,
    split: str | None = None,
    label_free: bool = False,
    mirror: bool = False,
    view: str | None = None,
) -> tuple[Calibration, BoxQuality | None]:
    """Choose the thresholds on the run's held-out images, or another split, and write ``calibration.json``.

    With boxes enough, scores of boxes are fitted on the same images. Returns the run's own protocol's calibration.
    view: what the network sees of an image; ConfigError for another than the run's own protocol says.
    """
    from cdtr.api import find_device, load_model
    from cdtr.data.files import content_hash
    from cdtr.errors import DataError
    from cdtr.evaluation import PROTOCOLS
    from cdtr.runs import write_json

    if not source.annotated and not label_free:
        raise DataError(
            f"{source.root} has no boxes: calibration needs some for the held-out images; without any, take "
            "--label-free, or a threshold that looks right on the overlays of `cdtr localize --threshold T --overlays`"
        )
    own, seen = own_view(run, view)
    hash_of = cache(content_hash)
    samples = calibration_samples(run, source, split, hash_of)
    where = find_device(device)
    on = OnImages(run, source, samples, chosen_on(split), load_model(run.path, where), where)
    found = on.thresholds([own, *(protocol for protocol in PROTOCOLS.values() if protocol != own)], view, label_free)
    chosen = next(one for one, _ in found if one.protocol == own.name)
    quality = None if label_free else on.box_scores(own, seen, chosen.threshold, mirror)
    content = {
        "source": chosen_on(split),
        "view": seen.name,
        **chosen.to_json(),
        "by_protocol": {
            one.protocol: {"threshold": one.threshold, "gt_known_loc": one.gt_known_loc, "view": under.name}
            for one, under in found
        },
        "box_scores": None if quality is None else quality.to_json(),
        "contents": sorted({hash_of(sample.path) or "unreadable" for sample in samples} - {"unreadable"}),
    }
    write_json(run.calibration_file, content)
    return chosen, quality


def own_view(run: RunFolder, view: str | None) -> tuple[Protocol, View]:
    """The run's own protocol, and what the network sees under it; ConfigError for another view than it says."""
    from cdtr.api import choose_view
    from cdtr.cli._shared import note
    from cdtr.data.pixels import View
    from cdtr.errors import ConfigError
    from cdtr.evaluation import find_protocol

    config = run.config()
    own = find_protocol(config.evaluation.protocol)
    if view is not None and own.view is not None and view != own.view:
        raise ConfigError(f"--view {view}: the run's protocol {own.name} sees the {own.view}, leave --view out")
    seen = View.of(own.view or choose_view(run, view), config.data)
    if view is None and own.view is None and seen.name != config.evaluation.view:
        note(f"view {seen.name}, as the last calibration; the settings say {config.evaluation.view} (--view takes it)")
    return own, seen


@dataclass(frozen=True, slots=True)
class OnImages:
    """A run with its method, loaded once, and the images to calibrate it on. where: what they are, in words."""

    run: RunFolder
    source: DataSource
    samples: Sequence[Sample]
    where: str
    module: Method
    device: torch.device

    def thresholds(
        self, protocols: Sequence[Protocol], view: str | None, label_free: bool
    ) -> list[tuple[Calibration, View]]:
        """Each protocol's calibration and the view that it was made under."""
        from cdtr.cli._shared import TERMINAL, progress_bar
        from cdtr.evaluation import calibrate, calibrate_label_free
        from cdtr.workflows.opening import group_by_view

        groups = group_by_view(self.run, protocols, view, TERMINAL)
        found: list[tuple[Calibration, View]] = []
        for seen, members in groups.items():
            words = f"calibrating on {self.where}" + (f", {seen.name}" if len(groups) > 1 else "")
            method, batches = self._seen(seen)
            with progress_bar(words, len(self.samples)) as move:
                if label_free:
                    some = calibrate_label_free(method, batches, members, self.device, move)
                else:
                    some = calibrate(method, batches, self.source.annotate, members, self.device, move)
            found += [(one, seen) for one in some]
        return found

    def box_scores(self, protocol: Protocol, view: View, threshold: float, mirror: bool) -> BoxQuality | None:
        """Scores of boxes found at the threshold; None, with a note, where they cannot be fitted."""
        from cdtr.cli._shared import note, progress_bar
        from cdtr.errors import DataError
        from cdtr.evaluation import fit_box_scores

        method, batches = self._seen(view)
        shape = threshold, len(self.source.class_names)
        try:
            with progress_bar("fitting scores of boxes", len(self.samples)) as move:
                return fit_box_scores(
                    method, batches, self.source.annotate, protocol, *shape, self.device, move, mirrored=mirror
                )
        except DataError as error:
            note(f"no scores of boxes: {error}")
            return None

    def _seen(self, view: View) -> tuple[Method, EvalLoader]:
        from cdtr.api import as_seen
        from cdtr.cli._shared import report_broken
        from cdtr.data.loader import eval_loader

        batches = eval_loader(self.samples, self.run.config(), on_broken=report_broken, view=view.name)
        return as_seen(self.module, view), batches


def calibration_samples(
    run: RunFolder, source: DataSource, split: str | None, hash_of: Callable[[Path], str | None] | None = None
) -> Sequence[Sample]:
    """The images to choose on; DataError for the test split and for what the run was fitted to.

    hash_of: hashes a file, where the caller wants the hashes as well.
    """
    from cdtr.data.files import content_hash
    from cdtr.errors import DataError
    from cdtr.workflows.opening import find_split, held_out_samples

    if split in NOT_TO_CHOOSE_ON:
        reason = "a threshold chosen on it would flatter the scores" if split == "test" else "the run was fitted to it"
        raise DataError(f"--split {split}: {reason}; choose a held-out split, or leave --split out")
    samples = held_out_samples(run, source) if split is None else find_split(run, source, split)
    return without_scored(samples, source, split, hash_of or content_hash)


def without_scored(
    samples: Sequence[Sample], source: DataSource, split: str | None, hash_of: Callable[[Path], str | None]
) -> Sequence[Sample]:
    """Without the images that another split, for scores, has as well: a threshold chosen on them could not be scored.

    DataError where none is left.
    """
    from dataclasses import replace

    from cdtr.cli._shared import note
    from cdtr.data.duplicates import find_copies
    from cdtr.errors import DataError
    from cdtr.workflows.opening import TEST_SPLITS

    scored = {name: source.splits[name] for name in TEST_SPLITS if name in source.splits and name != split}
    copies = find_copies(replace(source, splits={**scored, _CHOSEN_ON: tuple(samples)}), hash_of)
    copies = [copy for copy in copies if copy.split == _CHOSEN_ON]
    copied = {copy.sample.path for copy in copies}
    left = [sample for sample in samples if sample.path not in copied]
    if copied:
        found = (
            f"{len(samples) - len(left)} of the {len(samples)} {chosen_on(split)} are also in {copies[0].kept_split}"
        )
        if not left:
            raise DataError(f"{found}: give another --split, or train with --deduplicate")
        note(f"{found}: the threshold is not chosen on them")
    return left


def chosen_on(split: str | None) -> str:
    return CHOSEN_ON if split is None else f"images of {split}"
