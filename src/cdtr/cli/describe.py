"""Command line of `cdtr describe`."""

from cdtr.cli._options import JsonOption, RunArgument


def command(run: RunArgument, json_file: JsonOption = None) -> None:
    """Say what a run is: data, preset, settings that were changed from it, threshold, size, files.

    Example: cdtr describe runs/neu
    """
    from cdtr.cli._output import print_lines, write_results
    from cdtr.workflows.describe import describe

    found = describe(run)
    print_lines(found.lines())
    write_results(json_file, found.to_json())
