"""A method's output averaged over an image and its mirror image."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from cdtr.records import Batch, Method, ModelOutput


class MirroredMethod(Method):
    """A method that looks at an image and at its mirror image, and averages what it finds.

    What differs between the two is an error in one of them: maps become smoother and boxes better, in twice the time.

    Args:
        method: What looks at an image.
    """

    def __init__(self, method: Method) -> None:
        super().__init__()
        self.method = method

    def forward(self, images: Tensor, auxiliary: bool | None = None) -> ModelOutput:
        """Run on normalised images (B, 3, H, W); logits, maps and attention are means, ``aux`` that of the image."""
        seen = self.method(images, auxiliary=auxiliary)
        mirrored = self.method(images.flip(-1), auxiliary=auxiliary)
        return ModelOutput(
            logits=(seen.logits + mirrored.logits) / 2,
            maps=(seen.maps + mirrored.maps.flip(-1)) / 2,
            attention=(seen.attention + mirrored.attention.flip(-1)) / 2,
            aux=seen.aux,
        )

    def losses(self, output: ModelOutput, batch: Batch) -> dict[str, Tensor]:
        """Return the method's losses of the averaged output."""
        return self.method.losses(output, batch)

    def weigh(self, terms: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, float]]:
        """Weigh the terms as the method does."""
        return self.method.weigh(terms)
