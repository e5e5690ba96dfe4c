"""What a run would take: the arithmetic, and one real probe."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml

from speechssl.cli import main
from speechssl.config import PlanConfig, PretrainConfig, StreamConfig, TrainingConfig
from speechssl.tasks import planning
from speechssl.tasks.machine_probe import Probed
from speechssl.verbs import plan

PUBLISHED = PretrainConfig(data=StreamConfig(num_streams=64), training=TrainingConfig(max_updates=400_000))
"""64 micro-batches of 87.5 s: the batch of wav2vec 2.0 base."""
PROBED = Probed(
    batch_seconds=87.5,
    audio_seconds=87.0,
    micro_batch_seconds=0.3,
    step_seconds=0.03,
    read_seconds=0.0,
    peak_bytes=2**34,
)


def planned(devices: int, **options: float) -> planning.Geometry:
    config = PlanConfig(Path("run.yaml"), [], **options)  # type: ignore[arg-type]
    return planning.geometry(PROBED, devices, PUBLISHED, config)


def test_accumulation_keeps_the_published_batch() -> None:
    found = {devices: planned(devices) for devices in (1, 8, 64)}
    assert [(item.accumulation, item.num_streams) for item in found.values()] == [(64, 64), (8, 64), (1, 64)]
    assert found[8].update_seconds == pytest.approx(8 * 0.3 + 0.03)
    assert found[8].audio_seconds_per_second == pytest.approx(64 * 87.0 / 2.43)
    assert found[8].hours == pytest.approx(400_000 * 2.43 / 3600)
    assert planned(8, price_per_hour=2.0).cost == pytest.approx(16 * found[8].hours)
    assert planned(8, update_hours=0.5).accumulation == 3  # 1800 s in micro-batches of 700 s


@pytest.mark.parametrize(
    ("accelerator", "workers", "update_seconds"),
    [
        ("cuda", 1, 8.0),  # 8 micro-batches of 1 s each are longer than learning
        ("cuda", 4, 2.43),  # 2 s of reading hide behind it
        ("cuda", 0, 10.43),
        ("cpu", 4, 10.43),  # the cores that read are those that learn
    ],
)
def test_reading_is_waited_for_where_it_is_slower(
    accelerator: str, workers: int, update_seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    data = replace(PUBLISHED.data, num_workers=workers)
    config = replace(PUBLISHED, data=data, training=replace(PUBLISHED.training, accelerator=accelerator))
    found = planning.geometry(PROBED._replace(read_seconds=1.0), 8, config, PlanConfig(Path(), []))
    assert found.update_seconds == pytest.approx(update_seconds)
    assert found.reading_share == pytest.approx(1 - 2.43 / update_seconds)


def test_updates_are_not_made_larger() -> None:
    sizes = [PROBED._replace(batch_seconds=seconds) for seconds in (10.0, 20.0, 40.0)]
    assert [item.batch_seconds for item in planning.fitting(sizes, 2, 40.0)] == [10.0, 20.0]
    assert [item.batch_seconds for item in planning.fitting(sizes, 8, 40.0)] == [10.0]


def test_no_devices_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "run.yaml", "shards", "--devices", "8", "0"]) == 2
    assert "--devices holds 0, expected 1 or more" in capsys.readouterr().err


def advised(found: list[planning.Geometry], pretrain: PretrainConfig) -> str:
    config = PlanConfig(Path("run.yaml"), [])
    return "\n".join(planning.advice(found, pretrain, config))


def rows(
    pretrain: PretrainConfig, *micro_batch_seconds: float, devices: int = 1, read: float = 0.0
) -> list[planning.Geometry]:
    """Batches of half, once and so on the configured size, each of which takes so long."""
    sizes = [pretrain.data.max_batch_seconds * 0.5 * 2**i for i in range(len(micro_batch_seconds))]
    probed = [
        PROBED._replace(batch_seconds=size, micro_batch_seconds=seconds, read_seconds=read)
        for size, seconds in zip(sizes, micro_batch_seconds, strict=True)
    ]
    return [planning.geometry(item, devices, pretrain, PlanConfig(Path(), [])) for item in probed]


def test_what_is_configured_is_not_advised() -> None:
    told = advised(rows(PUBLISHED, 0.2, 0.3), PUBLISHED)
    assert "the configuration's batches are as fast as any tried" in told
    assert "fastest" not in told
    told = advised(rows(PUBLISHED, 0.147, 0.3), PUBLISHED)  # a gain within what a probe can tell
    assert "fastest" not in told
    told = advised(rows(PUBLISHED, 0.1, 0.3), PUBLISHED)
    assert (
        "fastest: --data.max_batch_seconds 43.75 --data.num_streams 128, on 1 device(s), 50% faster than as configured"
        in told
    )


def test_batches_that_are_not_configured_are_advised_for_other_devices() -> None:
    few = replace(PUBLISHED, data=replace(PUBLISHED.data, num_streams=4))
    told = advised(rows(few, 0.2, 0.3, devices=8), few)
    assert "8 devices: updates of 700 s, more than 350 s" in told
    assert "fastest: --data.max_batch_seconds 43.75 --data.num_streams 8, on 8 device(s)" in told
    assert "faster" not in told


def test_reading_is_spoken_of_where_it_takes_time() -> None:
    config = replace(PUBLISHED, training=replace(PUBLISHED.training, accelerator="cpu"))
    assert "reading audio takes up to 95% of an update" in advised(rows(config, 0.2, 0.3, read=4.0), config)
    assert "reading" not in advised(rows(config, 0.2, 0.3), config)


@pytest.mark.slow
def test_a_probe_of_this_machine(shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = {
        "model": {
            "feature_encoder": {"conv_layers": [[8, 10, 5], [8, 8, 8], [16, 8, 8]]},
            "context": {"num_layers": 2, "dim": 16, "ffn_dim": 32, "num_heads": 2, "pos_conv_groups": 2},
        },
        "objective": {"masking": {"time_prob": 0.5, "time_length": 3}, "num_negatives": 5},
        "data": {"num_streams": 4, "max_batch_seconds": 2, "max_seconds": 2},
        "training": {"max_updates": 1000, "devices": 2, "num_threads": 1, "accelerator": "cpu"},
    }
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(content))
    config = PlanConfig(tmp_path / "run.yaml", [str(shards)], probe_seconds=1.0, output=tmp_path / "plan.json")
    found = plan.run(config)
    # A quarter and a half of 2 s are shorter than the longest sample.
    assert [(item.batch_seconds, item.devices, item.accumulation) for item in found] == [(2.0, 2, 2), (4.0, 2, 1)]
    assert all(0 < item.update_seconds < 10 and item.peak_bytes > 1e8 for item in found)
    assert [item["hours"] for item in json.loads((tmp_path / "plan.json").read_text())["geometries"]] == [
        item.hours for item in found
    ]
    out = capsys.readouterr().out
    assert "1000 updates of 8 s" in out
    assert "--data.max_batch_seconds" in out or "as fast as any tried" in out
