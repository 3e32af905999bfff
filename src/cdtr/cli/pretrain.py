"""Command line of `cdtr pretrain`."""

from typing import Annotated

from cdtr.cli._options import DataArgument, ResumeOption, RunOutOption, SetOption, option


def command(
    data: DataArgument,
    out: RunOutOption,
    config: Annotated[str | None, option("A preset or a YAML file; without it the preset pretrain-small.")] = None,
    overrides: SetOption = None,
    resume: ResumeOption = False,
) -> None:
    """Pretrain a small transformer by distillation from an ImageNet CNN, where no pretrained one can be had.

    Train with the same backbone.* settings from what it writes.

    Example: cdtr pretrain photos/ --out runs/start
    """
    from cdtr.cli._output import TERMINAL, next_steps
    from cdtr.workflows.pretrain import DEFAULT_PRESET, pretrain
    from cdtr.workflows.train import is_main_process

    run = pretrain(data, out, config, overrides=overrides or (), resume=resume, reporter=TERMINAL)
    if not is_main_process():
        return
    print(f"wrote {run.path}: {run.backbone.name}, {run.weights.name}, {run.config_file.name} and the logs")
    preset = "small" if config in (None, DEFAULT_PRESET) else config
    weights = f"backbone.weights={run.backbone}"
    next_steps(("train", "DATA", "--out", "RUN", "--config", preset, "--set", weights))
