"""``speechssl tune``: the weight of a language model and the score of a word, chosen on a dev set."""

import itertools

from rich.console import Console
from rich.progress import track
from torch import Tensor

from speechssl.config import TuneConfig
from speechssl.config.limits import check
from speechssl.data.transcribed import check_foreign
from speechssl.decoding.beam import load_search_space
from speechssl.decoding.greedy import GreedyDecoder
from speechssl.evaluation.error_rates import error_rates
from speechssl.evaluation.tuning import Trial, sweep
from speechssl.held_out import check_held_out, read_held_out
from speechssl.outputs import check_output_folder
from speechssl.recogniser import load_recogniser
from speechssl.report.tuned import Tuning, show_tuning, tuning_files, write_tuning
from speechssl.text.measure import choose_measure
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
    corpus = read_held_out(recogniser, config.data, config.decoding)
    held_out = check_held_out(recogniser, config.data, corpus)
    check_foreign(held_out.checked, recogniser.vocabulary)
    emissions: dict[str, Tensor] = {}
    precision = resolve_precision(config.precision, recogniser.model.head.weight.device.type)
    decoder = GreedyDecoder(recogniser.vocabulary)
    scored = held_out.hear(decoder, precision=precision, doing="hearing", keep=emissions.__setitem__)
    greedy = error_rates(scored.references, scored.outputs(), bootstrap_samples=0)
    trials = sweep(
        scored.references,
        emissions,
        recogniser.vocabulary,
        config.decoding,
        list(itertools.product(config.weights, config.word_scores)),
        held_out.writer,
        progress=lambda settings: track(settings, "decoding", console=Console(stderr=True)),
    )
    measure = choose_measure(scored.references.values())
    name, rate = held_out.checked.name, getattr(greedy, measure)
    tuning = Tuning(config.checkpoint, name, config.decoding, trials, rate, measure)
    write_tuning(config.output, tuning)
    show_tuning(config.output, tuning, config.weights, config.word_scores)
    return tuning.best
