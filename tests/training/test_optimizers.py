import math

import pytest

from speechssl.config import FinetuneConfig, PretrainConfig, ScheduleConfig, StreamConfig
from speechssl.config.limits import problems_of
from speechssl.errors import ConfigError
from speechssl.training.optimizers import learning_rate_scale
from speechssl.verbs import finetune, pretrain


def scales(config: ScheduleConfig, max_updates: int) -> list[float]:
    return [learning_rate_scale(config, update, max_updates) for update in range(max_updates)]


def test_published_pretraining_rises_over_32k_of_400k_updates_then_falls_linearly():
    config = PretrainConfig().schedule
    assert learning_rate_scale(config, 15_999, 400_000) == pytest.approx(0.5)
    assert learning_rate_scale(config, 31_999, 400_000) == 1.0
    assert learning_rate_scale(config, 32_000 + 368_000 // 2, 400_000) == pytest.approx(0.5)
    assert learning_rate_scale(config, 400_000, 400_000) == 0.0


def test_published_fine_tuning_is_tri_stage():
    config = FinetuneConfig().schedule
    found = scales(config, 1000)
    assert found[:100] == pytest.approx([(update + 1) / 100 for update in range(100)])
    assert found[100:500] == [1.0] * 400
    # fairseq's tri-stage: peak * exp(ln(final scale) / decay steps * step)
    assert found[500:] == pytest.approx([math.exp(math.log(0.05) / 500 * step) for step in range(500)])
    assert learning_rate_scale(config, 5000, 1000) == pytest.approx(0.05)


@pytest.mark.parametrize("decay", ["linear", "exponential", "none"])
@pytest.mark.parametrize("max_updates", [1, 2, 7, 100])
def test_rises_once_then_never_again_and_wastes_no_update(decay, max_updates):
    found = scales(ScheduleConfig(warmup=0.3, hold=0.2, decay=decay, final_scale=0.1), max_updates)
    peak = found.index(max(found))
    assert found[: peak + 1] == sorted(found[: peak + 1])
    assert found[peak:] == sorted(found[peak:], reverse=True)
    assert min(found) > 0
    assert max(found) == 1.0


def test_no_warmup_starts_at_the_peak_and_no_decay_stays_there():
    assert scales(ScheduleConfig(warmup=0.0, decay="none"), 5) == [1.0] * 5


def test_a_linear_fall_to_zero_still_trains_in_the_last_update():
    assert scales(ScheduleConfig(warmup=0.0, decay="linear"), 10)[-1] == pytest.approx(0.1)


def test_everything_wrong_is_named_at_once():
    data = StreamConfig(["x"])
    problems = problems_of(PretrainConfig(data=data, schedule=ScheduleConfig(0.6, hold=0.6, decay="exponential")))
    assert "add up to more than 1" in problems[0]
    assert "schedule.final_scale is 0" in problems[1]


@pytest.mark.parametrize("run", [pretrain.run, finetune.run])
def test_a_schedule_is_judged_before_anything_is_read(run, tmp_path):
    configuration = PretrainConfig if run is pretrain.run else FinetuneConfig
    config = configuration(output=tmp_path, schedule=ScheduleConfig(warmup=0.9, hold=0.9))
    with pytest.raises(ConfigError, match="add up to more than 1"):
        run(config)
