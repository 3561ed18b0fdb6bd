"""One line of the tables of encoders of other packages."""

import warnings
from dataclasses import dataclass, field
from importlib.util import find_spec

import pytest
import torch
from torch import nn

from tests.sgs.kinds.kind import Kind


@dataclass(frozen=True)
class Foreign(Kind):
    """An encoder of a package that need not be installed, which `build` imports.

    Args:
        package: Its name in an `import`.
    """

    package: str = field(kw_only=True)

    def skip_where_missing(self) -> None:
        if not find_spec(self.package):
            pytest.skip(f"{self.package} is not installed: see CONTRIBUTING.md")

    def make(self, dtype: torch.dtype = torch.float64) -> nn.Module:
        """Build the encoder with the same weights each time, none of them zero.

        New models have weights of zero that would hide what stands before them: the last scale of
        a block, or one half of an adapter.
        """
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            encoder = super().make(dtype)
        generator = torch.Generator().manual_seed(2)
        with torch.no_grad():
            for parameter in encoder.parameters():
                noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
                parameter += 0.2 * noise
        return encoder
