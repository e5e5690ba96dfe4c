"""Every field of every verb, given what makes no sense: an error that names it, before any work, and never another."""

import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from speechssl import cli
from speechssl.config import ExportConfig
from speechssl.config.schema import schema_of
from speechssl.decoding.arpa import write_arpa
from speechssl.decoding.kneser_ney import estimate, tokenize
from speechssl.verbs import export

WORK = {
    "shard": "speechssl.verbs.shard.make_set",
    "verify": "speechssl.verbs.verify.check_in_processes",
    "plan": "speechssl.verbs.plan.probe_machine",
    "pretrain": "speechssl.verbs.pretrain.train",
    "finetune": "speechssl.verbs.finetune.train",
    "evaluate": "speechssl.verbs.evaluate.evaluate",
    "score": "speechssl.verbs.score.show_score",
    "transcribe": "speechssl.verbs.transcribe.transcribe",
    "align": "speechssl.verbs.align.align_recordings",
    "calibrate": "speechssl.verbs.calibrate.judge_set",
    "probe": "speechssl.verbs.probe.score_layers",
    "embed": "speechssl.verbs.embed.write_parts",
    "import": "speechssl.verbs.import_.prove",
    "export": "speechssl.verbs.export.prove",
    "report": "speechssl.verbs.report.plot_run",
    "lm": "speechssl.verbs.lm.estimate",
    "tune": "speechssl.verbs.tune.sweep",
}
NUMBERS = ("-1", "0", "1000000000000", ".nan", ".inf")
NEVER_TAKEN = (".nan", ".inf", "")


class WorkBeganError(Exception):
    """All checks are passed."""


@pytest.fixture(autouse=True)
def no_work(monkeypatch: pytest.MonkeyPatch) -> None:
    def begin(*args: Any, **options: Any) -> None:
        raise WorkBeganError

    for place in WORK.values():
        monkeypatch.setattr(place, begin)


@pytest.fixture(scope="session")
def exported(finetuned: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Hugging Face folder of the small recogniser."""
    folder = tmp_path_factory.mktemp("exported") / "model"
    export.run(ExportConfig(finetuned, folder, proof=False))
    return folder


@pytest.fixture
def commands(
    shards: Path, pretrained: Path, finetuned: Path, exported: Path, tmp_path: Path
) -> dict[str, dict[str, str]]:
    """Options with which each verb begins its work."""
    soundfile.write(tmp_path / "a.wav", np.sin(np.arange(16000) * 0.1) / 10, 16000)
    output, audio, data = str(tmp_path / "out"), str(tmp_path / "a.wav"), str(shards)
    for name in ("r.trn", "h.trn"):
        (tmp_path / name).write_text("ONE (u1)\nTWO (u2)\n")
    (tmp_path / "text.txt").write_text("ONE TWO\nTWO\n")
    arpa = str(tmp_path / "lm.arpa")
    write_arpa(estimate(tokenize([["ONE", "TWO"], ["TWO"]]), 2).model, Path(arpa))
    (tmp_path / "run.yaml").write_text("data: {num_streams: 2}\n")
    return {
        "shard": {"sources": audio, "output": output},
        "verify": {"shards": data},
        "plan": {"pretraining": str(tmp_path / "run.yaml"), "shards": data},
        "pretrain": {"data.shards": data, "data.num_streams": "2", "output": output},
        "finetune": {
            "init": str(pretrained),
            "train.shards": data,
            "dev.shards": data,
            "output": output,
            "masking.channel_length": "8",
        },
        "evaluate": {"checkpoint": str(finetuned), "data.shards": data, "output": output, "accelerator": "cpu"},
        "score": {"reference": str(tmp_path / "r.trn"), "hypothesis": str(tmp_path / "h.trn"), "output": output},
        "transcribe": {"checkpoint": str(finetuned), "audio": audio, "accelerator": "cpu"},
        "align": {"checkpoint": str(finetuned), "sources": audio, "output": output, "accelerator": "cpu"},
        "calibrate": {"checkpoint": str(finetuned), "data.shards": data, "output": output, "accelerator": "cpu"},
        "probe": {"checkpoint": str(finetuned), "train.shards": data, "test.shards": data, "output": output},
        "embed": {"checkpoint": str(finetuned), "shards": data, "output": output, "accelerator": "cpu"},
        "import": {"checkpoint": str(exported), "output": output},
        "export": {"checkpoint": str(finetuned), "output": output},
        "report": {"experiment": str(pretrained)},
        "lm": {"text": str(tmp_path / "text.txt"), "output": output},
        "tune": {
            "checkpoint": str(finetuned),
            "data.shards": data,
            "output": output,
            "decoding.language_model": arpa,
            "accelerator": "cpu",
        },
    }


def absurd_values(hint: Any, folder: Path) -> Iterator[str]:
    """Values of a field that no one means."""
    kinds = set(leaves_of(hint))
    is_list = typing.get_origin(hint) in (list, tuple)
    yield ""
    if is_list:
        yield "[]"
    if kinds & {int, float}:
        yield from NUMBERS
        yield from (f"[{value}, {value}]" for value in ("-1", ".nan") if is_list)
    if kinds & {Path, str}:
        yield from map(str, (folder / "gone" / "deep", folder / "file", folder / "file" / "in it", folder))
        yield "n" * 300
    if kinds & {bool, typing.Literal}:
        yield "bogus"


def leaves_of(hint: Any) -> Iterator[Any]:
    """The types that a type is made of."""
    arguments = typing.get_args(hint)
    if typing.get_origin(hint) is typing.Literal:
        yield typing.Literal
    elif arguments:
        for argument in arguments:
            yield from leaves_of(argument)
    else:
        yield hint


@pytest.mark.parametrize("verb", cli.VERBS)
def test_what_makes_no_sense_is_named(
    verb: str, commands: dict[str, dict[str, str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("neither audio nor a list")
    base = commands[verb]
    wrong = []
    for key, hint in schema_of(cli.VERBS[verb].config).leaves.items():
        for value in absurd_values(hint, tmp_path):
            argv = [verb, *(f"--{name}={word}" for name, word in base.items() if name != key), f"--{key}={value}"]
            try:
                status = cli.main(argv)
            except WorkBeganError:
                wrong += [f"--{key}={value}: was taken"] if value in NEVER_TAKEN and hint is not str else []
                continue
            except Exception as error:
                wrong.append(f"--{key}={value}: {error!r}")
                continue
            finally:
                told = capsys.readouterr().err
            is_named = key.rpartition(".")[2] in told or (value and value in told)
            if (status, is_named) != (2, True):
                wrong.append(f"--{key}={value}: {status} {told}")
    assert wrong == []


@pytest.mark.parametrize("verb", cli.VERBS)
def test_the_commands_are_right_but_for_the_values(verb: str, commands: dict[str, dict[str, str]]) -> None:
    with pytest.raises(WorkBeganError):
        cli.main([verb, *(f"--{name}={word}" for name, word in commands[verb].items())])


@pytest.mark.parametrize("kind", ["cuda", "mps"])
@pytest.mark.parametrize(
    "verb", ["pretrain", "finetune", "evaluate", "transcribe", "align", "calibrate", "embed", "plan"]
)
def test_a_device_that_is_not_there_is_one_line(
    verb: str,
    kind: str,
    commands: dict[str, dict[str, str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    options = dict(commands[verb])
    if verb == "plan":
        (tmp_path / "run.yaml").write_text(f"data: {{num_streams: 2}}\ntraining: {{accelerator: {kind}}}\n")
    else:
        options["training.accelerator" if verb in ("pretrain", "finetune") else "accelerator"] = kind
    assert cli.main([verb, *(f"--{name}={word}" for name, word in options.items())]) == 2
    told = capsys.readouterr().err
    assert told.startswith(f"speechssl: error: accelerator is {kind}, but ")
    assert told.endswith("; give auto or cpu, or mend that\n")
    assert len(told.splitlines()) == 1
