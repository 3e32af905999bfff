"""The web page and its JSON interface, which `cdtr serve` starts; needs the extra ``serve``.

``gate`` refuses what is too much before it is read, ``uploads`` what is no image; ``worker`` runs the model;
``batches`` write the files of many images; ``routes`` are the addresses, ``server`` puts all together; ``page`` is what
a browser loads.
"""
