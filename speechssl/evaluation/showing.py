"""An evaluation on the terminal, from the content of its ``metrics.json``."""

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from rich.console import Console

from speechssl.config import TextConfig
from speechssl.config.reading import to_dict
from speechssl.evaluation.diagnosis import Diagnosis
from speechssl.evaluation.error_rates import ErrorRates
from speechssl.evaluation.intervals import name_units
from speechssl.evaluation.stored import HYPOTHESES_FILE, SCORE_FILE
from speechssl.text.foreign import times

MAX_SHOWN = 5
"""Utterances or characters that a line of the result names."""


def rates_of(metrics: Mapping[str, Any]) -> ErrorRates:
    """The error rates among the figures."""
    return ErrorRates(**{item.name: metrics[item.name] for item in fields(ErrorRates)})


def show_metrics(output: Path, metrics: Mapping[str, Any], note: str = "") -> None:
    """The figures, what was left out, and what is wrong."""
    rates = rates_of(metrics)
    units = name_units(rates.interval_unit, rates.num_speakers, rates.num_utterances)
    lines = [
        f"{shown_rates(metrics)}, {rates.num_wrong / rates.num_utterances:.1%} of the utterances with an error",
        f"95% interval over {units}",
        f"{rates.num_utterances} utterances, {rates.num_words} words: {rates.substitutions} substitutions, "
        f"{rates.deletions} deletions, {rates.insertions} insertions",
    ]
    lines += shown_text(metrics.get("text", {}))
    lines.append(
        f"transcripts: {output / HYPOTHESES_FILE}; rates by speaker and length, confusions: {output / SCORE_FILE}"
    )
    lines += metrics["notes"] + shown_samples(metrics) + shown_characters(metrics)
    lines += [str(Diagnosis(**item)) for item in metrics["diagnoses"]]
    if note:
        lines.append(note)
    Console().print("\n".join(lines), markup=False, highlight=False, soft_wrap=True)


def shown_rates(metrics: Mapping[str, Any]) -> str:
    """Both error rates, first the one that says more of this language."""
    wer = f"WER {metrics['wer']:.1%} ({metrics['wer_low']:.1%} to {metrics['wer_high']:.1%})"
    if metrics.get("headline") != "cer":
        return f"{wer}, CER {metrics['cer']:.1%}"
    interval = f" ({metrics['cer_low']:.1%} to {metrics['cer_high']:.1%})" if "cer_low" in metrics else ""
    return f"CER {metrics['cer']:.1%}{interval}, WER {metrics['wer']:.1%} of what stands between spaces"


def shown_text(text: Mapping[str, str]) -> list[str]:
    """How references and outputs were written, where more was done than the usual."""
    usual = to_dict(TextConfig())
    chosen = [f"{name} {value}" for name, value in text.items() if value != usual.get(name)]
    return [f"text of references and outputs: {', '.join(chosen)}"] if chosen else []


def shown_samples(metrics: Mapping[str, Any]) -> list[str]:
    """What became of the samples, unless all were scored and could be."""
    skipped, unusual = metrics["skipped"], metrics["unusual"]
    lines = [f"left out, {why}: {count}" for why, count in sorted(skipped.items())]
    for why, count in unusual.items():
        ids = ", ".join(metrics["unusual_ids"][why][:MAX_SHOWN]) + (", ..." if count > MAX_SHOWN else "")
        how = "scored as an empty output" if why == "shorter than a frame" else "scored"
        lines.append(f"{how}, {why}: {count} ({ids})")
    if skipped:
        lines.append(
            f"{metrics['num_samples']} samples: {metrics['num_utterances']} scored, {sum(skipped.values())} not"
        )
    return lines


def shown_characters(metrics: Mapping[str, Any]) -> list[str]:
    """What the model cannot write of the references, and what that costs."""
    found = metrics["characters"]
    if not found["foreign"]:
        return []
    shown = ", ".join(shown_foreign(item) for item in found["foreign"][:MAX_SHOWN])
    more = f", and {len(found['foreign']) - MAX_SHOWN} more" if len(found["foreign"]) > MAX_SHOWN else ""
    edits = metrics["substitutions"] + metrics["deletions"] + metrics["insertions"]
    lines = [
        f"characters that the model cannot write: {shown}{more}",
        f"{found['foreign_words']} of the {edits} errors are words with such characters, whatever is heard",
    ]
    if found["wer_respelled"] is not None:
        lines.append(f"WER {found['wer_respelled']:.1%} if the references were spelt as the model writes")
    return lines + [f"to do: {remedy}" for remedy in found["remedies"]]


def shown_foreign(item: Mapping[str, Any]) -> str:
    """One of the characters, how often it occurs, and what the model has in its place."""
    instead = (item["respelled"] or "").strip()
    return f"{item['shown']} {times(item['num_times'])}" + (f" for {instead}" if instead else "")
