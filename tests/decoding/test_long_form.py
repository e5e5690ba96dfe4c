"""Windows of long recordings."""

import numpy as np
import pytest

from speechssl.decoding.long_form import WindowShape, cut_windows, shape_of
from speechssl.frames import hop_samples, num_frames, receptive_field_samples

CONV_LAYERS = [(8, 10, 5), (8, 3, 2), (8, 2, 2)]
HOP, FIELD = hop_samples(CONV_LAYERS), receptive_field_samples(CONV_LAYERS)


@pytest.mark.parametrize("num_samples", [0, FIELD - 1, FIELD, 999, 1000, 1001, 1020, 2543, 5000])
@pytest.mark.parametrize("shape", [WindowShape(1, 1), WindowShape(20, 3), WindowShape(7, 10), WindowShape(1000, 1)])
@pytest.mark.parametrize("block", [17, 300, 9999])
def test_kept_frames_are_those_of_the_recording(num_samples: int, shape: WindowShape, block: int) -> None:
    audio = np.arange(num_samples, dtype=np.float32)
    blocks = [audio[i : i + block] for i in range(0, num_samples, block)]
    windows = list(cut_windows(blocks, CONV_LAYERS, shape))
    # The number of a sample is its value, so the first sample that a frame sees says which frame it is.
    kept = [window.samples[t * HOP] for window in windows for t in range(window.first_frame, window.stop_frame)]
    assert kept == [t * HOP for t in range(num_frames(num_samples, CONV_LAYERS))]
    assert [window.is_last for window in windows] == [False] * (len(windows) - 1) + [True]
    for window in windows[:-1]:
        heard = num_frames(len(window.samples), CONV_LAYERS)
        assert heard - window.stop_frame == shape.margin_frames
        assert window.stop_frame - window.first_frame == shape.kept_frames
    for window in windows[1:]:
        start = int(window.samples[0]) // HOP
        assert window.first_frame == min(shape.margin_frames, start + window.first_frame)


def test_seconds_become_frames() -> None:
    assert shape_of(2.0, 0.5, 16000, [(1, 400, 320)]) == WindowShape(50, 25)
    assert shape_of(2.0, 0.001, 16000, [(1, 400, 320)]) == WindowShape(98, 1)


def test_windows_begin_where_a_squeezed_context_begins_a_group() -> None:
    shape = shape_of(0.05, 0.01, 16000, CONV_LAYERS, squeeze=3)
    windows = list(cut_windows([np.arange(9000, dtype=np.float32)], CONV_LAYERS, shape))
    starts = [int(window.samples[0]) // HOP for window in windows]
    assert len(starts) > 3
    assert [start % 3 for start in starts] == [0] * len(starts)
