"""What only FFmpeg reads (M4A, video), where it is installed."""

import math
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np

from speechssl.audio.findings import AudioError, Finding


def has_ffmpeg() -> bool:
    """Whether it is installed."""
    return shutil.which("ffmpeg") is not None


class FFmpegDecoder:
    """What FFmpeg reads, through a pipe: it waits until its output is taken, so nothing piles up.

    Args:
        path: audio or video of any format.

    Raises:
        AudioError: it cannot be read, or holds no samples.
    """

    format = "FFmpeg"
    num_frames: int | None = None
    can_seek = is_plain = False
    is_float = True

    def __init__(self, path: Path) -> None:
        self.findings: list[Finding] = []
        self._path = path
        self._has_ended = False
        self._messages = tempfile.TemporaryFile()  # noqa: SIM115, a pipe that nobody empties would fill up
        # AU, because its header is six numbers and may leave the length open. Playlists must not reach the network.
        source = ["-protocol_whitelist", "file", "-i", f"file:{path}", "-map", "0:a:0", "-map_metadata", "-1"]
        self._process = subprocess.Popen(
            ["ffmpeg", "-nostdin", "-v", "error", *source, "-f", "au", "-c:a", "pcm_f32be", "pipe:1"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._messages,
        )
        header = self._take(24)
        if len(header) < 24:
            self._check_status()
            self.close()
            raise AudioError(f"{path}: holds no samples")
        self._take(int.from_bytes(header[4:8], "big") - 24)
        self.sample_rate = int.from_bytes(header[16:20], "big")
        self.num_channels = int.from_bytes(header[20:24], "big")

    def read(self, num_frames: int) -> np.ndarray:
        frame_bytes = 4 * self.num_channels
        data = self._take(num_frames * frame_bytes)
        if len(data) < num_frames * frame_bytes:
            self._check_status()
        whole = len(data) // frame_bytes * frame_bytes
        return np.frombuffer(data[:whole], dtype=">f4").astype(np.float32).reshape(-1, self.num_channels)

    def _take(self, size: int) -> bytes:
        assert self._process.stdout is not None
        return self._process.stdout.read(size)

    def _check_status(self) -> None:
        """Once there is no more output, raise AudioError if FFmpeg gave up; what it skipped is noted."""
        status = self._process.wait()
        self._messages.seek(0)
        # Without addresses in memory, which are others each time.
        lines = re.sub(r" @ 0x[0-9a-f]+", "", self._messages.read().decode(errors="replace")).strip().splitlines()
        if status == 0:
            if lines and not self._has_ended:
                detail = f"FFmpeg reads past damage in it ({lines[-1]}); how much is missing is not known"
                self.findings.append(Finding("damaged", detail, math.inf))
            self._has_ended = True
            return
        self.close()
        reason = lines[-1] if lines else f"exit status {status}"
        raise AudioError(
            f"{self._path}: cannot be read as audio, not by FFmpeg either ({reason}); convert it to WAV or FLAC, or "
            "leave it out"
        )

    def seek(self, frame: int) -> None:
        raise NotImplementedError

    def close(self) -> None:
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._process.kill()
        self._process.wait()
        self._messages.close()
