"""Headers of the frames of MPEG audio, layers I to III."""

from functools import lru_cache
from typing import NamedTuple

BIT_RATES = {
    (3, 3): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (3, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (3, 1): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (2, 3): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (2, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (2, 1): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
"""In kbit/s, by version (3 is MPEG-1, all others share one table) and layer (3 is Layer I, 1 is Layer III)."""
SAMPLE_RATES = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}


class FrameHeader(NamedTuple):
    """What four bytes say."""

    size: int
    """Bytes of the frame."""
    num_samples: int
    sample_rate: int
    num_channels: int


@lru_cache(maxsize=4096)
def header_of(head: bytes) -> FrameHeader | None:
    """What the first four bytes of a frame say; None if they cannot be those of one."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return None
    version, layer = head[1] >> 3 & 3, head[1] >> 1 & 3
    bit_rate, rate, padding = head[2] >> 4, head[2] >> 2 & 3, head[2] >> 1 & 1
    if version == 1 or layer == 0 or bit_rate in (0, 15) or rate == 3:
        return None
    sample_rate = SAMPLE_RATES[version][rate]
    bits = 1000 * BIT_RATES[(3 if version == 3 else 2, layer)][bit_rate - 1]
    num_samples = 384 if layer == 3 else 576 if layer == 1 and version != 3 else 1152
    size = (12 * bits // sample_rate + padding) * 4 if layer == 3 else num_samples // 8 * bits // sample_rate + padding
    return FrameHeader(size, num_samples, sample_rate, 1 if head[3] >> 6 == 3 else 2)
