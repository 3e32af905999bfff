"""Backbones besides the vision transformers of timm, one file each; the file's name is its ``backbone.name``.

timm's transformers need no file: ``cdtr.model.backbone.build_backbone`` builds them by their names. A file of this
package, or a module of another package that is named as an entry point ``cdtr.backbones``, has ``build(config, data,
load_weights, padding)``, which returns a ``cdtr.model.backbone.Backbone``.
"""
