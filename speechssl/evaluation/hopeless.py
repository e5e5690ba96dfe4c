"""What is to be said of a scored set besides its rates: errors that are none, and why a rate is near 100%."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from speechssl.evaluation.aligned import align
from speechssl.evaluation.causes import RunFacts, why_constant, why_empty, why_wrong
from speechssl.evaluation.diagnosis import Diagnosis, Why
from speechssl.evaluation.error_rates import ScoredSet, sum_edits
from speechssl.evaluation.intervals import num_speakers
from speechssl.evaluation.levels import SILENT_AUDIO
from speechssl.evaluation.spelling import differences_of_spelling
from speechssl.text.characters import glyph
from speechssl.text.foreign import Foreign
from speechssl.text.measure import choose_measure

HOPELESS = 0.9
"""Error rate of which the cause is named."""
EXPLAINED = 0.5
"""Share of the errors that are differences of writing, from which they are cause enough."""
NEARLY_ALL = 0.9
"""Share of the outputs that are empty, or one and the same."""
MANY_EMPTY = 0.25
"""Share of outputs that are empty where something was said, at which it is told though the rate is no hopeless one."""
SPELT = 0.35
"""Character error rate of outputs that are nearly spelt, though no word is whole."""
MIN_VOICED = 5
"""Utterances of a set below which one voice is no wonder."""
_SHOWN = 30
_UNHEARD = Why(
    "the model says blank everywhere, the plateau on which CTC training starts",
    "train for more updates, or with a higher learning rate",
)
_DEAF = Why(
    "the model does not listen to the audio: a head that is dead, or context vectors that are all alike",
    "look at the run's log; try another --init, or a learning rate three times lower",
)
_UNKNOWN = Why(
    "too few updates, too few labels, or unlike training audio",
    "compare a few references with their audio; give more updates or transcripts",
)


class Circumstances(NamedTuple):
    """What is known beside the texts."""

    foreign: Foreign | None = None
    """What the model cannot write of the references."""
    facts: RunFacts | None = None
    """Of the run that made the model."""
    hear: Callable[[], Iterable[Diagnosis]] = tuple
    """What is wrong with the audio; asked only if outputs are hopeless or many are empty."""


def diagnose(
    scored: ScoredSet,
    references: Mapping[str, str],
    hypotheses: Mapping[str, str],
    known: Circumstances | None = None,
) -> list[Diagnosis]:
    """What is wrong with a scored set; nothing of a healthy one.

    Args:
        scored: both sides as aligned.
        references: transcript by utterance id.
        hypotheses: output by utterance id.
        known: beside them.
    """
    known = known or Circumstances()
    measure = choose_measure(references.values())
    edits = sum_edits(scored.words if measure == "wer" else scored.characters)
    differences = differences_of_spelling(references, hypotheses, scored.words)
    vanish = max((item.saved for item in differences), default=0) if measure == "wer" else 0
    found = [item.diagnosis for item in differences]
    if edits.errors >= HOPELESS * edits.in_reference > 0 and vanish <= EXPLAINED * edits.errors:
        name, rate = measure.upper(), edits.errors / edits.in_reference
        first = _why_hopeless(scored, references, hypotheses, known, (name, rate))
        found = [first, *found]
    elif empty := _many_empty(references, hypotheses, known):
        found.append(empty)
    return [*found, *_one_voice(scored)]


def _why_hopeless(
    scored: ScoredSet,
    references: Mapping[str, str],
    hypotheses: Mapping[str, str],
    known: Circumstances,
    rate: tuple[str, float],
) -> Diagnosis:
    """The first cause that there is a sign of, the surest signs first."""
    named = f"{rate[0]} {rate[1]:.1%}"
    outputs = Counter(hypotheses.values())
    audio = {item.name: item for item in known.hear()}
    share_empty = outputs.pop("", 0) / len(hypotheses)
    if silent := audio.get(SILENT_AUDIO):
        return silent._replace(symptom=f"{named}, {silent.symptom}")
    was_better = known.facts is not None and known.facts.was_better(*rate)  # it is not the run
    if share_empty > NEARLY_ALL:
        why = _other_audio(audio, known.facts, rate)[1] if was_better else None
        why = why or (why_empty(known.facts) if known.facts else _UNHEARD)
        return Diagnosis("empty outputs", f"{named}, {share_empty:.0%} of the outputs are empty", *why)
    text, num = outputs.most_common(1)[0]
    if num > NEARLY_ALL * len(hypotheses) and len(hypotheses) > 1:
        why = _other_audio(audio, known.facts, rate)[1] if was_better else None
        why = why or (why_constant(known.facts) if known.facts else _DEAF)
        return Diagnosis("constant outputs", f'{named}, {num} of {len(hypotheses)} outputs are "{text}"', *why)
    name, why = (
        _mixed_up(references, hypotheses)
        or _foreign(known.foreign)
        or _unspaced(scored, references, hypotheses, rate[0])
        or _other_audio(audio, known.facts, rate)
    )
    return Diagnosis(name, named, *why)


def _mixed_up(references: Mapping[str, str], hypotheses: Mapping[str, str]) -> tuple[str, Why] | None:
    """Outputs that would be right of other utterances."""
    said = Counter(references.values())
    elsewhere = sum(said[text] > 0 and references[name] != text for name, text in hypotheses.items() if text)
    if elsewhere <= 0.5 * len(hypotheses) or len(said) < 0.5 * len(references):
        return None
    why = Why(
        f"{elsewhere} of {len(hypotheses)} outputs are what was said in other utterances: transcripts and audio are "
        "mixed up",
        "look at how ids were given to either",
    )
    return "mixed up utterances", why


def _foreign(foreign: Foreign | None) -> tuple[str, Why] | None:
    if foreign is None or foreign.num_words <= 0.5 * foreign.total_words:
        return None
    strange = "".join(glyph(item.character) for item in foreign.characters[:_SHOWN])
    why = Why(
        f"{foreign.num_words} of {foreign.total_words} reference words hold characters that the model cannot write "
        f"({strange})",
        "; ".join(foreign.remedies()),
    )
    return "characters that are no labels", why


def _unspaced(
    scored: ScoredSet, references: Mapping[str, str], hypotheses: Mapping[str, str], name: str
) -> tuple[str, Why] | None:
    """Characters that are right in words that are not: without spaces, or nearly spelt."""
    if name != "WER":
        return None
    characters = sum_edits(scored.characters)
    sides = [[texts[i] for i in scored.ids] for texts in (references, hypotheses)]
    spaces = [sum(text.count(" ") for text in side) for side in sides]
    said, written = ([text.replace(" ", "") for text in side] for side in sides)
    joined = sum_edits(align(said, written, of="characters"))
    rate = joined.errors / max(joined.in_reference, 1)
    if rate < SPELT and spaces[1] < 0.5 * spaces[0]:
        why = Why(
            f"spaces are missing: the outputs have {spaces[1]} and the references {spaces[0]}, and without spaces "
            f"{rate:.1%} of the characters are wrong",
            "look whether the training transcripts have spaces, and go by the CER where the language has none",
        )
        return "missing spaces", why
    cer = characters.errors / max(characters.in_reference, 1)
    if cer >= SPELT:
        return None
    why = Why(
        f"characters are mostly right (CER {cer:.1%}), whole words are not",
        "decode with a language model (`speechssl lm`), or give more transcripts",
    )
    return "words not whole", why


def _other_audio(audio: Mapping[str, Diagnosis], facts: RunFacts | None, rate: tuple[str, float]) -> tuple[str, Why]:
    """Audio unlike that of the training, or a model that has learned too little."""
    if facts is not None and not facts.was_better(*rate):
        return "wrong outputs", why_wrong(facts, *rate)
    if audio:
        first = next(iter(audio.values()))
        return first.name, Why(f"{first.symptom}: {first.cause}", first.remedy)
    return ("unlike audio", why_wrong(facts, *rate)) if facts else ("wrong outputs", _UNKNOWN)


def _many_empty(references: Mapping[str, str], hypotheses: Mapping[str, str], known: Circumstances) -> Diagnosis | None:
    said = [name for name, text in references.items() if text]
    num = sum(not hypotheses[name] for name in said)
    if num < max(2, MANY_EMPTY * len(said)):
        return None
    symptom = f"{num} of {len(said)} outputs are empty where something was said"
    for item in known.hear():
        return item._replace(symptom=f"{symptom}, {item.symptom}")
    return Diagnosis(
        "empty outputs",
        symptom,
        "they are quieter or shorter than what the model learned from, it has learned too little, or they were never "
        "transcribed",
        "look whether they were, and listen to some",
    )


def _one_voice(scored: ScoredSet) -> list[Diagnosis]:
    if num_speakers(scored.counts) != 1 or len(scored.ids) < MIN_VOICED:
        return []
    return [
        Diagnosis(
            "one voice",
            f"all {len(scored.ids)} utterances are of one speaker",
            "the interval tells how the rate varies over what this person says, and nothing of other people",
            "score several people, with a few utterances each",
        )
    ]
