"""The titles under which `cdtr --help` lists the verbs, in their order."""

# What `cdtr --help` lists under each title. A verb that stands nowhere is listed without one.
PANELS = {
    "Train": ("quickstart", "priors", "train", "refine", "pretrain", "train-clip"),
    "Use": ("localize", "serve", "export", "import-corrections"),
    "Measure": (
        "calibrate",
        "evaluate",
        "score",
        "compare",
        "report",
        "describe",
        "budget",
        "ablate",
        "bench",
        "reproduce",
    ),
    "Data": ("data",),
    "Share": ("push", "import-official"),
}


def place_of(module: str) -> tuple[int, str]:
    """Where `cdtr --help` lists a verb: as ``PANELS`` has them, then the others by name."""
    listed = [verb for verbs in PANELS.values() for verb in verbs]
    verb = module.replace("_", "-")
    return (listed.index(verb) if verb in listed else len(listed)), verb


def panel_of(verb: str) -> str | None:
    """The title under which `cdtr --help` lists a verb; None for the list of all others."""
    return next((title for title, verbs in PANELS.items() if verb in verbs), None)
