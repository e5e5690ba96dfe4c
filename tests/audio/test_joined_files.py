"""Files written one behind the other: the second is refused by name, never lost; tags and padding are no sound."""

from pathlib import Path

import numpy as np
import pytest
from audio_files import RATE, all_blocks, speech_like, write

from speechssl.audio.decoders import opened
from speechssl.audio.findings import AudioError


@pytest.mark.parametrize("second", ["wav", "flac", "ogg", "mp3"])
@pytest.mark.parametrize("first", ["flac", "ogg", "mp3"])
def test_another_file_behind_one_is_refused_and_never_lost(tmp_path: Path, first: str, second: str) -> None:
    if first == second == "mp3":
        pytest.skip("read as one")
    data = write(tmp_path, first, speech_like(RATE)).read_bytes()
    path = tmp_path / f"joined.{first}"
    for behind in (write(tmp_path, second, speech_like(RATE)), write(tmp_path, second, speech_like(RATE // 4))):
        path.write_bytes(data + behind.read_bytes())
        with pytest.raises(AudioError) as caught:
            all_blocks(path)
        assert caught.value.reason == "more behind its end"


def test_what_is_no_sound_may_follow(tmp_path: Path) -> None:
    for suffix in ("flac", "ogg", "mp3"):
        path = write(tmp_path, suffix, speech_like(RATE))
        data, alone = path.read_bytes(), all_blocks(path)
        for behind in (bytes(2000), b"TAG".ljust(128, b"\0"), b"ID3\4\0\0\0\0\0\x64" + bytes(100)):
            if (suffix, behind[:1]) != ("flac", b"\0"):
                path.write_bytes(data + behind)
                np.testing.assert_array_equal(all_blocks(path), alone)
                with opened(path) as decoder:
                    assert decoder.findings == []
