"""Who speaks: each voice is an English accent, a vocal tract, a pitch, a rate and a manner, drawn as integers.

The tract is written as an espeak-ng "variant" file of its own. Breath and the Klatt synthesiser are never asked for:
they draw from the C library's `rand` and work in floating point with its `exp` and `cos`, all of which differ between
platforms.
"""

from __future__ import annotations

from typing import NamedTuple

from draws import Draws

ACCENTS = ("en-us", "en-gb-x-rp", "en-us", "en")
"""Dealt in turn: half the voices are American. More accents ask for more than five transcribed minutes."""


class Speaker(NamedTuple):
    """One voice. Rate in words a minute, word gap in steps of 10 ms, pitch range in percent of twice the usual."""

    name: str
    accent: str
    rate: int
    word_gap: int
    pitch_range: int
    variant: str


def draw_speaker(name: str, number: int, draws: Draws) -> Speaker:
    """Draw a voice; neighbouring numbers differ in accent and in sex, so that any few of them are a mixed company."""
    female = (number + number // len(ACCENTS)) % 2 == 1
    return Speaker(
        name=name,
        accent=ACCENTS[number % len(ACCENTS)],
        rate=draws.integer(125, 175),
        word_gap=draws.integer(2, 8),
        pitch_range=draws.integer(35, 65),
        variant=_variant(name, female=female, draws=draws),
    )


def _variant(name: str, *, female: bool, draws: Draws) -> str:
    low = draws.integer(150, 215) if female else draws.integer(75, 125)
    high = low + (draws.integer(40, 90) if female else draws.integer(25, 55))
    tract = draws.integer(106, 118) if female else draws.integer(93, 104)
    lines = [
        "language variant",
        f"name {name}",
        f"pitch {low} {high}",
        f"flutter {draws.integer(1, 10)}",
        f"roughness {draws.integer(0, 4)}",
        f"voicing {draws.integer(80, 130)}",
        f"consonants {draws.integer(80, 120)} {draws.integer(80, 120)}",
        f"intonation {draws.integer(1, 3)}",
    ]
    for formant in range(9):
        frequency = tract + draws.integer(-3, 3) if formant else draws.integer(95, 105)
        height = draws.integer(72, 92) if female else draws.integer(85, 112)
        width = draws.integer(110, 155) if female else draws.integer(85, 120)
        lines.append(f"formant {formant} {frequency} {height} {width}")
    return "\n".join(lines) + "\n"
