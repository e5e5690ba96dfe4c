"""``speechssl tune``: the weight of a language model and the score of a word, chosen on a dev set."""

import itertools

import torch
from rich.console import Console
from rich.progress import track

from speechssl.config import TuneConfig
from speechssl.config.limits import check
from speechssl.data.transcribed import check_foreign, check_transcripts
from speechssl.decoding.beam import load_search_space
from speechssl.decoding.greedy import GreedyDecoder
from speechssl.evaluation.error_rates import error_rates
from speechssl.evaluation.scoring import score
from speechssl.evaluation.tuning import Trial, sweep
from speechssl.outputs import check_output_folder
from speechssl.recogniser import load_recogniser
from speechssl.report.tuned import Tuning, show_tuning, tuning_files, write_tuning
from speechssl.shards.addresses import redact_all
from speechssl.text.measure import choose_measure
from speechssl.text.writing import Writer
from speechssl.training.machine import configure_cpu, resolve_precision


def run(config: TuneConfig) -> Trial:
    """Compute what the model gives once, decode it with every setting, write the best one.

    Raises:
        ConfigError: no shards or no language model are named, or the output cannot be written.
        CheckpointError: no fine-tuned model at ``checkpoint``.
        DataError: shards or the language model are missing or damaged.
    """
    check(config)
    check_output_folder(config.output, ours=tuning_files(config.output))
    configure_cpu()
    recogniser = load_recogniser(config.checkpoint, config.accelerator)
    load_search_space(config.decoding, recogniser.vocabulary)  # what is wrong with it is said before the long part
    corpus = recogniser.read_held_out(config.data, config.decoding)
    writer = Writer(recogniser.text, recogniser.vocabulary.lexicon)
    checked = check_transcripts(
        corpus,
        recogniser.config.feature_encoder.conv_layers,
        name=redact_all(config.data.shards),
        characters_per_label=recogniser.vocabulary.longest_label,
        writer=writer,
    )
    check_foreign(checked, recogniser.vocabulary)
    device, kept = recogniser.model.head.weight.device, dict[str, torch.Tensor]()
    console = Console(stderr=True)
    scored = score(
        recogniser.model,
        checked.corpus,
        GreedyDecoder(recogniser.vocabulary),
        max_batch_seconds=config.data.max_batch_seconds,
        autocast_dtype=torch.bfloat16 if resolve_precision(config.precision, device.type) == "bf16" else None,
        device=device,
        writer=writer,
        progress=lambda batches: track(batches, description="hearing", console=console),
        keep=kept.__setitem__,
    )
    greedy = error_rates(
        scored.references, {key: item.text for key, item in scored.hypotheses.items()}, bootstrap_samples=0
    )
    trials = sweep(
        scored.references,
        kept,
        recogniser.vocabulary,
        config.decoding,
        list(itertools.product(config.weights, config.word_scores)),
        writer,
        progress=lambda settings: track(settings, description="decoding", console=console),
    )
    measure = choose_measure(scored.references.values())
    shards = redact_all(config.data.shards)
    tuning = Tuning(config.checkpoint, shards, config.decoding, trials, getattr(greedy, measure), measure)
    write_tuning(config.output, tuning)
    show_tuning(config.output, tuning, config.weights, config.word_scores)
    return tuning.best
