"""Presets: checked trees of settings by name, ``PRESET.yaml``; ``tables/`` has those of the paper's tables."""
