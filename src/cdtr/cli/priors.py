"""Command line of `cdtr priors`."""

from pathlib import Path
from typing import Annotated

from cdtr.cli._options import BoxesOption, DataArgument, JsonOption, SetOption, option, require_file


def command(
    data: DataArgument,
    out: Annotated[Path, option("The sheet to draw (.jpg or .png).", callback=require_file)],
    boxes: BoxesOption = None,
    config: Annotated[str | None, option("A preset or a YAML file with a frozen CNN; by default imagenet.")] = None,
    overrides: SetOption = None,
    images: Annotated[int, option("Images on the sheet.", min=1, max=64)] = 16,
    write_config: Annotated[
        Path | None, option("Write a configuration with the chosen prior to this YAML file.", callback=require_file)
    ] = None,
    json_file: JsonOption = None,
) -> None:
    """Draw the object priors on training images before any training, and choose one.

    Without boxes it says how far the priors agree: the mean correlation of a prior's maps with those of the others.
    With a few boxes of training images, twenty are a beginning, it measures how many objects each prior finds. The
    recipe's own prior is kept unless another is clearly better.

    Example: cdtr priors photos/ --out priors.jpg
    """
    from cdtr.cli._output import TERMINAL, next_steps, print_table, with_flags, write_results
    from cdtr.reports.contact_sheet import require_format, write_sheet
    from cdtr.reports.priors_sheet import priors_sheet, priors_table
    from cdtr.workflows.priors import compare_priors, write_prior_config

    require_format(out)
    found = compare_priors(data, config, overrides=overrides or [], boxes=boxes, images=images, reporter=TERMINAL)
    print_table(priors_table(found.scores, found.boxed))
    print(with_flags(found.reason))
    names, limit = found.source.class_names, found.config.data.max_pixels
    sheet = priors_sheet(f"Object priors, {data.name}", found.samples, names, found.maps, found.annotations, limit)
    write_sheet(sheet, out)
    print(f"wrote {out}")
    if write_config is not None:
        print(write_prior_config(found, write_config))
    write_results(json_file, found.to_json())
    given: list[object] = [] if config is None else ["--config", config]
    chosen: list[object] = [] if found.chosen == found.own else ["--set", f"ocm.prior={found.chosen}"]
    file, first = write_config, []
    if found.chosen != found.own and boxes is not None and write_config is None:
        # A bare --set would hide from the recipe's label that boxes chose the prior.
        file = out.with_suffix(".yaml")
        settings = [word for setting in overrides or [] for word in ("--set", setting)]
        first = [("priors", data, "--out", out, "--boxes", boxes, *given, *settings, "--write-config", file)]
    how = [*given, *chosen] if file is None else ["--config", file]
    next_steps(*first, ("train", data, "--out", "runs/mine", *how))
