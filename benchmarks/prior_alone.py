"""The object prior of a run's own guide, measured as if it were the localization map: the reference row of a table.

    python benchmarks/prior_alone.py OUT/runs/cdtr-? --data NEU-DET
    python benchmarks/collect_results.py OUT --csv results/neu-det.csv       # takes the row ``prior`` from them

What a method scores above this row is what it learned beyond its prior. Images, protocol and classes are the run's own:
the threshold is chosen on the images that the run held out, as `cdtr calibrate` does, the split is that of
`cdtr evaluate`, and Top-1 Loc counts the run's predicted classes. Written as RUN/prior.json, like `cdtr evaluate
--json`. A run without a guide is refused with exit code 2.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import torch

from cdtr.api import as_seen, find_device, find_view, load_model
from cdtr.data.loader import eval_loader
from cdtr.errors import CdtrError, CheckpointError, DataError
from cdtr.evaluation import Tally, calibrate, find_protocol, tally_images
from cdtr.model.priors import PRIORS
from cdtr.records import DataSource
from cdtr.runs import RunFolder, write_json
from cdtr.threshold import Threshold, ThresholdSource
from cdtr.workflows.calibration_images import calibration_samples, describe_split
from cdtr.workflows.opening import HELD_OUT, choose_split, find_test_split, open_source
from collect_results import PRIOR
from object_priors import PriorMaps, trained_guide


def measure_prior(
    run: RunFolder,
    source: DataSource,
    split: str | None = None,
    choose_on: str | None = None,
    prior: str | None = None,
    device: torch.device | str = "cpu",
) -> dict[str, Any]:
    """Calibrate and evaluate a run's object prior as a localization map.

    Args:
        run: a trained run with a guide.
        source: its data set.
        split: the images to measure on; None for those of `cdtr evaluate`.
        choose_on: the split to choose the threshold on; None for the images that the run held out.
        prior: one of ``PRIORS``; None for the run's own.
        device: where to compute.

    Returns:
        What `cdtr evaluate --json` writes, with the name of the prior as ``method``.

    Raises:
        CheckpointError: the run has no guide, or no prior of its own where none was named.
        DataError: there is no image to measure on that the threshold was not chosen on.
    """
    guide, config = trained_guide(run), run.config()
    if prior is not None:
        guide.prior = prior  # type: ignore[assignment]
    if guide.prior not in PRIORS and guide.direction is None:
        raise CheckpointError(
            f"{run.path} has a guide but no prior that is computed: name one with --prior {' or '.join(sorted(PRIORS))}"
        )
    if split is None and find_test_split(source, choose_on) is None:
        raise DataError(
            f"{source.root} has no split test or val to measure on: bring one, or name another with --split"
        )
    name, samples = choose_split(run, source, split)
    if name == (choose_on or HELD_OUT):
        raise DataError(f"the threshold is chosen on {name}, so it cannot be measured there: choose another --split")
    rules = find_protocol(config.evaluation.protocol)
    view = find_view(run)
    classifier = as_seen(load_model(run.path, device), view)
    method = PriorMaps(guide, classifier, view.input_hw).eval()
    chosen = eval_loader(calibration_samples(run, source, choose_on), config, view=view.name)
    (found,) = calibrate(method, chosen, source.annotate, [rules], device)
    source_of = f"{found.n_images} {describe_split(choose_on)}"
    tally = Tally(rules, Threshold(found.threshold, ThresholdSource.CALIBRATED, source_of))
    tally_images([tally], method, eval_loader(samples, config, view=view.name), source.annotate, device)
    result = tally.finish()
    return {"split": name, "method": f"prior {guide.prior}", **result.to_json(source.class_names)}


def main() -> int:
    """Measure the prior of each run of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+", help="trained runs with a guide")
    parser.add_argument("--data", type=Path, required=True, help="the data set that they were trained on")
    parser.add_argument("--split", help="images to measure on (default: the first of test, val)")
    parser.add_argument("--choose-on", metavar="SPLIT", help="to choose the threshold on (default: held-out images)")
    parser.add_argument("--prior", choices=sorted(PRIORS), help="instead of the run's own")
    parser.add_argument("--json", type=Path, help=f"file to write, of a single run (default: RUN/{PRIOR})")
    parser.add_argument("--device", help="cpu or cuda (default: cuda where there is one)")
    options = parser.parse_args()
    try:
        if options.json is not None and len(options.runs) > 1:
            raise DataError(f"--json {options.json} is one file, for one run: leave it out, each run has its own then")
        device = find_device(options.device)
        for path in options.runs:
            run = RunFolder(path).require_trained()
            source = open_source(run, options.data)
            result = measure_prior(run, source, options.split, options.choose_on, options.prior, device)
            file = options.json or path / PRIOR
            write_json(file, result)
            scores = result["metrics"]
            print(
                f"{path}: {result['method']}, threshold {result['threshold']:.2f}, GT-known Loc "
                f"{scores['gt_known_loc']:.1f}, at IoU 0.7 {scores['gt_known_loc_iou70']:.1f}; wrote {file}"
            )
    except CdtrError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
