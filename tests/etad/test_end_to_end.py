import dataclasses

import pytest
import torch

import samplers
from examples.etad.detectors.etad.config import DetectorConfig
from examples.etad.detectors.etad.losses import detection_loss
from examples.etad.end_to_end import ETAD
from examples.etad.settings.config import Config, DataConfig, EncoderConfig, ProposalConfig
from examples.etad.settings.sampler_names import STRATEGIES, build_strategy
from tests.reference import assert_same, gradients_of

CONFIG = Config(
    data=DataConfig(num_snippets=8, frames_per_snippet=4, frame_size=16),
    encoder=EncoderConfig(channels=16, micro_batch_size=3, ratio=1.0),
    proposals=ProposalConfig(ratio=1.0),
    detector=DetectorConfig(
        hidden_channels=32,
        lstm_channels=16,
        norm_groups=4,
        roi_channels=8,
        trunk_size=16,
        head_size=8,
        balance="weighted",
    ),
)
GT_SEGMENTS = [torch.tensor([[0.1, 0.6]]), torch.zeros(0, 2)]


def model(config: Config = CONFIG) -> ETAD:
    torch.manual_seed(0)
    return ETAD(config)


def frames() -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(256, (2, 8, 3, 4, 16, 16), dtype=torch.uint8, generator=generator)


def test_gradients_against_one_graph_through_encoder_and_detector() -> None:
    etad = model().double()
    proposals = etad.propose.proposals.double().expand(2, -1, -1)

    def direct(items: torch.Tensor) -> torch.Tensor:
        return etad.encode.encoder(items.flatten(0, 1)).unflatten(0, (2, 8))

    results = []
    for encode in (etad.encode, direct):
        etad.zero_grad()
        # The draw of negatives in the tIoU regression is seeded alike.
        loss = detection_loss(
            etad.detector(encode(frames()), proposals),
            GT_SEGMENTS,
            config=CONFIG.detector,
            generator=torch.Generator().manual_seed(0),
        )
        loss["total"].backward()
        results.append(gradients_of(etad))
    assert_same(results[0], results[1])
    assert all(gradient is not None for gradient in results[0].values())


def test_training_sees_a_sample_and_evaluation_all_proposals() -> None:
    config = dataclasses.replace(CONFIG, proposals=ProposalConfig(ratio=0.25, chunk_size=10))
    etad = model(config)
    assert etad(frames()).stages[0].proposals.shape == (2, 9, 2)
    assert etad.eval()(frames()).stages[0].proposals.shape == (2, 36, 2)


def test_names_cover_every_strategy() -> None:
    exported = {
        value
        for value in vars(samplers).values()
        if isinstance(value, type)
        and issubclass(value, samplers.AbstractSampler)
        and value is not samplers.AbstractSampler
    }
    # There is no kernel in a configuration.
    named = exported - {samplers.KernelDPP}
    assert {type(strategy) for strategy in STRATEGIES.values()} == named


def test_unknown_strategy_is_refused() -> None:
    with pytest.raises(ValueError, match=r"sampler='best': expected one of \['block', 'dpp'"):
        build_strategy("best")


def test_label_guided_strategy_is_refused_for_snippets() -> None:
    encoder = dataclasses.replace(CONFIG.encoder, sampler="iou_balanced", ratio=0.3)
    with pytest.raises(ValueError, match=r"requires \['tiou'\]"):
        model(dataclasses.replace(CONFIG, encoder=encoder))
