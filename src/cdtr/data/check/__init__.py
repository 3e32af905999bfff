"""What is wrong with a data set before anything is trained on it or scored with it.

``scan`` reads every image and every annotation once; ``images``, ``copies`` and ``boxes`` turn that into findings.
"""

from cdtr.data.check.findings import KINDS as KINDS
from cdtr.data.check.findings import Finding as Finding
from cdtr.data.check.findings import counted as counted
from cdtr.data.check.findings import require_kinds as require_kinds
