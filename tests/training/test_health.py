import logging
import math

import pytest

from speechssl.config import HealthConfig
from speechssl.errors import HealthError
from speechssl.training.health import FinetuneHealth, PretrainHealth

HEALTHY = {
    "loss": 3.0,
    "accuracy": 0.3,
    "chance": 0.01,
    "perplexity_0": 90.0,
    "perplexity_1": 70.0,
    "gradient_norm": 1.0,
}


def watch(**config) -> PretrainHealth:
    settings = {"patience_updates": 100} | config
    return PretrainHealth(HealthConfig(**settings), num_entries=320, num_groups=2, num_negatives=100)


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
    with pytest.raises(HealthError, match=r"collapsed codebook: group 1 at perplexity 15\.9 of 320 entries"):
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


def test_outputs_that_stay_blank_are_a_warning_even_where_failures_stop(caplog):
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
