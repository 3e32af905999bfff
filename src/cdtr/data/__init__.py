"""From files on disk to batches: data sets, images, transforms, splits and loaders.

Start with ``opening.py``: ``open_data`` finds a data set (``datasets/``, one file a format) under the settings of a
run, with boxes by ``cdtr.formats``. ``loader.py`` makes batches of its images: ``cdtr.image_files`` decodes,
``transforms.py`` crops and normalises, ``sampler.py`` gives the order. ``split.py`` holds images out of training,
``check/`` looks for faults.
"""
