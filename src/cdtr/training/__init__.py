"""Training of a method on images and class labels.

Start with ``loop.train``, which writes a run folder; ``cdtr.train`` is its front for Python and the command line.

- ``loop``: the training itself, plain PyTorch on Accelerate.
- ``prepare``: before the first step (images, split, settings, run folder) and after the last (weights).
- ``optimiser``: parameter groups and the learning rate of a step.
- ``state``: saving and restoring, so that a killed training resumes at any step.
- ``log``: ``metrics.jsonl``, TensorBoard, progress.
- ``start``: the weights file that a transformer starts from.
- ``sba_choice``, ``clip_fit``: whether SBA takes part, decided by how well CLIP fits the data.
- ``clip``: training of a small CLIP, for data whose classes no pretrained CLIP knows.
- ``pretrain``: distillation of a teacher CNN into the student transformer that other trainings start from.
- ``estimate``: the cost of a training, from one timed step.
"""
