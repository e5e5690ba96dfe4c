"""Alignments in the frames of the probed encoder."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from small_chain import MODEL

from speechssl.config import EvaluationSetConfig, FeatureEncoderConfig, ModelConfig
from speechssl.decoding.alignment import Alignment
from speechssl.frames import frame_seconds, num_frames
from speechssl.probing.aligned import align_set, in_frames_of
from speechssl.probing.results import NotProbedError
from speechssl.probing.sets import read_set

SLOW = ModelConfig(feature_encoder=FeatureEncoderConfig(conv_layers=[(8, 400, 160), (8, 3, 2), (8, 3, 2)]))


@pytest.mark.parametrize(("model", "aligner"), [(SLOW, ModelConfig()), (ModelConfig(), SLOW), (SLOW, SLOW)])
def test_a_frame_has_what_the_nearest_one_of_the_aligner_has(model: ModelConfig, aligner: ModelConfig) -> None:
    sizes = [num_frames(32000, config.feature_encoder.conv_layers) for config in (model, aligner)]
    labels = torch.arange(sizes[1]) + 100
    found = in_frames_of(model, sizes[0], Alignment(torch.arange(sizes[1]), labels), aligner)
    middles = [
        [frame_seconds(float(i), config.feature_encoder.conv_layers, 16000) for i in range(size)]
        for config, size in zip((model, aligner), sizes, strict=True)
    ]
    for i, position in enumerate(found.positions.tolist()):
        distances = [abs(middles[0][i] - other) for other in middles[1]]
        assert distances[position] == pytest.approx(min(distances), abs=1e-9)
    assert torch.equal(found.labels, found.positions + 100)


def test_a_set_is_aligned_in_its_own_order_and_what_cannot_be_is_none(shards: Path, finetuned: Path) -> None:
    samples = read_set(EvaluationSetConfig([str(shards)], max_batch_seconds=4), MODEL, name="test")
    samples = replace(samples, texts=["", "ÄÖ", *samples.texts[2:]])
    found = align_set(finetuned, samples, MODEL, torch.device("cpu"))
    assert found.alignments[:2] == [None, None]
    for alignment, size, text in zip(found.alignments[2:], samples.num_frames[2:], samples.texts[2:], strict=True):
        assert alignment is not None
        assert len(alignment.labels) == size
        assert int(alignment.positions.max()) == len(text) - 1
    assert len(found.labels) == int(found.inside(samples.num_frames).sum())
    with pytest.raises(NotProbedError, match="can write none"):
        align_set(finetuned, replace(samples, texts=["ÄÖ"] * len(samples)), MODEL, torch.device("cpu"))
