"""``speechssl tune``: the weight of a language model and the score of a word, chosen on a dev set."""

import itertools
import logging
from pathlib import Path

import torch
import yaml
from rich.console import Console
from rich.progress import track

from speechssl.config import TuneConfig
from speechssl.config.limits import check
from speechssl.config.reading import to_dict
from speechssl.data.transcribed import check_foreign, check_transcripts
from speechssl.decoding.beam import load_search_space
from speechssl.decoding.decoder import describe_decoding
from speechssl.evaluation.error_rates import error_rates
from speechssl.evaluation.scoring import score
from speechssl.evaluation.tuning import KeptEmissions, Trial, best_of, edges, sweep
from speechssl.outputs import check_output_folder, has_json, is_plot, write_json, write_whole
from speechssl.recogniser import load_recogniser
from speechssl.report.tuning import make_table, plot_sweep
from speechssl.shards.addresses import redact_all
from speechssl.text.measure import Measure, choose_measure
from speechssl.text.writing import Writer
from speechssl.training.machine import configure_cpu, resolve_precision

logger = logging.getLogger(__name__)

DECODING_FILE, TRIALS_FILE, PLOT_FILE = "decoding.yaml", "tune.json", "tune.png"


def run(config: TuneConfig) -> Trial:
    """Compute what the model gives once, decode it with every setting, write the best one.

    Raises:
        ConfigError: no shards or no language model are named, or the output cannot be written.
        CheckpointError: no fine-tuned model at ``checkpoint``.
        DataError: shards or the language model are missing or damaged.
    """
    check(config)
    ours = {DECODING_FILE: is_decoding, TRIALS_FILE: has_json("trials"), PLOT_FILE: is_plot}
    check_output_folder(config.output, ours=ours)
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
    device, kept = recogniser.model.head.weight.device, KeptEmissions(recogniser.vocabulary)
    console = Console(stderr=True)
    scored = score(
        recogniser.model,
        checked.corpus,
        kept,
        max_batch_seconds=config.data.max_batch_seconds,
        autocast_dtype=torch.bfloat16 if resolve_precision(config.precision, device.type) == "bf16" else None,
        device=device,
        writer=writer,
        progress=lambda batches: track(batches, description="hearing", console=console),
    )
    greedy = error_rates(
        scored.references, {key: item.text for key, item in scored.hypotheses.items()}, bootstrap_samples=0
    )
    trials = sweep(
        scored.references,
        kept.by_key(scored.hypotheses),
        recogniser.vocabulary,
        config.decoding,
        list(itertools.product(config.weights, config.word_scores)),
        writer,
        progress=lambda settings: track(settings, description="decoding", console=console),
    )
    measure = choose_measure(scored.references.values())
    return finish(config, trials, getattr(greedy, measure), measure)


def finish(config: TuneConfig, trials: list[Trial], greedy: float, measure: Measure) -> Trial:
    """Write the best setting, all trials and their picture, and show them."""
    best = best_of(trials, measure)
    names = {"language_model", "word_list"}
    found = {name: value for name, value in to_dict(config.decoding).items() if value is not None}
    found |= {name: str(Path(found[name]).resolve()) for name in names & found.keys()}
    found |= {"weight": best.weight, "word_score": best.word_score}
    config.output.mkdir(parents=True, exist_ok=True)
    write_whole(config.output / DECODING_FILE, yaml.safe_dump({"decoding": found}, sort_keys=False, allow_unicode=True))
    content = {f"greedy_{measure}": greedy, "best": best._asdict(), "trials": [trial._asdict() for trial in trials]}
    origin = {"checkpoint": str(config.checkpoint), "shards": redact_all(config.data.shards)}
    write_json(config.output / TRIALS_FILE, {**origin, "decoding": describe_decoding(config.decoding), **content})
    plot_sweep(trials, measure, greedy, config.output / PLOT_FILE)
    console = Console(highlight=False, soft_wrap=True)
    console.print(make_table(trials, measure))
    console.print(
        f"{measure.upper()}: greedy {greedy:.2%}; best {getattr(best, measure):.2%} with weight {best.weight:g} and "
        f"word_score {best.word_score:g}"
    )
    for what in edges(best, config.weights, config.word_scores):
        logger.warning("the best is at %s; try more with --weights and --word_scores", what)
    console.print(f"for evaluate and transcribe: --config {config.output / DECODING_FILE}", markup=False)
    return best


def is_decoding(path: Path) -> bool:
    """Whether a file holds the search that an earlier run found."""
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    return isinstance(content, dict) and content.keys() == {"decoding"}
