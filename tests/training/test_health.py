import logging
import math
from pathlib import Path

import pytest
import torch
from forked_ranks import run_ranks
from small_runs import CONSTANT, FINETUNE, changed, command, spread

from speechssl.config import ContrastiveConfig, DropoutConfig, HealthConfig, ModelConfig
from speechssl.errors import HealthError
from speechssl.objectives.contrastive import ContrastiveModel
from speechssl.tasks.ctc_health import FinetuneHealth
from speechssl.tasks.pretraining import PretrainHealth

HEALTHY = {
    "loss": 3.0,
    "accuracy": 0.3,
    "chance": 0.01,
    "perplexity_0": 90.0,
    "perplexity_1": 70.0,
    "gradient_norm": 1.0,
}

with torch.device("meta"):
    CONTRASTIVE = ContrastiveModel(ModelConfig(), ContrastiveConfig(), DropoutConfig())


def watch(**config) -> PretrainHealth:
    settings = {"patience_updates": 100} | config
    return PretrainHealth(HealthConfig(**settings), CONTRASTIVE)


def test_a_learning_run_is_left_alone():
    health = watch()
    for update in range(0, 1000, 10):
        assert health.check(update, HEALTHY) == []


@pytest.mark.parametrize("loss", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_not_finite_stops_at_once(loss):
    with pytest.raises(HealthError, match="non-finite loss") as caught:
        watch().check(1, HEALTHY | {"loss": loss})
    assert caught.value.exit_status == 3
    assert "update 1" in str(caught.value)
    assert "Usual causes" in str(caught.value)
    assert "--optimizer.learning_rate" in str(caught.value)
    assert "--health.on_failure warn" in str(caught.value)


def test_a_gradient_that_is_not_finite_stops_at_once():
    with pytest.raises(HealthError, match="non-finite gradient norm"):
        watch().check(1, HEALTHY | {"gradient_norm": math.inf})


def test_chance_is_named_only_after_the_patience():
    health = watch()
    at_chance = HEALTHY | {"accuracy": 0.0101, "loss": 4.615}
    health.check(99, at_chance)
    with pytest.raises(HealthError) as caught:
        health.check(100, at_chance)
    message = str(caught.value)
    for part in ("at chance", "0.0101", "0.0100", "4.615", "ln(101)", "90.0, 70.0 of 320", "Usual causes", "Remedies"):
        assert part in message


def test_patience_counts_from_the_last_time_that_the_run_was_well():
    health = watch()
    health.check(90, HEALTHY)
    health.check(189, HEALTHY | {"accuracy": 0.0})
    with pytest.raises(HealthError, match="at chance"):
        health.check(190, HEALTHY | {"accuracy": 0.0})


def test_chance_follows_from_the_negatives_where_it_is_not_measured():
    metrics = {"accuracy": 1.9 / 101}
    with pytest.raises(HealthError, match=r"at chance"):
        watch().check(100, metrics)
    assert watch().check(100, {"accuracy": 2.1 / 101}) == []


def test_one_collapsed_group_is_enough_and_is_named():
    health = watch()
    collapsed = HEALTHY | {"perplexity_1": 15.9}
    assert health.check(50, collapsed) == []
    with pytest.raises(HealthError, match=r"collapsed codebook: .*codebook 1 is at perplexity 15\.9 of 320 entries"):
        health.check(100, collapsed)
    assert watch().check(100, HEALTHY | {"perplexity_1": 16.1}) == []


def test_trivial_targets_are_called_collapse_and_not_success():
    health = watch(min_perplexity_share=0.0)
    trivial = HEALTHY | {"accuracy": 0.999, "perplexity_0": 1.0, "perplexity_1": 1.02}
    assert health.check(50, trivial) == []
    with pytest.raises(HealthError, match=r"collapse: .*0\.999.*1\.00 \+ 1\.02 = 2\.02"):
        health.check(150, trivial)


def test_high_accuracy_on_a_rich_codebook_is_success():
    assert watch().check(1000, HEALTHY | {"accuracy": 0.99}) == []


def test_warn_goes_on_and_does_not_repeat_itself_at_every_line(caplog):
    health = watch(on_failure="warn")
    with caplog.at_level(logging.WARNING, logger="speechssl"):
        named = [len(health.check(update, HEALTHY | {"accuracy": 0.0})) for update in range(10, 401, 10)]
    assert named == [1 if update in (100, 200, 300, 400) else 0 for update in range(10, 401, 10)]
    assert len(caplog.records) == 4
    assert "at chance" in caplog.records[0].getMessage()


def test_a_resumed_watch_keeps_its_patience():
    at_chance = HEALTHY | {"accuracy": 0.0}
    first = watch()
    first.check(30, HEALTHY)
    resumed = watch()
    resumed.load_state_dict(first.state_dict())
    assert resumed.check(129, at_chance) == []
    with pytest.raises(HealthError):
        resumed.check(130, at_chance)


def test_a_run_too_short_to_be_judged_is_told_at_its_end(caplog):
    health = watch()
    health.check(20, HEALTHY | {"accuracy": 0.011, "perplexity_1": 3.0})
    health.warn_at_end(20)
    assert "ends at update 20 with signs of: at chance, collapsed group 1" in caplog.text
    assert "patience_updates is 100" in caplog.text
    caplog.clear()
    health.check(30, HEALTHY)
    health.warn_at_end(30)
    assert not caplog.text


def test_figures_that_are_missing_are_not_judged():
    assert watch().check(1000, {}) == []
    assert FinetuneHealth(HealthConfig(patience_updates=1)).check(1000, {}) == []


def test_frames_that_stay_blank_are_a_warning_even_where_failures_stop(caplog):
    health = FinetuneHealth(HealthConfig(patience_updates=100, on_failure="stop"))
    assert health.check(50, {"loss": 2.9, "blank_share": 1.0}) == []
    with caplog.at_level(logging.WARNING, logger="speechssl"):
        (finding,) = health.check(100, {"loss": 2.9, "blank_share": 1.0})
    assert finding.name == "all blank"
    assert "100.0% of frames" in finding.message
    assert "--freeze_context_updates" in caplog.text
    assert health.check(150, {"loss": 1.0, "blank_share": 0.8}) == []


def test_fine_tuning_stops_at_a_loss_that_is_not_finite():
    with pytest.raises(HealthError, match="longer than their frames"):
        FinetuneHealth(HealthConfig()).check(3, {"loss": math.inf})


# Dev WER and CER of AN4's recipe from scratch, seed 0, at every 50th update.
LEARNING = [
    (1.0, 1.0), (1.0, 1.0), (1.0, 1.0), (0.9953, 0.9628), (1.0, 0.9384), (0.9937, 0.8430), (0.9560, 0.7050),
    (0.8838, 0.5800), (0.8053, 0.5217),
]  # fmt: skip
# The same with a hundredth of the learning rate, and with 30 times as much, at every 100th.
TOO_COLD = [(1.0455, 0.8368), (0.9984, 0.9924), (1.0, 1.0), (1.0, 1.0), (1.0, 1.0), (1.0, 1.0), (1.0, 1.0)]
TOO_HOT = [(1.0, 1.0)] * 6


def dev_scores(wer: float, cer: float) -> dict[str, float]:
    return {"wer": wer, "cer": cer, "empty_share": float(cer == 1.0)}


def stops_at(scores: list[dict[str, float]], every: int, **options) -> tuple[int, str] | None:
    """Update at which a run of these scores stops, and its reason."""
    health = FinetuneHealth(HealthConfig(patience_updates=400), **options)
    for update, score in zip(range(every, 1_000_000, every), scores, strict=False):
        try:
            health.check_scores(update, score)
        except HealthError as error:
            return update, str(error).partition(":")[0]
    return None


def test_a_recipe_that_learns_passes_its_plateau():
    assert stops_at([dev_scores(*score) for score in LEARNING], 50) is None
    # A word error rate that is of no use, as of a language without spaces, while the characters improve.
    assert stops_at([dev_scores(1.0, cer) for _, cer in LEARNING] + [dev_scores(1.0, 0.3)] * 5, 50) is None


def test_untrained_noise_before_the_plateau_is_no_measure():
    slow = [(1.2, 0.80), (1.0, 1.0), (1.0, 0.97), (1.0, 0.95), (1.0, 0.93), (1.0, 0.91), (1.0, 0.89), (1.0, 0.87)]
    assert stops_at([dev_scores(*score) for score in slow], 100) is None


def test_outputs_that_stay_empty_stop_a_run():
    assert stops_at([dev_scores(*score) for score in TOO_HOT], 100) == (400, "empty outputs")
    assert stops_at([dev_scores(*score) for score in TOO_COLD], 100) == (400, "all wrong")
    few_words = [{"wer": 0.999, "cer": 0.998, "empty_share": 0.997}] * 9
    assert stops_at(few_words, 100) == (400, "empty outputs")


def test_an_error_rate_that_stays_at_100_percent_stops_a_run():
    babble = [dev_scores(1.02, cer) for cer in (0.92, 0.925, 0.918, 0.93, 0.921, 0.919)]
    assert stops_at(babble, 100) == (400, "all wrong")
    right_once = [*babble[:3], dev_scores(0.98, 0.92), *babble]
    assert stops_at(right_once, 100) == (800, "all wrong")
    # Characters are right but no word is, since no space is ever written.
    unspaced = [dev_scores(1.0, 0.15)] * 6
    assert stops_at(unspaced, 100) == (400, "all wrong")
    assert stops_at(unspaced, 100, words_are_long=True) is None
    assert stops_at(babble, 100, words_are_long=True) is None
    assert stops_at([dev_scores(1.0, 0.999)] * 6, 100, words_are_long=True) == (400, "all wrong")


def test_one_score_is_no_stay():
    assert stops_at([dev_scores(1.0, 1.0)], 1000) is None
    assert stops_at([dev_scores(1.0, 1.0)] * 2, 1000) == (2000, "empty outputs")


def test_patience_with_outputs_begins_when_all_of_the_model_learns():
    assert stops_at([dev_scores(1.0, 1.0)] * 9, 100, slow_updates=300) == (700, "empty outputs")


def test_wrong_outputs_are_named_with_causes_and_remedies():
    health = FinetuneHealth(HealthConfig(patience_updates=100))
    health.check_scores(100, dev_scores(1.0, 0.9))
    with pytest.raises(HealthError) as caught:
        health.check_scores(200, dev_scores(1.0, 0.9))
    assert caught.value.exit_status == 3
    for part in ("WER is 100.0%", "CER 90.0%", "update 200", "health.patience_updates", "Usual causes", "Remedies"):
        assert part in str(caught.value)
    assert "--health.on_failure warn" in str(caught.value)
    health = FinetuneHealth(HealthConfig(patience_updates=100, on_failure="warn"))
    named = [health.check_scores(update, dev_scores(1.0, 1.0)) for update in range(50, 351, 50)]
    assert [[finding.name for finding in at] for at in named] == 3 * [[], ["empty outputs"]] + [[]]


def test_a_watch_that_is_resumed_at_a_checkpoint_sees_its_scores_again():
    """The checkpoint is written before its scores are judged."""
    health = FinetuneHealth(HealthConfig(patience_updates=400))
    for update in (100, 200, 300):
        health.check_scores(update, dev_scores(1.0, 1.0))
    saved = health.state_dict()
    for _ in range(2):
        resumed = FinetuneHealth(HealthConfig(patience_updates=400))
        resumed.load_state_dict(saved)
        with pytest.raises(HealthError, match="empty outputs"):
            resumed.check_scores(400, dev_scores(1.0, 1.0))
    old = {"last_absent": {}, "last_named": {}}  # of a version that did not look at scores
    resumed.load_state_dict(old)
    assert resumed.check_scores(9000, {"wer": 1.0, "cer": 1.0}) == []


# Loss of AN4's recipe with a learning rate of 10 and no clipping, at every fifth update.
EXPLODING = [6.657, 1597.1, 6148.6, 9532.3, 9479.2]


@pytest.mark.parametrize("kind", [FinetuneHealth, PretrainHealth])
def test_a_loss_a_thousand_times_that_of_the_start_stops_a_run(kind):
    health = kind(HealthConfig()) if kind is FinetuneHealth else watch()
    for update, loss in zip((1, 5, 10), EXPLODING, strict=False):
        assert {finding.name for finding in health.check(update, {"loss": loss})} <= {"rising loss"}
    resumed = kind(HealthConfig()) if kind is FinetuneHealth else watch()
    resumed.load_state_dict(health.state_dict())
    with pytest.raises(HealthError, match=r"exploding loss: 9532 nats .* update 15, 1,432 times the 6\.657") as caught:
        resumed.check(15, {"loss": EXPLODING[3]})
    assert caught.value.exit_status == 3
    assert "--optimizer.max_grad_norm" in str(caught.value)


def test_a_loss_that_rises_from_almost_nothing_has_not_exploded():
    health = watch()
    for update, loss in enumerate((30.0, 0.001, 20.0), start=1):
        assert health.check(update, HEALTHY | {"loss": loss}) == []
    gone_on = watch()
    assert gone_on.check(1, HEALTHY | {"loss": 0.002}) == []
    assert gone_on.check(2, HEALTHY | {"loss": 4.6}) == []


def test_a_held_out_loss_that_explodes_stops_a_pretraining():
    health = watch()
    health.check(1, HEALTHY)
    assert health.check_scores(500, {"loss": 2.5, "accuracy": 0.4}) == []
    assert health.check_scores(500, {}) == []
    with pytest.raises(HealthError, match="exploding loss"):
        health.check_scores(1000, {"loss": 3001.0})
    with pytest.raises(HealthError, match="non-finite loss"):
        health.check_scores(1000, {"loss": math.nan})


def test_dev_scores_stop_every_rank_and_are_told_once(shards: Path, tmp_path: Path):
    config = changed(FINETUNE, optimizer={"learning_rate": 1e-9}, schedule=CONSTANT, health={"patience_updates": 6})
    config["model"] = {
        "feature_encoder": {"conv_layers": [[8, 10, 5], [8, 8, 8], [15, 8, 8]]},
        "context": {
            "num_layers": 1,
            "dim": 16,
            "ffn_dim": 32,
            "num_heads": 2,
            "pos_conv_kernel": 8,
            "pos_conv_groups": 2,
        },
    }
    ended = run_ranks([*command("finetune", config, tmp_path / "run", shards), *spread(2)], 2)
    assert ended.statuses == [3, 3], ended.text
    assert ended.text.count("speechssl: error:") == 1
    assert "at update 6" in ended.text
