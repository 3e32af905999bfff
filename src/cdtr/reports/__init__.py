"""Pages, tables, figures and overlays of runs: start at ``report_page.py``, the page of `cdtr report`."""
