"""From files on disk to batches: images, transforms, data sets, splits and loaders."""
