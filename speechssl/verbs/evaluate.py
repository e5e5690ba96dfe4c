"""``speechssl evaluate``: error rates of a fine-tuned model on transcribed shards."""

from speechssl.config import EvaluateConfig
from speechssl.config.limits import check
from speechssl.evaluation.error_rates import ErrorRates
from speechssl.evaluation.showing import rates_of, show_metrics
from speechssl.evaluation.stored import EVALUATION_FILES, lacks_figures, read_metrics
from speechssl.held_out import read_held_out
from speechssl.outputs import check_output_folder
from speechssl.recogniser import load_recogniser
from speechssl.tasks.evaluating import describe, evaluate
from speechssl.training.machine import configure_cpu


def run(config: EvaluateConfig) -> ErrorRates:
    """Transcribe, score, and write the files of an evaluation; what is there of the same is left alone.

    Raises:
        ConfigError: no shards are named, or a text in which the lexicon of a recogniser of phonemes is not.
        CheckpointError: no fine-tuned model at ``checkpoint``.
        DataError: shards are missing or damaged, of another sample rate, or without transcripts.
    """
    check(config)
    check_output_folder(config.output, ours=EVALUATION_FILES)
    configure_cpu()
    recogniser = load_recogniser(config.checkpoint, config.accelerator)
    corpus = read_held_out(recogniser, config.data, config.decoding)
    origin = describe(config, recogniser, corpus)
    metrics = read_metrics(config.output)
    note = "evaluated before, with the same weights and data; nothing was repeated"
    if metrics is None or lacks_figures(metrics) or any(metrics.get(name) != origin[name] for name in origin):
        metrics, note = evaluate(config, recogniser, corpus, origin), ""
    show_metrics(config.output, metrics, note)
    return rates_of(metrics)
