import errno
import os
import resource
import subprocess
import sys
from types import ModuleType

import pytest
import torch

from speechssl import cli
from speechssl.config import EvaluateConfig, PretrainConfig, ShardConfig, TranscribeConfig
from speechssl.config.reading import from_dict
from speechssl.errors import DataError, HealthError


def child_seconds() -> float:
    """Processor time of the child processes so far; unlike the clock it does not count what else the machine does."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


@pytest.fixture
def verb(monkeypatch):
    """Replace a verb's module by one whose run does what the test says."""

    def replace(name: str, run) -> None:
        module = ModuleType(cli.VERBS[name].module)
        module.run = run
        monkeypatch.setitem(sys.modules, cli.VERBS[name].module, module)

    return replace


def raising(error: BaseException):
    def run(config) -> None:
        raise error

    return run


@pytest.mark.parametrize("argv", [["--help"], *([name, "--help"] for name in cli.VERBS)], ids=" ".join)
def test_help_answers_in_under_a_second_and_imports_no_torch(argv):
    code = (
        "import sys\nfrom speechssl.cli import main\nstatus = main(sys.argv[1:])\n"
        "assert 'torch' not in sys.modules and 'numpy' not in sys.modules\nsys.exit(status)"
    )
    before = child_seconds()
    done = subprocess.run([sys.executable, "-c", code, *argv], capture_output=True, text=True, timeout=60)
    assert child_seconds() - before < 1
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("usage: speechssl")


@pytest.mark.parametrize("name", ["transcribe", "evaluate", "embed"])
def test_using_a_model_imports_what_it_needs_alone(name):
    """Of a recording's minute in memory, imports are more than half: PyTorch's compiler alone would be 120 MiB."""
    code = f"import sys\nimport {cli.VERBS[name].module}\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=True)
    heavy = {"torch._dynamo", "torch._inductor", "sympy", "triton", "torchaudio", "lightning_fabric", "librosa"}
    heavy |= {"numba", "matplotlib", "transformers", "onnx"}
    assert not heavy & set(done.stdout.split())


@pytest.mark.parametrize(("verb", "at_once"), [("transcribe", True), ("pretrain", False)])
def test_a_command_ends_with_its_status(verb, at_once, monkeypatch):
    class EndsAtOnceError(Exception):
        pass

    def end(status):
        raise EndsAtOnceError(status)

    monkeypatch.setattr(cli.os, "_exit", end)
    monkeypatch.setattr(cli.sys, "argv", ["speechssl", verb, "--no_such_option", "1"])
    with pytest.raises(EndsAtOnceError if at_once else SystemExit) as ended:
        cli.command()
    assert ended.value.args == (2,)


@pytest.mark.parametrize("ends_at_once", [True, False])
def test_all_output_arrives(ends_at_once):
    """Though Python, which would flush it, is not there at the end."""
    code = (
        "import dataclasses, sys, types\nfrom speechssl import cli\n"
        "sys.modules['talk'] = types.SimpleNamespace(run=lambda config: print('a line\\n' * 10_000))\n"
        f"verb = dataclasses.replace(cli.VERBS['verify'], module='talk', ends_at_once={ends_at_once})\n"
        "cli.VERBS['verify'] = verb\ncli.command()"
    )
    done = subprocess.run([sys.executable, "-c", code, "verify", "shards"], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("a line\n") == 10_000


@pytest.mark.parametrize("closed", ["1>&-", "2>&-"])
def test_closed_streams_change_no_status(closed):
    for arguments, status in (("transcribe --no_such_option 1", 2), ("transcribe --help", 0)):
        command = f"{sys.executable} -m speechssl {arguments} {closed}"
        assert subprocess.run(command, shell=True, capture_output=True, timeout=60).returncode == status


def test_the_overview_lists_every_verb_with_its_purpose(capsys):
    assert cli.main(["--help"]) == 0
    out = capsys.readouterr().out
    for name in ("shard", "pretrain", "finetune", "evaluate", "transcribe", "report"):
        assert name in out
    assert "Pretrain an encoder on untranscribed audio." in out
    assert cli.main([]) == 2


def test_a_mistake_is_told_in_one_line_without_traceback_or_torch():
    argv = [sys.executable, "-X", "importtime", "-m", "speechssl", "pretrain", "--training.max_udates", "100"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
    imports = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    assert imports
    assert not any(line.split("|")[-1].strip() == "torch" for line in imports)
    assert done.returncode == 2
    assert done.stdout == ""
    assert [line for line in done.stderr.splitlines() if line not in imports] == [
        "speechssl: error: command line: unknown key --training.max_udates (value '100'); "
        "the nearest valid key is --training.max_updates"
    ]


def test_an_unknown_verb_is_told_the_nearest(capsys):
    assert cli.main(["fintune"]) == 2
    assert capsys.readouterr().err.startswith("speechssl: error: unknown verb 'fintune'; the nearest is finetune")


def test_print_config_shows_the_resolved_configuration_and_reads_back(capsys, tmp_path):
    assert cli.main(["pretrain", "--training.max_updates", "7", "--print_config"]) == 0
    printed = capsys.readouterr().out
    (tmp_path / "config.yaml").write_text(printed)
    assert cli.main(["pretrain", "--config", str(tmp_path / "config.yaml"), "--print_config"]) == 0
    assert capsys.readouterr().out == printed
    assert "max_updates: 7" in printed


def test_print_config_of_a_verb_with_required_keys_gives_a_form_to_fill_in(capsys):
    assert cli.main(["evaluate", "exp/run", "--print_config"]) == 0
    out = capsys.readouterr().out
    assert "checkpoint: exp/run" in out
    assert "output: null" in out
    assert cli.main(["evaluate", "--acelerator", "cpu", "--print_config"]) == 2


def test_each_verb_runs_with_its_configuration(verb):
    seen = []
    for name in ("pretrain", "shard", "evaluate", "transcribe"):
        verb(name, seen.append)
    assert cli.main(["pretrain", "--training.max_updates", "100", "--output", "out"]) == 0
    assert cli.main(["shard", "list.tsv", "shards", "--format", "wav"]) == 0
    assert cli.main(["evaluate", "run", "--data.shards", "a", "b", "--output", "out"]) == 0
    assert cli.main(["transcribe", "run", "a.wav", "b.wav"]) == 0
    assert seen == [
        from_dict(PretrainConfig, {"training": {"max_updates": 100}, "output": "out"}),
        from_dict(ShardConfig, {"sources": ["list.tsv"], "output": "shards", "format": "wav"}),
        from_dict(EvaluateConfig, {"checkpoint": "run", "data": {"shards": ["a", "b"]}, "output": "out"}),
        from_dict(TranscribeConfig, {"checkpoint": "run", "audio": ["a.wav", "b.wav"]}),
    ]


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (DataError("list.tsv, line 3: no such file"), 2, "speechssl: error: list.tsv, line 3: no such file\n"),
        (HealthError("at chance: 0.01"), 3, "speechssl: error: at chance: 0.01\n"),
        (
            OSError(errno.ENOSPC, "No space left on device", "exp/log.jsonl"),
            2,
            "speechssl: error: exp/log.jsonl: the disk is full; free some space and give the same command again\n",
        ),
        (
            OSError(errno.ENAMETOOLONG, "File name too long", "n" * 300),
            2,
            f"speechssl: error: {'n' * 300}: no file can have so long a name\n",
        ),
        (
            MemoryError(),
            2,
            "speechssl: error: memory ran out; give smaller batches (max_batch_seconds), or fewer workers\n",
        ),
        (
            RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 16 bytes.\nat conv.cpp"),
            2,
            "speechssl: error: memory ran out (DefaultCPUAllocator: can't allocate memory: you tried to allocate 16 "
            "bytes.); give smaller batches (max_batch_seconds), or fewer workers\n",
        ),
        (
            torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
            2,
            "speechssl: error: memory ran out (CUDA out of memory. Tried to allocate 2.00 GiB.); give smaller batches "
            "(max_batch_seconds), or fewer workers\n",
        ),
        (
            KeyboardInterrupt(),
            130,
            "\nspeechssl: interrupted; the same command goes on from the last checkpoint, or anew if there is none\n",
        ),
    ],
    ids=["data", "health", "disk", "name", "memory", "memory in words", "GPU", "interrupt"],
)
def test_what_a_user_can_mend_is_told_without_a_traceback(verb, capsys, error, status, message):
    verb("pretrain", raising(error))
    assert cli.main(["pretrain"]) == status
    assert capsys.readouterr().err == message


def test_a_bug_is_not_disguised(verb):
    verb("pretrain", raising(ZeroDivisionError("a bug")))
    with pytest.raises(ZeroDivisionError):
        cli.main(["pretrain"])
    verb("pretrain", raising(RuntimeError("shapes differ")))
    with pytest.raises(RuntimeError):
        cli.main(["pretrain"])
    verb("pretrain", raising(PermissionError(errno.EACCES, "no", "x")))
    with pytest.raises(PermissionError):
        cli.main(["pretrain"])


def test_a_reader_that_leaves_early_gets_no_complaint():
    read_end, write_end = os.pipe()
    os.close(read_end)
    argv = [sys.executable, "-m", "speechssl", "pretrain", "--help"]
    with os.fdopen(write_end, "wb") as closed:
        done = subprocess.run(argv, stdout=closed, stderr=subprocess.PIPE, timeout=60)
    assert done.stderr == b""
