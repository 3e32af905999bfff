"""The errors a user can meet. Each message says what was expected, what was found and what to do."""


class CdtrError(Exception):
    """Root of every error that the command line answers with one line instead of a traceback."""

    exit_code = 2


class ConfigError(CdtrError):
    """A configuration value, preset or command-line option that cannot be used."""


class DataError(CdtrError):
    """A data set, image or annotation that cannot be read."""


class AnnotationError(DataError):
    """The annotation of one image that cannot be used, while those of other images can."""


class CheckpointError(CdtrError):
    """Weights or a run folder that are missing, broken or do not fit."""


class TrainingError(CdtrError):
    """A training that cannot go on, such as a loss that is no longer a number."""

    exit_code = 1


def how_to_install(extra: str) -> str:
    """The command that installs an extra of pyproject.toml; the package is on no index, so its name would not do."""
    return f"pip install '.[{extra}]' in cdtr's folder"
