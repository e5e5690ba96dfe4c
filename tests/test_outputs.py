"""Outputs are tried before any work, and nothing that a verb did not make is replaced."""

import errno
import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from speechssl import cli, files, outputs
from speechssl.errors import ConfigError
from speechssl.outputs import (
    check_output_file,
    check_output_folder,
    has_json,
    has_json_lines,
    whole_file,
)
from speechssl.training.run_folder import check_run_folder
from speechssl.transcripts.writing import check_lines

READ_ONLY = OSError(errno.EROFS, os.strerror(errno.EROFS))


def never(path: Path) -> bool:
    return False


def paths_below(folder: Path) -> set[Path]:
    return set(folder.rglob("*"))


@pytest.fixture
def read_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Folders that nothing can be written to, whoever asks."""

    def refuse(*args: Any, **options: Any) -> Any:
        raise READ_ONLY

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    monkeypatch.setattr(Path, "open", refuse)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("file", "output is PLACE/file, a file; expected a folder"),
        ("file/run", "output is PLACE/file/run, but PLACE/file is no folder"),
        ("file/a/run", "output is PLACE/file/a/run, but PLACE/file is no folder"),
        ("gone", "output is PLACE/gone, a link to what is not there; expected a folder"),
        ("n" * 300, "which cannot be written (File name too long)"),
        ("new/" + "n" * 300, "which cannot be written (File name too long)"),
        ("a\0b", "which cannot be written ("),
    ],
    ids=range(7),
)
def test_a_folder_that_cannot_be_is_told_why(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")
    before = paths_below(tmp_path)
    with pytest.raises(ConfigError) as caught:
        check_output_folder(tmp_path / name)
    assert message.replace("PLACE", str(tmp_path)) in str(caught.value)
    assert paths_below(tmp_path) == before


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("folder", "output is PLACE/folder, a folder; expected the name of a file"),
        ("file/out.txt", "output is PLACE/file/out.txt, but PLACE/file is no folder"),
        ("file", "output is PLACE/file, which is there already and holds no plan; choose another name, or delete it"),
        ("n" * 255, "which cannot be written (File name too long)"),
    ],
    ids=range(4),
)
def test_a_file_that_cannot_be_is_told_why(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder").mkdir()
    before = paths_below(tmp_path)
    with pytest.raises(ConfigError) as caught:
        check_output_file(tmp_path / name, never, what="plan")
    assert message.replace("PLACE", str(tmp_path)) in str(caught.value)
    assert paths_below(tmp_path) == before
    assert (tmp_path / "file").read_text() == "mine"


def test_a_try_leaves_nothing_behind(tmp_path: Path) -> None:
    check_output_folder(tmp_path / "a" / "b")
    check_output_file(tmp_path / "c" / "d.json", never, what="plan")
    assert paths_below(tmp_path) == set()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".partial_out.txt").write_text("of a run that was killed")
    check_output_folder(tmp_path / "run")
    check_output_file(tmp_path / "run" / "out.txt", never, what="plan")
    assert (tmp_path / "run" / ".partial_out.txt").read_text() == "of a run that was killed"


@pytest.mark.usefixtures("read_only")
def test_a_place_without_permission_is_told(tmp_path: Path) -> None:
    for check in (
        lambda: check_output_folder(tmp_path / "new"),
        lambda: check_output_folder(tmp_path),
        lambda: check_output_file(tmp_path / "new" / "a", never, what="plan"),
    ):
        with pytest.raises(ConfigError, match=r"which cannot be written \(Read-only file system\)"):
            check()
    assert paths_below(tmp_path) == set()


def test_a_protected_file_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "plan.json"
    path.write_text("{}")
    monkeypatch.setattr(os, "access", lambda place, mode: mode != os.W_OK)  # this test may run as root
    with pytest.raises(ConfigError, match="protected against writing"):
        check_output_file(path, lambda path: True, what="plan")


def test_an_empty_file_may_be_filled(tmp_path: Path) -> None:
    """As `mktemp` leaves it."""
    (tmp_path / "out").write_text("")
    check_output_file(tmp_path / "out", never, what="plan")


def test_inputs_are_known_under_any_name(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_text("audio")
    (tmp_path / "link").symlink_to(path)
    os.link(path, tmp_path / "hard")
    (tmp_path / "sub").mkdir()
    for name in ("a.wav", "link", "hard", "sub/../a.wav"):
        with pytest.raises(ConfigError, match=r"which is one of the recordings; choose another name$"):
            check_output_file(
                tmp_path / name,
                lambda path: True,
                what="plan",
                inputs=[tmp_path / "gone", path],
                called="the recordings",
            )


def test_what_is_ours_is_known_by_its_content(tmp_path: Path) -> None:
    path = tmp_path / "x"
    is_plan, is_log = has_json("geometries"), has_json_lines("kind", "update")

    def ours(content: bytes, recognise: Callable[[Path], bool]) -> bool:
        path.write_bytes(content)
        return outputs._is_replaceable(path, recognise)

    for content in (b'{"geometries": []}', b'[{"geometries": 1}, {"geometries": 2}]', b"[]", b""):
        assert ours(content, is_plan)
    for content in (b'{"geometry": 1}', b"[3]", b"3", b"text", b"\xff\xfe", b"[" * 100_000, b'[{"geometries": 1}, {}]'):
        assert not ours(content, is_plan)
    for content in (b'{"kind": 1, "update": 2}\n', b'{"kind": 1, "update": 2}\n{"kind": 1, "up'):
        assert ours(content, is_log)
    for content in (b"a line\n", b'{"kind": 1}\n', b'{"kind": 1, "update": 2}\ntext\n', b"text"):
        assert not ours(content, is_log)


def test_a_file_has_its_name_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "out.txt"
    with pytest.raises(ZeroDivisionError), whole_file(path) as file:
        print("half", 1 / 0, file=file)
    assert not path.exists()
    with whole_file(path) as file:
        file.write("all")
        assert not path.exists()
    assert path.read_text() == "all"
    assert list(path.parent.iterdir()) == [path]
    (tmp_path / "link").symlink_to(path)
    with whole_file(tmp_path / "link") as file:
        file.write("through the link")
        assert files.partial_of(path).exists(), "where it can be renamed"
    assert (path.read_text(), (tmp_path / "link").is_symlink()) == ("through the link", True)


def test_devices_and_pipes_are_written_to_and_never_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    check_output_file(tmp_path / "pipe", never, what="plan")
    with whole_file(tmp_path / "pipe") as file:
        file.write("é")
    assert os.read(reader, 10) == "é".encode()
    os.close(reader)
    assert paths_below(tmp_path) == {tmp_path / "pipe"}
    check_output_file(Path(os.devnull), never, what="plan")
    with whole_file(Path(os.devnull)) as file:
        file.write("gone")
    assert Path(os.devnull).is_char_device()


# Verbs, each with an output that cannot be; none may have begun its work.
IMPOSSIBLE = {
    "pretrain": ["pretrain", "--data.shards", "SHARDS", "--output", "OUT"],
    "finetune": ["finetune", "--train.shards", "SHARDS", "--dev.shards", "SHARDS", "--output", "OUT"],
    "evaluate": ["evaluate", "RUN", "--data.shards", "SHARDS", "--output", "OUT"],
    "score": ["score", "RUN", "--output", "OUT"],
    "transcribe": ["transcribe", "RUN", "AUDIO", "--output", "OUT/out.txt"],
    "align": ["align", "RUN", "AUDIO", "OUT"],
    "calibrate": ["calibrate", "RUN", "--data.shards", "SHARDS", "--output", "OUT"],
    "plan": ["plan", "published/pretrain_base", "SHARDS", "--output", "OUT/plan.json"],
    "import": ["import", "torchaudio:WAV2VEC2_BASE", "OUT/model"],
    "export": ["export", "RUN", "OUT/model"],
    "verify": ["verify", "SHARDS", "--report", "OUT/findings.json"],
}
WORK = [
    ("speechssl.verbs.pretrain", "load_corpus"),
    ("speechssl.verbs.finetune", "read_sets"),
    ("speechssl.verbs.evaluate", "load_recogniser"),
    ("speechssl.verbs.score", "gather"),
    ("speechssl.verbs.transcribe", "load_recogniser"),
    ("speechssl.verbs.align", "load_recogniser"),
    ("speechssl.verbs.calibrate", "load_recogniser"),
    ("speechssl.verbs.plan", "load_corpus"),
    ("speechssl.verbs.import_", "read_model"),
    ("speechssl.verbs.export", "load_checkpoint"),
    ("speechssl.verbs.verify", "check_in_processes"),
]


@pytest.fixture
def no_work(monkeypatch: pytest.MonkeyPatch) -> None:
    def work(*args: Any, **options: Any) -> None:
        raise AssertionError("work has begun")

    for module, name in WORK:
        monkeypatch.setattr(f"{module}.{name}", work)


@pytest.mark.usefixtures("no_work")
@pytest.mark.parametrize("verb", IMPOSSIBLE)
def test_every_verb_tries_its_output_before_any_work(
    verb: str, shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "a file"
    out.write_text("mine")
    soundfile.write(tmp_path / "a.wav", np.zeros(8000), 16000)
    places = {"SHARDS": str(shards), "RUN": str(tmp_path), "AUDIO": str(tmp_path / "a.wav")}
    argv = [places.get(word, word).replace("OUT", str(out)) for word in IMPOSSIBLE[verb]]
    assert cli.main(argv) == 2
    told = capsys.readouterr().err
    assert len(told.splitlines()) == 1
    assert str(out) in told
    assert out.read_text() == "mine"
    possible = [word.replace(str(out), str(tmp_path / "new")) for word in argv]
    with pytest.raises(AssertionError, match="work has begun"):
        cli.main(possible)
    assert not (tmp_path / "new").exists()


def test_indexes_are_not_made_for_a_place_that_takes_none(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*args: Any, **options: Any) -> Any:
        raise READ_ONLY

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    assert cli.main(["verify", "--write_index", str(shards)]) == 2
    assert capsys.readouterr().err == (
        f"speechssl: error: write_index: the folder of the shards is {shards}, which cannot be written "
        "(Read-only file system)\n"
    )


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("log.jsonl", "a log of mine\n"),
        ("summary.json", '{"mine": 1}'),
        ("best.json", "[1, 2]"),
        ("checkpoints", "a file of mine"),
        ("tensorboard", "a file of mine"),
    ],
)
def test_a_run_replaces_no_file_of_others(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / "notes.txt").write_text("mine too")
    check_run_folder(tmp_path)
    (tmp_path / name).write_text(content)
    before = paths_below(tmp_path)
    with pytest.raises(ConfigError, match=name):
        check_run_folder(tmp_path)
    assert paths_below(tmp_path) == before
    assert (tmp_path / name).read_text() == content


def test_a_run_goes_on_in_its_folder(finetuned: Path, pretrained: Path) -> None:
    for run in (finetuned, pretrained):
        before = paths_below(run)
        check_run_folder(run)
        assert paths_below(run) == before


@pytest.mark.usefixtures("no_work")
@pytest.mark.parametrize("name", ["metrics.json", "hypotheses.jsonl"])
def test_an_evaluation_replaces_no_file_of_others(
    name: str, shards: Path, finetuned: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / name).write_text('{"mine": 1}\n')
    assert cli.main(["evaluate", str(finetuned), "--data.shards", str(shards), "--output", str(tmp_path)]) == 2
    assert f"output is {tmp_path}, where {name} is something that this command did not" in capsys.readouterr().err
    assert (tmp_path / name).read_text() == '{"mine": 1}\n'


@pytest.fixture
def recordings(tmp_path: Path) -> Path:
    folder = tmp_path / "recordings"
    folder.mkdir()
    tone = 0.1 * np.sin(np.arange(8000) * 0.1)
    for name in ("a.wav", "b.wav", "c.wav"):
        soundfile.write(folder / name, tone, 16000)
    return folder


def test_a_forgotten_word_does_not_cost_a_recording(
    finetuned: Path, recordings: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """``--output *.wav`` in place of ``--output NAME *.wav``."""
    names = [str(recordings / name) for name in ("a.wav", "b.wav", "c.wav")]
    before = [Path(name).read_bytes() for name in names]
    for argv in (["--audio", *names, "--output", names[0]], [*names, "--output", names[2]]):
        assert cli.main(["transcribe", str(finetuned), *argv]) == 2
        assert "which is one of the recordings" in capsys.readouterr().err
    assert cli.main(["transcribe", str(finetuned), str(recordings), "--output", names[1]]) == 2
    assert "which is one of the recordings" in capsys.readouterr().err
    assert cli.main(["transcribe", str(finetuned), *names[1:], "--output", names[0]]) == 2
    assert "holds no transcripts of these recordings alone" in capsys.readouterr().err
    assert [Path(name).read_bytes() for name in names] == before


def test_an_earlier_result_of_these_recordings_is_replaced(finetuned: Path, recordings: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.txt"
    for argv in (
        [str(recordings / "a.wav")],
        [str(recordings), "--format", "jsonl"],
        [str(recordings)],
        [str(recordings), "--format", "jsonl"],
    ):
        assert cli.main(["transcribe", str(finetuned), *argv, "--output", str(output)]) == 0
    assert [json.loads(line)["path"] for line in output.read_text().splitlines()] == [
        str(recordings / name) for name in ("a.wav", "b.wav", "c.wav")
    ]


@pytest.mark.parametrize(
    "content",
    [
        "path\ttext\nRECORDINGS/a.wav\tONE TWO\n",
        "id1\tONE TWO\n",
        "RECORDINGS/a.wav\tONE\nRECORDINGS/other.wav\tTWO\n",
        "RECORDINGS/a.wav\n",
        '{"path": "RECORDINGS/a.wav"}\n',
        '{"path": 3, "text": "", "seconds": 1, "confidence": 1}\n',
        "notes\n",
        "\n",
    ],
    ids=["a list", "transcripts of a corpus", "of others too", "no transcript", "JSON", "other JSON", "text", "a line"],
)
def test_no_other_text_is_replaced(recordings: Path, tmp_path: Path, content: str) -> None:
    output = tmp_path / "text"
    output.write_text(content.replace("RECORDINGS", str(recordings)))
    with pytest.raises(ConfigError, match="holds no transcripts of these recordings alone"):
        check_lines(output, [recordings / "a.wav", recordings / "b.wav"])


def test_json_goes_to_a_link_or_a_pipe_and_does_not_take_its_place(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    for name in ("pipe", "link"):
        outputs.write_json(tmp_path / name, {"a": 1})
    assert json.loads(os.read(reader, 100)) == json.loads((tmp_path / "file").read_text()) == {"a": 1}
    os.close(reader)
    assert (tmp_path / "pipe").is_fifo()
    assert (tmp_path / "link").is_symlink()


def refuse(*_: object) -> None:
    raise READ_ONLY


def replace_folder(path: Path) -> None:
    with files.written_whole(path, replaces_folder=True) as partial:
        partial.mkdir()
        (partial / "file").write_text("new")


@pytest.fixture
def old(tmp_path: Path) -> Path:
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "file").write_text("old")
    return tmp_path / "made"


def test_a_folder_is_replaced_by_a_whole_one_alone(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", refuse)
        with pytest.raises(OSError, match="Read-only"):
            replace_folder(old)
    assert (old / "file").read_text() == "old"
    replace_folder(old)
    assert (old / "file").read_text() == "new"
    assert list(old.parent.iterdir()) == [old]


def test_a_kill_while_a_folder_is_replaced_loses_nothing(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    process = os.fork()
    if process == 0:
        monkeypatch.setattr(Path, "replace", lambda *_: os._exit(9))
        replace_folder(old)
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 9
    left = {path.name: (path / "file").read_text() for path in old.parent.iterdir()}
    assert left == {".partial_made": "new", ".partial_old_made": "old"}
    replace_folder(old)
    assert list(old.parent.iterdir()) == [old]
