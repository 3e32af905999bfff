"""Localization maps and the boxes that come from them: one path from an image to its boxes.

Start with ``prediction.py``: a ``LocalizationModel`` (``torch_model.py``, or an ONNX file in ``cdtr.deployment``) turns
images into a ``RawPrediction``, and ``MapPostProcessor`` (``postprocess.py``) turns that into ``Localization`` records.

- ``options.py``: what a caller may choose, ``LocalizeOptions``.
- ``maps.py``: pick, resize, place and normalise maps.
- ``boxes.py``: boxes and masks of a thresholded map; IoU.
- ``quality.py``: the calibrated score of a box.
- ``sweep.py`` and ``component_tree.py``: the boxes of a map at all thresholds at once, for metrics.
- ``tiles.py``: a network that looks at overlapping tiles of an image and stitches their maps.
"""
