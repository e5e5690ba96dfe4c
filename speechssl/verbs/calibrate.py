"""``speechssl calibrate``: fit the confidence of words on held-out speech, and measure its error."""

from typing import Any

import numpy as np

from speechssl.config import CalibrateConfig, EvaluationSetConfig
from speechssl.config.limits import check
from speechssl.data.transcribed import check_transcripts
from speechssl.decoding.confidence import UNCALIBRATED
from speechssl.decoding.decoder import build_decoder, calibration_name
from speechssl.errors import DataError
from speechssl.evaluation.calibration import (
    JudgedWords,
    Reliability,
    calibrated,
    fit_calibration,
    held_out_confidence,
    judge_words,
    reliability,
)
from speechssl.evaluation.scoring import score
from speechssl.outputs import check_output_folder, has_json, is_plot, write_json
from speechssl.recogniser import Recogniser, load_recogniser
from speechssl.report.reliability import plot_reliability
from speechssl.shards.addresses import redact_all
from speechssl.text.writing import Writer
from speechssl.training.checkpoints import set_calibration
from speechssl.training.machine import configure_cpu

RESULT_FILE, PLOT_FILE = "calibration.json", "reliability.png"


def run(config: CalibrateConfig) -> dict[str, Any]:
    """Fit, write into the checkpoint, and say what the error was and is; returns the content of ``calibration.json``.

    Raises:
        ConfigError: no shards are named, or the output cannot be written.
        CheckpointError: no fine-tuned model at ``checkpoint``, or it cannot be written.
        DataError: shards are missing or damaged, of another sample rate, or without transcripts; no word was said.
    """
    check(config)
    if config.output is not None:
        ours = {RESULT_FILE: has_json("calibration", "measured"), PLOT_FILE: is_plot}
        check_output_folder(config.output, ours=ours)
    configure_cpu()
    recogniser = load_recogniser(config.checkpoint, config.accelerator)
    words, speakers = judge_set(recogniser, config.data, config)
    calibration = fit_calibration(words)
    measured = {
        "before": reliability(calibrated(words, UNCALIBRATED), words.right, speakers),
        "held out": reliability(held_out_confidence(words), words.right, speakers),
    }
    if config.check.shards:
        others, their_speakers = judge_set(recogniser, config.check, config)
        measured |= {
            "check before": reliability(calibrated(others, UNCALIBRATED), others.right, their_speakers),
            "check": reliability(calibrated(others, calibration), others.right, their_speakers),
        }
    name = calibration_name(config.decoding)
    set_calibration(recogniser.checkpoint.path, {name: calibration.to_dict()})
    content = {
        "checkpoint": str(recogniser.checkpoint.path),
        "decoder": name,
        "calibration": calibration.to_dict(),
        "measured": {key: describe(value) for key, value in measured.items()},
    }
    say(content)
    if config.output is not None:
        write_json(config.output / RESULT_FILE, content)
        names = ("as the model has it", "calibrated")
        plot_reliability(dict(zip(names, list(measured.values())[-2:], strict=True)), config.output / PLOT_FILE)
    return content


def judge_set(
    recogniser: Recogniser, shards: EvaluationSetConfig, config: CalibrateConfig
) -> tuple[JudgedWords, list[int]]:
    """Transcribe a set; the words, and the number of each one's speaker, or of its utterance where one is not known."""
    corpus = recogniser.read_held_out(shards, config.decoding)
    vocabulary = recogniser.vocabulary
    writer = Writer(recogniser.text, vocabulary.lexicon)
    checked = check_transcripts(
        corpus,
        recogniser.config.feature_encoder.conv_layers,
        name=redact_all(shards.shards),
        characters_per_label=vocabulary.longest_label,
        writer=writer,
    )
    scored = score(
        recogniser.model,
        checked.corpus,
        build_decoder(config.decoding, vocabulary),
        max_batch_seconds=shards.max_batch_seconds,
        autocast_dtype=None,
        device=recogniser.model.head.weight.device,
        writer=writer,
    )
    words = judge_words(scored.references, scored.hypotheses, writer.output)
    if not len(words.right):
        raise DataError("the recogniser wrote no word of this set; train it first")
    refs = {ref.key: ref.speaker for ref in map(corpus.__getitem__, range(len(corpus)))}
    names = [refs[key] or "" for key in words.keys]
    of_utterances = np.unique(names, return_inverse=True)[1] if all(names) else np.arange(len(names))
    return words, of_utterances[words.utterances].tolist()


def describe(found: Reliability) -> dict[str, Any]:
    """For calibration.json."""
    return {
        "error": found.error._asdict(),
        "chance": found.chance,
        "auc": found.auc,
        "num_words": int(found.num_words.sum()),
        "confidence": found.confidence.tolist(),
        "accuracy": found.accuracy.tolist(),
    }


def say(content: dict[str, Any]) -> None:
    """Tell the errors, one line each."""
    fitted = content["calibration"]
    print(
        f"{content['checkpoint']}: fitted on {fitted['num_words']} words: slope {fitted['slope']:.3f}, "
        f"offset {fitted['offset']:+.3f}"
    )
    for name, found in content["measured"].items():
        error = found["error"]
        print(
            f"{name}: calibration error {error['value']:.1%} (95% interval {error['low']:.1%} to {error['high']:.1%}; "
            f"{found['chance']:.1%} were every confidence exact), AUC {found['auc']:.3f}, {found['num_words']} words"
        )
