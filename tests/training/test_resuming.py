"""What a run goes on with, and what it refuses: content counts, and not where it lies or how that is spelled."""

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from changing import with_values
from small_chain import finetune_config, pretrain_config, weights

from speechssl import __version__
from speechssl.config import FinetuneConfig, NoiseConfig, PretrainConfig, ShardConfig
from speechssl.data.corpus import read_corpus
from speechssl.errors import ConfigError
from speechssl.training.checkpoints import latest_checkpoint, load_checkpoint, load_training_state
from speechssl.training.resume import describe_corpus, difference
from speechssl.verbs import finetune, pretrain
from speechssl.verbs import shard as ingest

TEXTS = ["DON’T", "YES", "GO", "IT’S"] * 3


def make_shards(
    folder: Path, texts: list[str], *, seed: int = 0, names: list[str] | None = None, speaker: str = "a"
) -> Path:
    """Shards of noise of equal lengths, which alone cannot tell one set from another."""
    (folder / "audio").mkdir(parents=True)
    draws = np.random.default_rng(seed)
    lines = ["path\tspeaker\ttext"]
    for i, text in enumerate(texts):
        name = f"{names[i] if names else f'u{i:02d}'}.wav"
        soundfile.write(folder / "audio" / name, draws.normal(0, 0.1, 9600), 16000)
        lines.append(f"{name}\t{speaker}\t{text}")
    manifest = folder / "audio" / "list.tsv"
    manifest.write_text("\n".join(lines) + "\n", encoding="utf-8")
    ingest.run(ShardConfig(sources=[str(manifest)], output=folder / "shards"))
    return folder / "shards"


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_shards(tmp_path_factory.mktemp("transcribed"), TEXTS)


def set_back(run: Path) -> None:
    """As if a run had been killed before its last checkpoint."""
    last = latest_checkpoint(run)
    assert last is not None
    shutil.rmtree(last)
    (run / "summary.json").unlink()
    (run / "best.json").unlink(missing_ok=True)


Configured = Callable[[Path], FinetuneConfig]


@pytest.fixture
def begun(corpus: Path, shards: Path, tmp_path: Path) -> Configured:
    """A fine-tuning that was killed half-way; gives its configuration with other shards to learn from."""

    def configure(train: Path) -> FinetuneConfig:
        config = finetune_config(train, tmp_path / "run", None)
        return with_values(config, {"dev.shards": [str(shards)]})

    finetune.run(configure(corpus))
    set_back(tmp_path / "run")
    return configure


def refusal(config: FinetuneConfig | PretrainConfig) -> str:
    with pytest.raises(ConfigError) as raised:
        (finetune if isinstance(config, FinetuneConfig) else pretrain).run(config)
    assert "another --output to start anew" in str(raised.value)
    return str(raised.value)


def test_any_other_transcript_is_refused(begun: Configured, tmp_path: Path) -> None:
    found = refusal(begun(make_shards(tmp_path / "straight", [text.replace("’", "'") for text in TEXTS])))
    assert "train: the shards held 12 samples, 0.0020 h as now, but other samples or transcripts" in found
    found = refusal(begun(make_shards(tmp_path / "gone", [*TEXTS[:11], ""])))
    assert "train: the shards held 12 samples, 0.0020 h, now 11 samples" in found


def test_other_audio_under_the_same_names_is_refused(begun: Configured, tmp_path: Path) -> None:
    assert "other samples or transcripts" in refusal(begun(make_shards(tmp_path / "other", TEXTS, seed=1)))
    config = pretrain_config(make_shards(tmp_path / "one", [""] * 24), tmp_path / "pretrain")
    pretrain.run(config)
    set_back(config.output)
    config = with_values(config, {"data.shards": [str(make_shards(tmp_path / "two", [""] * 24, seed=1))]})
    assert "other samples or transcripts" in refusal(config)


def test_the_same_in_another_place_goes_on(
    begun: Configured, corpus: Path, shards: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name, folder in (("train", corpus), ("dev", shards)):
        shutil.copytree(folder, tmp_path / name)
    config = begun(tmp_path / "train")
    config = with_values(config, {"dev.shards": [str(tmp_path / "dev" / "*.tar")]})
    finetune.run(config)
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING and "run" in record.msg[:12]]
    assert load_checkpoint(tmp_path / "run").update == 4


@pytest.mark.parametrize("verb", ["finetune", "pretrain"])
def test_initial_weights_count_and_not_their_path(
    verb: str, shards: Path, pretrained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(pretrained, tmp_path / "encoder")
    path = Path("encoder")

    def configured() -> Any:
        if verb == "finetune":
            return finetune_config(shards, tmp_path / "run", path)
        config = pretrain_config(shards, tmp_path / "run")
        return with_values(config, {"init": path})

    run: Any = {"finetune": finetune, "pretrain": pretrain}[verb].run
    run(configured())
    straight = weights(tmp_path / "run")
    set_back(tmp_path / "run")
    path = tmp_path / "encoder" / "." / "checkpoints" / "update_00000008"
    run(configured())
    set_back(tmp_path / "run")
    shutil.move(tmp_path / "encoder", tmp_path / "moved")
    path = Path("moved")
    run(configured())
    assert all(torch.equal(value, weights(tmp_path / "run")[name]) for name, value in straight.items())
    set_back(tmp_path / "run")
    path = Path("moved/checkpoints/update_00000004")
    assert "init holds other weights than when the run began" in refusal(configured())


def test_recordings_that_augmentation_draws_from_count_and_not_their_path(shards: Path, tmp_path: Path) -> None:
    first = make_shards(tmp_path / "first", [""] * 3, seed=5)
    second = make_shards(tmp_path / "second", [""] * 3, seed=6, names=["v0", "v1", "v2"])

    def configured(*noise: Path) -> PretrainConfig:
        config = pretrain_config(shards, tmp_path / "run")
        return with_values(config, {"augmentation.noise": NoiseConfig(prob=1.0, shards=[str(path) for path in noise])})

    pretrain.run(configured(first, second))
    straight = weights(tmp_path / "run")
    set_back(tmp_path / "run")
    copies = shutil.copytree(first, tmp_path / "a"), shutil.copytree(second, tmp_path / "b")
    pretrain.run(configured(*copies))
    assert all(torch.equal(value, weights(tmp_path / "run")[name]) for name, value in straight.items())
    set_back(tmp_path / "run")
    assert "augmentation.noise.shards held 6 samples" in refusal(configured(first))
    # Recordings are drawn by their numbers: the order of the files is that of their paths.
    swapped = shutil.copytree(first, tmp_path / "z"), shutil.copytree(second, tmp_path / "y")
    assert "or in another order" in refusal(configured(*swapped))
    assert "or in another order" in refusal(
        configured(first, make_shards(tmp_path / "third", [""] * 3, seed=7, names=["v0", "v1", "v2"]))
    )


def edit_state(run: Path, edit: Callable[[dict[str, Any]], None]) -> None:
    path = latest_checkpoint(run)
    assert path is not None
    state = load_training_state(path)
    edit(state)
    torch.save(state, path / "training_state.pt")


def edit_description(run: Path, edit: Callable[[dict[str, Any]], None]) -> None:
    path = latest_checkpoint(run)
    assert path is not None
    description = json.loads((path / "checkpoint.json").read_text())
    edit(description)
    (path / "checkpoint.json").write_text(json.dumps(description))


def forget_what_is_new(state: dict[str, Any]) -> None:
    """Leave what the version before took down."""
    for name in ("train", "pools", "arithmetic"):
        del state[name]


def test_a_checkpoint_of_the_version_before_goes_on_and_says_what_it_cannot_tell(
    begun: Configured, corpus: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    edit_state(tmp_path / "run", forget_what_is_new)
    finetune.run(begun(corpus))
    assert "did not take down train, pools, arithmetic;" in caplog.text
    assert load_checkpoint(tmp_path / "run").update == 4


def test_a_run_keeps_the_labels_of_its_checkpoint_in_their_order(
    begun: Configured, corpus: Path, tmp_path: Path
) -> None:
    labels: list[str] = []

    def turn(description: dict[str, Any]) -> None:
        labels.extend(description["vocabulary"]["labels"])
        description["vocabulary"]["labels"] = labels[:2] + labels[:1:-1]

    edit_description(tmp_path / "run", turn)
    finetune.run(begun(corpus))
    vocabulary = load_checkpoint(tmp_path / "run").vocabulary
    assert vocabulary is not None
    assert vocabulary["labels"] == labels[:2] + labels[:1:-1]


@pytest.mark.parametrize(("before", "here"), [("bf16", "fp32"), ("fp32", "bf16")])
def test_a_precision_that_is_another_on_this_machine_is_named(
    before: str, here: str, begun: Configured, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def set_precision(state: dict[str, Any]) -> None:
        state["arithmetic"]["precision"] = before

    edit_state(tmp_path / "run", set_precision)
    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.setattr(torch.cpu, name, lambda: here == "bf16")
    config = begun(corpus)
    config = with_values(config, {"training.precision": "auto"})
    assert f"training.precision was {before}, is auto, which is {here} on this machine" in refusal(config)
    config = with_values(config, {"training.precision": before})
    finetune.run(config)
    edit_state(tmp_path / "run", set_precision)
    config = with_values(config, {"training.precision": "auto"})
    finetune.run(config)  # it is over, and may be looked at on any machine


def test_other_versions_are_named_and_go_on(
    begun: Configured, corpus: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    edit_state(tmp_path / "run", lambda state: state["arithmetic"].update(torch="1.13.1"))
    edit_description(tmp_path / "run", lambda description: description.update(version="0.0.1"))
    finetune.run(begun(corpus))
    assert f"torch was 1.13.1, is {torch.__version__}, speechssl was 0.0.1, is {__version__}" in caplog.text


def test_a_limit_on_damage_may_be_raised_for_a_run_that_it_has_stopped(
    begun: Configured, corpus: Path, tmp_path: Path
) -> None:
    config = begun(corpus)
    config = with_values(config, {"train.max_bad_share": 0.1})
    finetune.run(config)
    assert load_checkpoint(tmp_path / "run").update == 4


def test_a_set_does_not_differ_from_itself_in_other_shards(corpus: Path, tmp_path: Path) -> None:
    manifest = corpus.parent / "audio" / "list.tsv"
    ingest.run(ShardConfig(sources=[str(manifest)], output=tmp_path / "many", max_shard_megabytes=0.05))
    one, many = (read_corpus([str(path)], with_texts=True) for path in (corpus, tmp_path / "many"))
    assert len(many.shards) > 1
    assert difference("", describe_corpus(many), describe_corpus(one)) == []
