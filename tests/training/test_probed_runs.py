"""A pretraining that is probed on the way: the same run, its best checkpoint kept, and an end when none is better."""

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from changing import with_values
from small_chain import losses, pretrain_config, weights
from small_runs import PRETRAIN, changed, command, train
from test_resuming import make_shards, set_back

from speechssl.config import EvaluationSetConfig, FinetuneConfig, PretrainConfig, TrainingProbeConfig
from speechssl.config.limits import problems_of
from speechssl.config.reading import from_dict
from speechssl.data.corpus import read_corpus
from speechssl.embedder import load_encoder
from speechssl.errors import ConfigError, DataError
from speechssl.probing.in_training import TrainingProbe, draw, read_sample
from speechssl.probing.sets import read_set
from speechssl.tasks import probed
from speechssl.tasks.initial import resolve_finetuning
from speechssl.tasks.probed import Probing, plateau, remember_score
from speechssl.training.checkpoints import latest_checkpoint, read_best
from speechssl.training.run_log import read_log
from speechssl.verbs import pretrain


def probe_config(shards: Path, output: Path, max_updates: int = 8, **values: Any) -> PretrainConfig:
    """The small pretraining with a probe of few updates at every second update."""
    data = EvaluationSetConfig(shards=[str(shards)])
    probe = with_values(TrainingProbeConfig(train=data, test=data, seconds=8.0, updates=5), values)
    config = pretrain_config(shards, output, max_updates)
    return with_values(config, {"probe": probe, "training.checkpoint_every": 2, "training.keep_checkpoints": 1})


def probes(run: Path) -> list[tuple[int, float]]:
    return [(line["update"], line["probe_cer"]) for line in read_log(run / "log.jsonl") if "probe_cer" in line]


@pytest.fixture(scope="module")
def probed_run(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("probed") / "run"
    pretrain.run(probe_config(shards, output))
    return output


@pytest.fixture
def scored(monkeypatch: pytest.MonkeyPatch) -> Callable[[list[float]], None]:
    """Puts scores in the place of what probes find, by their order."""

    def replace_scores(scores: list[float]) -> None:
        left = iter(scores)
        monkeypatch.setattr(
            TrainingProbe, "__call__", lambda self, path: {"probe_cer": next(left), "probe_noise": 0.01}
        )

    return replace_scores


def test_a_probe_changes_nothing_of_what_is_learned(pretrained: Path, probed_run: Path) -> None:
    assert losses(probed_run) == losses(pretrained)
    found, expected = weights(probed_run), weights(pretrained)
    assert all(torch.equal(found[name], value) for name, value in expected.items())
    assert [update for update, _ in probes(probed_run)] == [2, 4, 6, 8]


def test_a_probe_draws_from_no_generator_of_the_run(shards: Path, probed_run: Path, tmp_path: Path) -> None:
    config = probe_config(shards, tmp_path)
    sample = read_sample(config, read_corpus([str(shards)]))
    assert sample is not None
    probe, path = TrainingProbe(config.probe, sample, torch.device("cpu")), latest_checkpoint(probed_run)
    assert path is not None
    before = torch.get_rng_state()
    found = probe(path)
    assert torch.equal(torch.get_rng_state(), before)
    assert found == probe(path), "the same checkpoint has the same score"
    assert found["probe_cer"] == probes(probed_run)[-1][1]
    assert found["probe_cer_low"] <= found["probe_cer"] <= found["probe_cer_high"]


def test_a_resumed_run_has_the_same_probes(shards: Path, probed_run: Path, tmp_path: Path) -> None:
    config = probe_config(shards, tmp_path / "run")
    pretrain.run(with_values(config, {"training.keep_checkpoints": 3}))
    set_back(config.output)
    pretrain.run(config)
    assert probes(config.output) == probes(probed_run)
    assert losses(config.output) == losses(probed_run)


def test_the_best_probe_is_kept_and_not_the_last(
    shards: Path, tmp_path: Path, scored: Callable[[list[float]], None], caplog: pytest.LogCaptureFixture
) -> None:
    config = probe_config(shards, tmp_path / "run")
    scored([0.9, 0.5, 0.6, 0.7])
    pretrain.run(config)
    assert json.loads((config.output / "best.json").read_text()) == {"update": 4, "probe_cer": 0.5}
    assert [path.name[-2:] for path in sorted((config.output / "checkpoints").iterdir())] == ["04", "08"]
    assert load_encoder(config.output).checkpoint.update == 4
    assert "stopped" not in json.loads((config.output / "summary.json").read_text())
    with caplog.at_level(logging.INFO):
        finetuning = from_dict(FinetuneConfig, {"init": str(config.output)})
        _, initial = resolve_finetuning(finetuning)
    assert initial is not None
    assert initial.update == 4
    assert "the best of its finished run: probe CER 50.0%" in caplog.text
    assert "finish it first" not in caplog.text


def test_a_score_that_stays_ends_the_run_until_it_may_go_on(
    shards: Path, tmp_path: Path, scored: Callable[[list[float]], None], capsys: pytest.CaptureFixture[str]
) -> None:
    config = probe_config(shards, tmp_path / "run", max_updates=12, stop_after=2)
    scored([0.9, 0.5, 0.495, 0.505])  # within the noise
    pretrain.run(config)
    told = capsys.readouterr().out
    assert "trained for 8 updates, lowest probe CER 49.5% after update 6; ended before its 12 updates" in told
    summary = json.loads((config.output / "summary.json").read_text())
    assert summary["updates"] == 8
    assert "none has a CER below the 50.0% of update 4 by more than the noise of 1.4 points" in summary["stopped"]
    pretrain.run(config)
    assert "was finished before, after 8 updates" in capsys.readouterr().out
    scored([0.4, 0.3])
    pretrain.run(with_values(config, {"probe.stop_after": 3}))
    assert "resuming after update 8" in capsys.readouterr().out
    assert probes(config.output)[-2:] == [(10, 0.4), (12, 0.3)]
    assert "stopped" not in json.loads((config.output / "summary.json").read_text())


def test_an_encoder_that_stands_still_is_stopped(shards: Path, tmp_path: Path) -> None:
    config = probe_config(shards, tmp_path / "run", max_updates=12, stop_after=2)
    pretrain.run(with_values(config, {"optimizer.learning_rate": 1e-12}))
    assert [update for update, _ in probes(config.output)] == [2, 4, 6]
    assert len({value for _, value in probes(config.output)}) == 1


def test_small_gains_add_up_and_noise_is_none() -> None:
    memory: dict[str, float] = {}
    for update, value in enumerate([0.50, 0.49, 0.48, 0.47, 0.46, 0.45], start=1):
        remember_score(memory, update, {"probe_cer": value, "probe_noise": 0.012})  # a margin of 1.7 points
    assert not plateau(memory, 2)
    for value in (0.446, 0.449):
        remember_score(memory, 7, {"probe_cer": value, "probe_noise": 0.012})
    assert "3 (probe.stop_after)" in plateau(memory, 2), "since 46%: 45, 44.6 and 44.9"
    assert not plateau(memory, 4)
    assert not plateau(memory, None)
    remember_score(memory, 8, {"loss": 3.0})
    assert "3 (probe.stop_after)" in plateau(memory, 3), "what was not probed counts for nothing"


def test_a_probe_that_takes_too_long_is_named_once(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    clock = [0.0]
    monkeypatch.setattr(probed.time, "monotonic", lambda: clock[0])

    def slow(checkpoint: Path) -> dict[str, float]:
        clock[0] += 1.0
        return {"probe_cer": 0.5, "probe_noise": 0.0}

    probing = Probing(probe_config(shards, tmp_path), slow)
    assert "probe_share" not in probing.score(2), "no update was seen yet"
    for update in (4, 6):
        for _ in range(2):
            probing.count_update()
            clock[0] += 2.0
        assert probing.score(update)["probe_share"] == pytest.approx(1 / 5)
    assert probing.score(5) == {}
    assert caplog.text.count("takes 20.0% of the run's time, above 3%: raise probe.every") == 1


def test_the_sample_takes_speakers_in_turn(shards: Path, tmp_path: Path) -> None:
    config = probe_config(shards, tmp_path)
    samples = read_set(config.probe.train, config.model, name="train")
    drawn = draw(samples, 6.0)
    assert drawn.corpus.seconds <= 6 < samples.corpus.seconds
    assert sorted(drawn.speakers[:3]) == ["s0", "s1", "s2"]
    assert list(drawn.corpus.keys) == list(draw(samples, 6.0).corpus.keys)
    assert len(draw(samples, 0.1)) == 1


def test_shards_without_transcripts_are_refused_with_the_remedy(shards: Path, tmp_path: Path) -> None:
    bare = make_shards(tmp_path / "bare", [""] * 4)
    config = with_values(probe_config(shards, tmp_path / "run"), {"probe.test.shards": [str(bare)]})
    with pytest.raises(DataError, match=r"probe\.test\.shards .*none of the 4 samples has a transcript .*require_text"):
        pretrain.run(config)


def test_another_probe_is_refused_and_none_is_not(shards: Path, probed_run: Path, tmp_path: Path) -> None:
    config = probe_config(shards, tmp_path / "run", max_updates=4)
    pretrain.run(config)
    (config.output / "summary.json").unlink()
    with pytest.raises(ConfigError, match=r"probe\.layers was \['block_2'\], is \['block_1'\]"):
        pretrain.run(with_values(config, {"probe.layers": ["block_1"]}))
    other = make_shards(tmp_path / "other", ["YES", "NO"] * 6)
    with pytest.raises(ConfigError, match=r"probe\.test: the sample held"):
        pretrain.run(with_values(config, {"probe.test.shards": [str(other)]}))
    pretrain.run(with_values(config, {"probe": TrainingProbeConfig()}))


def test_a_probe_that_is_left_out_for_a_while_is_still_the_only_one(shards: Path, tmp_path: Path) -> None:
    """The best checkpoint and what is remembered of the scores are still its own."""
    config = with_values(probe_config(shards, tmp_path / "run", max_updates=4), {"training.keep_checkpoints": 3})
    pretrain.run(config)
    set_back(config.output)
    pretrain.run(with_values(config, {"probe": TrainingProbeConfig()}))
    assert [update for update, _ in probes(config.output)] == [2], "update 4 was written without a probe"
    with pytest.raises(ConfigError, match=r"probe\.seconds was 8\.0, is 9\.0"):
        pretrain.run(with_values(config, {"probe.seconds": 9.0}))
    pretrain.run(config)


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ({"probe.test.shards": []}, "probe: test.shards is empty"),
        ({"probe.every": 3}, "probe.every is 3, expected a multiple of training.checkpoint_every (2)"),
        ({"probe.layers": ["block_9"]}, "probe.layers holds block_9, expected some of features, block_1, block_2"),
        ({"probe.stop_after": 2, "probe.num_heads": 1}, "num_heads is 1, whose noise is not known"),
    ],
)
def test_what_cannot_be_probed(shards: Path, tmp_path: Path, values: dict[str, Any], found: str) -> None:
    problems = " ".join(problems_of(with_values(probe_config(shards, tmp_path), values)))
    assert found.removeprefix("probe: ") in problems


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_several_ranks_are_probed_as_one(strategy: str, shards: Path, tmp_path: Path) -> None:
    data = {"shards": [str(shards)]}
    probe = {"train": data, "test": data, "seconds": 8.0, "updates": 5}
    config = changed(PRETRAIN, probe=probe, training={"max_updates": 4, "checkpoint_every": 2})
    train(command("pretrain", config, tmp_path / "one", shards))
    train(command("pretrain", config, tmp_path / "two", shards), ranks=2, strategy=strategy)
    expected, found = (probes(tmp_path / name) for name in ("one", "two"))
    assert [update for update, _ in found] == [update for update, _ in expected] == [2, 4]
    assert [value for _, value in found] == pytest.approx([value for _, value in expected], abs=0.05)
    update, value = min(reversed(found), key=lambda item: item[1])
    assert read_best(tmp_path / "two") == (update, "probe_cer", value)
