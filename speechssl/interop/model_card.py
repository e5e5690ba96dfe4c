"""The README of an exported model: what it learned from, how well it does, how to load it."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from speechssl import __version__
from speechssl.evaluation.stored import METRICS_FILE, read_metrics
from speechssl.interop.imported import Architecture
from speechssl.training.checkpoints import Checkpoint, run_of

SUMMARY_FILE = "summary.json"
_RECOGNISE = """\
import soundfile
from transformers import pipeline

recognise = pipeline("automatic-speech-recognition", "{name}")
samples, rate = soundfile.read("recording.flac", dtype="float32")  # mono
print(recognise({{"raw": samples, "sampling_rate": rate}})["text"])"""
_LOAD = """\
from transformers import AutoFeatureExtractor, {cls}

prepare = AutoFeatureExtractor.from_pretrained("{name}")
model = {cls}.from_pretrained("{name}")"""
_WHAT = {
    "ctc": "A speech recogniser: an encoder with a CTC head over characters.",
    "pretrain": "An encoder that was pretrained without transcripts, with the quantizer of its contrastive task.",
    "encoder": "An encoder of speech.",
}
_DESCRIBED = ("model", "objective", "head", "masking", "dropout", "optimizer", "schedule")


def model_card(checkpoint: Checkpoint, architecture: Architecture, *, name: str, license: str) -> str:
    """Markdown with a YAML head, as Hugging Face's hub reads it."""
    cls = "AutoModelForPreTraining" if architecture.kind == "pretrain" else "AutoModel"
    use = (_RECOGNISE if architecture.kind == "ctc" else _LOAD).format(name=name, cls=cls)
    head: dict[str, Any] = {"library_name": "transformers", "tags": ["speech", architecture.family]}
    if architecture.kind == "ctc":
        head["pipeline_tag"] = "automatic-speech-recognition"
    if license:
        head["license"] = license
    sections = [
        f"---\n{yaml.safe_dump(head, sort_keys=False)}---",
        f"# {name}",
        _WHAT[architecture.kind],
        f"## Use\n\n```python\n{use}\n```",
        "## Training\n\n" + "\n".join(f"- {line}" for line in training_facts(checkpoint)),
    ]
    if results := found_evaluations(checkpoint):
        sections.append("## Error rates\n\n" + error_table(results))
    # Only what describes the model and its training: other sections hold paths and addresses.
    described = {name: checkpoint.config[name] for name in _DESCRIBED if name in checkpoint.config}
    if checkpoint.origin:
        described = {"model": checkpoint.config["model"]}
    configuration = yaml.safe_dump(described, sort_keys=False, allow_unicode=True).strip()
    sections.append(f"## Configuration\n\n```yaml\n{configuration}\n```")
    sections.append(f"Exported by speechssl {__version__}.")
    return "\n\n".join(sections) + "\n"


def training_facts(checkpoint: Checkpoint) -> list[str]:
    """What is known of the run, one fact each."""
    if checkpoint.origin:
        return [f"imported from {checkpoint.origin['source']} ({checkpoint.origin['format']})"]
    facts = [f"{checkpoint.update} updates"]
    summary = run_of(checkpoint.path) / SUMMARY_FILE
    content = json.loads(summary.read_text(encoding="utf-8")) if summary.is_file() else {}
    for key, text in (
        ("audio_hours", "{:.2f} hours of untranscribed audio"),
        ("labels_minutes", "{:.0f} minutes of transcribed audio"),
    ):
        if key in content:
            facts.append(text.format(content[key]))
    for section in ("data", "train", "dev"):
        shards = (checkpoint.config.get(section) or {}).get("shards")
        if shards:
            names = ", ".join(Path(str(shard).partition("?")[0]).name for shard in shards)
            facts.append(f"{'held-out' if section == 'dev' else 'training'} shards: {names}")
    return facts


def found_evaluations(checkpoint: Checkpoint) -> list[dict[str, Any]]:
    """Figures of the evaluations of this very checkpoint that lie in its run folder."""
    found = []
    for folder in sorted(path.parent for path in run_of(checkpoint.path).glob(f"*/{METRICS_FILE}")):
        metrics = read_metrics(folder) or {}
        if not metrics.keys() >= _FIGURES:
            print(f"note: {folder}: no whole evaluation, left out of the card")
        elif metrics.get("update") == checkpoint.update:
            found.append(metrics | {"name": folder.name})
    return found


_FIGURES = {"wer", "wer_low", "wer_high", "cer", "num_utterances", "num_words"}


def error_table(results: Sequence[dict[str, Any]]) -> str:
    """One row per evaluation."""
    rows = [
        f"| {r['name']} | {r['num_utterances']} | {r['num_words']} | {r['wer']:.1%} | "
        f"{100 * r['wer_low']:.1f} to {100 * r['wer_high']:.1f} | {r['cer']:.1%} |"
        for r in results
    ]
    head = "| evaluation | utterances | words | WER | 95% interval | CER |\n|---|---|---|---|---|---|"
    return "\n".join([head, *rows]) + "\n\nGreedy decoding, without a language model."
