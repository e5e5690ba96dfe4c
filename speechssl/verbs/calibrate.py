"""``speechssl calibrate``: fit the confidence of words on held-out speech, and measure its error."""

from typing import Any

from speechssl.config import CalibrateConfig
from speechssl.config.limits import check
from speechssl.decoding.confidence import UNCALIBRATED
from speechssl.decoding.decoder import calibration_name
from speechssl.evaluation.calibration import calibrated, fit_calibration, held_out_confidence, reliability
from speechssl.held_out import judge_set
from speechssl.outputs import check_output_folder
from speechssl.recogniser import load_recogniser
from speechssl.report.reliability import CALIBRATION_FILES, show_calibration, write_calibration
from speechssl.training.checkpoints import set_calibration
from speechssl.training.machine import configure_cpu


def run(config: CalibrateConfig) -> dict[str, Any]:
    """Fit, write into the checkpoint, and say what the error was and is; returns the content of ``calibration.json``.

    Raises:
        ConfigError: no shards are named, or the output cannot be written.
        CheckpointError: no fine-tuned model at ``checkpoint``, or it cannot be written.
        DataError: shards are missing or damaged, of another sample rate, or without transcripts; no word was said.
    """
    check(config)
    if config.output is not None:
        check_output_folder(config.output, ours=CALIBRATION_FILES)
    configure_cpu()
    recogniser = load_recogniser(config.checkpoint, config.accelerator)
    words, speakers = judge_set(recogniser, config.data, config.decoding)
    calibration = fit_calibration(words)
    measured = {
        "before": reliability(calibrated(words, UNCALIBRATED), words.right, speakers),
        "held out": reliability(held_out_confidence(words), words.right, speakers),
    }
    if config.check.shards:
        others, their_speakers = judge_set(recogniser, config.check, config.decoding)
        measured |= {
            "check before": reliability(calibrated(others, UNCALIBRATED), others.right, their_speakers),
            "check": reliability(calibrated(others, calibration), others.right, their_speakers),
        }
    name, path = calibration_name(config.decoding), recogniser.checkpoint.path
    set_calibration(path, {name: calibration.to_dict()})
    content = {"checkpoint": str(path), "decoder": name, "calibration": calibration.to_dict()}
    content["measured"] = {key: found.to_dict() for key, found in measured.items()}
    show_calibration(content)
    if config.output is not None:
        write_calibration(config.output, content, measured)
    return content
