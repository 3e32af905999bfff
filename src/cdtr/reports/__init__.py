"""Pages, tables, figures and overlays of runs: start at ``report.py``, the page of `cdtr report`."""
