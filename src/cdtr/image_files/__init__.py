"""Files of images: where they lie and how they are read.

``paths.py`` keeps names inside a data set's root and lists folders, ``reading.py`` decodes an image within limits
(``pixel_budget.py``, ``jpeg_scans.py``), ``tar_members.py`` opens a member of a tar file by its path, ``maps.py`` reads
maps that other tools made of the images, and ``written.py`` marks the folders that cdtr wrote, so that its own overlays
are not taken for a data set.
"""
