"""What every front calls, as functions: open, train, calibrate, evaluate, localize, compare, report, export.

A workflow takes typed options, returns a typed result, reports to a ``Reporter`` and never prints. The command line,
the server and a notebook call the same functions.
"""
