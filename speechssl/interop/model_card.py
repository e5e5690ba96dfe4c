"""The README of an exported model: what it learned from, how well it does, how to load it."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from speechssl import __version__
from speechssl.errors import DataError
from speechssl.interop.imported import Architecture
from speechssl.training.checkpoints import Checkpoint, run_of

METRICS_FILE = "metrics.json"
SUMMARY_FILE = "summary.json"
_USE = {
    "ctc": """\
import soundfile
from transformers import pipeline

recognise = pipeline("automatic-speech-recognition", "{name}")
samples, rate = soundfile.read("recording.flac", dtype="float32")  # mono
print(recognise({{"raw": samples, "sampling_rate": rate}})["text"])""",
    "pretrain": """\
from transformers import AutoFeatureExtractor, AutoModelForPreTraining

prepare = AutoFeatureExtractor.from_pretrained("{name}")
model = AutoModelForPreTraining.from_pretrained("{name}")""",
    "encoder": """\
from transformers import AutoFeatureExtractor, AutoModel

prepare = AutoFeatureExtractor.from_pretrained("{name}")
model = AutoModel.from_pretrained("{name}")""",
}
_WHAT = {
    "ctc": "A speech recogniser: an encoder with a CTC head over characters.",
    "pretrain": "An encoder that was pretrained without transcripts, with the quantizer of its contrastive task.",
    "encoder": "An encoder of speech.",
}


_DESCRIBED = ("model", "objective", "head", "masking", "dropout", "optimizer", "schedule")


def model_card(
    checkpoint: Checkpoint, architecture: Architecture, evaluations: Sequence[Path], *, name: str, license: str
) -> str:
    """Markdown with a YAML head, as Hugging Face's hub reads it.

    Raises:
        DataError: an evaluation that is missing or damaged.
    """
    results = [read_metrics(folder) for folder in evaluations or found_evaluations(checkpoint)]
    head: dict[str, Any] = {"library_name": "transformers", "tags": ["speech", architecture.family]}
    if architecture.kind == "ctc":
        head["pipeline_tag"] = "automatic-speech-recognition"
    if license:
        head["license"] = license
    sections = [
        f"---\n{yaml.safe_dump(head, sort_keys=False)}---",
        f"# {name}",
        _WHAT[architecture.kind],
        f"## Use\n\n```python\n{_USE[architecture.kind].format(name=name)}\n```",
        "## Training\n\n" + "\n".join(f"- {line}" for line in training_facts(checkpoint)),
    ]
    if results:
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


def found_evaluations(checkpoint: Checkpoint) -> list[Path]:
    """Evaluations of this very checkpoint that lie in its run folder."""
    folders = sorted(path.parent for path in run_of(checkpoint.path).glob(f"*/{METRICS_FILE}"))
    return [folder for folder in folders if read_metrics(folder).get("update") == checkpoint.update]


def read_metrics(folder: Path) -> dict[str, Any]:
    """What ``speechssl evaluate`` wrote, with the folder's name.

    Raises:
        DataError: missing or damaged.
    """
    path = folder / METRICS_FILE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return {"name": folder.name, **{key: content[key] for key in _NEEDED}, "update": content.get("update")}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path}: not the figures of `speechssl evaluate` ({error}); give the folder that it wrote, or none"
        ) from error


_NEEDED = ("wer", "wer_low", "wer_high", "cer", "num_utterances", "num_words")


def error_table(results: Sequence[dict[str, Any]]) -> str:
    """One row per evaluation."""
    rows = [
        f"| {r['name']} | {r['num_utterances']} | {r['num_words']} | {r['wer']:.1%} | "
        f"{100 * r['wer_low']:.1f} to {100 * r['wer_high']:.1f} | {r['cer']:.1%} |"
        for r in results
    ]
    head = "| evaluation | utterances | words | WER | 95% interval | CER |\n|---|---|---|---|---|---|"
    return "\n".join([head, *rows]) + "\n\nGreedy decoding, without a language model."
