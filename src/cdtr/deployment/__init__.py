"""Trained methods as files that run without this project's training code, and without PyTorch.

``facts.py`` and ``session.py`` read and run such a file and import no PyTorch; the rest makes one.
"""
