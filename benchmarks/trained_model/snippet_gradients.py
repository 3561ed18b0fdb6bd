"""The gradient of the encoder, split by the snippets of a video."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from sgs import EncodedItems, SequentialGradientSampler


@dataclass(frozen=True)
class SnippetGradients:
    """The snippets of one video.

    Attributes:
        gram: Dot products of the gradients of the encoder's parameters, one gradient per snippet.
            Errors of weighted sums depend on nothing else.
        features: Outputs of the encoder.
        gradient_norm: Norms of the gradients of the loss with respect to the features.
    """

    gram: Float[Tensor, "snippets snippets"]
    features: Float[Tensor, "snippets channels"]
    gradient_norm: Float[Tensor, " snippets"]

    @classmethod
    def of(cls, encoded: EncodedItems, sampler: SequentialGradientSampler) -> SnippetGradients:
        """Back-propagate each item of a call on its own.

        Args:
            encoded: The first pass over one video, with the gradient of its features.
            sampler: The sampler that encoded it.
        """
        gradient = encoded.features.grad[0]
        rows = torch.stack(
            [_gradient_of(encoded, sampler, item) for item in range(len(gradient))]
        ).double()
        return cls(
            gram=rows @ rows.T,
            features=encoded.features.detach()[0].flatten(1),
            gradient_norm=gradient.double().flatten(1).norm(dim=1),
        )


def _gradient_of(encoded: EncodedItems, sampler: SequentialGradientSampler, item: int) -> Tensor:
    trained = [p for p in sampler.encoder.parameters() if p.requires_grad]
    for parameter in trained:
        parameter.grad = None
    encoded.backward(encoded.features.grad, torch.tensor([[item]]))
    return torch.cat(
        [(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in trained]
    )
