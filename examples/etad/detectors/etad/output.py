"""What the detector returns."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


def at_least_float32(values: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Return the values in single precision, or in double if that is what they are."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def probability(logits: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Return the sigmoid. In half precision it would saturate at exactly 1."""
    return at_least_float32(logits).sigmoid()


@dataclass(frozen=True)
class StageOutput:
    """Predictions of one cascade stage for the proposals it was given.

    Attributes:
        proposals: (start, end) the stage was given, normalised to [0, 1].
        refined: (start, end) after its offsets; ordered, inside [0, 1], without a gradient.
        tiou_logits: Column 0 is trained as a classification of the tIoU, column 1 as a regression.
        boundary_logits: Whether the proposal's start and end lie on those of an action.
        offsets: Of start, end, centre and width, in lengths of the proposal; the width's is a
            logarithm.
        class_logits: One per class; None where the stage does not classify.
    """

    proposals: Float[Tensor, "batch proposals 2"]
    refined: Float[Tensor, "batch proposals 2"]
    tiou_logits: Float[Tensor, "batch proposals 2"]
    boundary_logits: Float[Tensor, "batch proposals 2"]
    offsets: Float[Tensor, "batch proposals 4"]
    class_logits: Float[Tensor, "batch proposals classes"] | None

    @property
    def tiou(self) -> Float[Tensor, "batch proposals 2"]:
        """The two tIoU predictions, in [0, 1]."""
        return probability(self.tiou_logits)

    @property
    def boundary(self) -> Float[Tensor, "batch proposals 2"]:
        """Probability that the proposal's start is one, and its end."""
        return probability(self.boundary_logits)

    @property
    def class_probabilities(self) -> Float[Tensor, "batch proposals classes"] | None:
        """Distribution over the classes, given that the proposal is an action."""
        return (
            None
            if self.class_logits is None
            else at_least_float32(self.class_logits).softmax(dim=-1)
        )


@dataclass(frozen=True)
class DetectorOutput:
    """Predictions for a batch of videos.

    Attributes:
        startness_logits: Whether an action starts in the snippet.
        endness_logits: Whether an action ends in it.
        stages: One output per cascade stage; each stage was given what the one before refined.
    """

    startness_logits: Float[Tensor, "batch snippets"]
    endness_logits: Float[Tensor, "batch snippets"]
    stages: tuple[StageOutput, ...]

    @property
    def startness(self) -> Float[Tensor, "batch snippets"]:
        """Probability that an action starts in the snippet."""
        return probability(self.startness_logits)

    @property
    def endness(self) -> Float[Tensor, "batch snippets"]:
        """Probability that an action ends in the snippet."""
        return probability(self.endness_logits)

    @property
    def num_classes(self) -> int:
        """Classes that the last stage tells apart; 0 if it does not classify."""
        logits = self.stages[-1].class_logits
        return 0 if logits is None else logits.shape[-1]


def concatenate(parts: tuple[StageOutput, ...]) -> StageOutput:
    """Join outputs of the same stage for consecutive proposals."""
    if len(parts) == 1:
        return parts[0]
    class_logits = [part.class_logits for part in parts if part.class_logits is not None]
    return StageOutput(
        proposals=torch.cat([part.proposals for part in parts], dim=1),
        refined=torch.cat([part.refined for part in parts], dim=1),
        tiou_logits=torch.cat([part.tiou_logits for part in parts], dim=1),
        boundary_logits=torch.cat([part.boundary_logits for part in parts], dim=1),
        offsets=torch.cat([part.offsets for part in parts], dim=1),
        class_logits=torch.cat(class_logits, dim=1) if class_logits else None,
    )
