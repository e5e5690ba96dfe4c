"""``speechssl embed``: what it writes is what the encoder gives, however often it is interrupted."""

import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from conftest import write_corpus

import speechssl
from speechssl import cli
from speechssl.config import EmbedConfig, ShardConfig
from speechssl.data.corpus import Corpus, read_corpus
from speechssl.data.samples import read_sample_audio
from speechssl.embedder import Embedder
from speechssl.embedding import formats, writing
from speechssl.embedding.parts import LIST_FILE, UNFINISHED
from speechssl.embedding.sources import keys_of
from speechssl.errors import ConfigError, DataError, InstallationError
from speechssl.verbs import embed
from speechssl.verbs import shard as ingest

RATE = 16000
LAYERS = ["block_1", "context"]
FORMATS = ("npz", "parquet", "webdataset")


@pytest.fixture(scope="module")
def encoder(pretrained: Path) -> Embedder:
    return speechssl.load_encoder(pretrained, "cpu")


@pytest.fixture
def corpus(shards: Path) -> Corpus:
    return read_corpus([str(shards)], with_texts=True)


@pytest.fixture
def config(pretrained: Path, shards: Path, tmp_path: Path) -> EmbedConfig:
    """Two layers of 24 utterances in several parts."""
    return EmbedConfig(
        pretrained,
        tmp_path / "out",
        [str(shards)],
        layers=LAYERS,
        max_part_hours=4 / 3600,
        max_batch_seconds=4,
        accelerator="cpu",
    )


def read_back(folder: Path) -> Iterator[dict[str, Any]]:
    """Every recording of the parts, in order: what is known of it, and its layers."""
    for path in sorted(folder.glob("part-*")):
        read = {".npz": from_npz, ".parquet": from_parquet, ".tar": from_tar}[path.suffix]
        yield from read(path)


def from_npz(path: Path) -> Iterator[dict[str, Any]]:
    with np.load(path) as part:
        fields = {"text": "texts", "speaker": "speakers", "language": "languages", "path": "paths"}
        for i, key in enumerate(part["keys"]):
            item = {"key": key, "seconds": part["seconds"][i], **{one: part[many][i] for one, many in fields.items()}}
            rows = slice(part["bounds"][i], part["bounds"][i + 1]) if "bounds" in part else i
            layers = {name: part[name][rows] for name in (*LAYERS, "mix") if name in part}
            yield {**item, **layers, "times": part["times"][rows] if "times" in part else None}


def from_parquet(path: Path) -> Iterator[dict[str, Any]]:
    parquet = pytest.importorskip("pyarrow.parquet")
    for row in parquet.read_table(path).to_pylist():
        arrays = {name: np.array(row[name]) for name in ("times", *LAYERS, "mix") if name in row}
        yield {"times": None, **{name: value or "" for name, value in row.items() if name not in arrays}, **arrays}


def from_tar(path: Path) -> Iterator[dict[str, Any]]:
    import webdataset

    for sample in webdataset.WebDataset(str(path), shardshuffle=False).decode():
        arrays = {name.removesuffix(".npy"): value for name, value in sample.items() if name.endswith(".npy")}
        unknown = {"text": "", "speaker": "", "language": "", "path": "", "times": None}
        yield {"key": sample["__key__"], **unknown, **sample["json"], **arrays}


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(params=FORMATS)
def form(request: pytest.FixtureRequest) -> str:
    if request.param == "parquet":
        pytest.importorskip("pyarrow", reason="needs the pyarrow package (speechssl[parquet])")
    return request.param


@pytest.mark.parametrize("pooling", ["none", "mean_std"])
def test_features_are_those_of_each_recording_alone(
    form: Any, pooling: Any, config: EmbedConfig, corpus: Corpus, encoder: Embedder
) -> None:
    content = embed.run(replace(config, format=form, pooling=pooling))
    found = list(read_back(config.output))
    assert len(found) == content["num_recordings"] == 24
    assert len(content["parts"]) > 2
    for item, ref in zip(found, map(corpus.__getitem__, range(24)), strict=True):
        known = (item["key"], item["text"], item["speaker"], item["language"], item["path"])
        assert known == (ref.key, ref.text, ref.speaker, ref.language, "")
        assert item["seconds"] == ref.num_samples / RATE
        alone = encoder.embed(read_sample_audio(ref, RATE), RATE, layers=LAYERS, pooling=pooling)
        assert pooling != "none" or item["times"].tolist() == alone.times.tolist()
        for name in LAYERS:
            np.testing.assert_allclose(item[name], alone[name].numpy(), rtol=1e-4, atol=1e-5)
    assert content["num_frames"] == sum(len(encoder.embed(np.zeros(n), RATE).times) for n in corpus.num_samples)
    assert content["seconds"] == pytest.approx(corpus.seconds)


def test_files_of_any_format_and_length(pretrained: Path, encoder: Embedder, tmp_path: Path) -> None:
    draws = np.random.default_rng(0)
    for name, seconds, rate, channels in (
        ("a.wav", 70, RATE, 1),
        ("deep/b.flac", 2, 22050, 2),
        ("deep/a.wav", 1, 8000, 1),
    ):
        path = tmp_path / "audio" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, draws.normal(0, 0.1, (seconds * rate, channels)), rate)
    audio = [tmp_path / "audio"]
    config = EmbedConfig(pretrained, tmp_path / "out", audio=audio, layers=["all"], mix=True, mix_weights=[1, 0, 3])
    content = embed.run(config)
    found = list(read_back(tmp_path / "out"))
    assert content["names"] == ["mix"]
    assert [item["key"] for item in found] == ["a", "deep_a", "deep_b"]
    assert [Path(item["path"]).name for item in found] == ["a.wav", "a.wav", "b.flac"]
    for item in found:
        alone = encoder.embed(item["path"])
        expected = (alone["block_1"] + 3 * alone["context"]) / 4
        np.testing.assert_allclose(item["mix"], expected.numpy(), rtol=1e-4, atol=1e-5)
        assert item["times"].tolist() == alone.times.tolist()


def interrupt(monkeypatch: pytest.MonkeyPatch, num_parts: int, error: BaseException, *, written: bool = False) -> None:
    """Let writing fail at a part, before it is there or after."""
    write_part, calls = writing.write_part, []

    def write(*arguments: Any) -> Any:
        calls.append(1)
        if len(calls) > num_parts:
            if written:
                write_part(*arguments)
            raise error
        return write_part(*arguments)

    monkeypatch.setattr(writing, "write_part", write)


def test_an_interrupted_run_goes_on_to_the_same_bytes(
    form: Any, config: EmbedConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(config, format=form)
    whole = replace(config, output=tmp_path / "whole")
    embed.run(whole)
    for stop, written in ((2, False), (0, True), (1, True)):
        with monkeypatch.context() as patch:
            interrupt(patch, stop, KeyboardInterrupt(), written=written)
            with pytest.raises(KeyboardInterrupt):
                embed.run(config)
        assert not (config.output / LIST_FILE).exists()
        assert (config.output / UNFINISHED).is_dir()
        there = sorted(config.output.glob("part-*"))
        assert len(there) >= 2
    (config.output / ".partial_part-000004.npz").write_bytes(b"half")
    first = there[0].stat()
    embed.run(config)
    assert files_of(config.output) == files_of(whole.output)
    assert there[0].stat().st_mtime_ns == first.st_mtime_ns, "what was whole is not written again"
    assert not (config.output / UNFINISHED).exists()


def test_a_part_that_is_cut_off_is_not_there(config: EmbedConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    def fill_the_disk(path: Path, *_: Any) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(embed, "writer_of", lambda _: fill_the_disk)
    with pytest.raises(OSError, match="No space left"):
        embed.run(config)
    assert [path.name for path in config.output.rglob("*part-*")] == []
    monkeypatch.undo()
    assert embed.run(config)["num_recordings"] == 24


def test_what_is_finished_is_left_alone(
    config: EmbedConfig, encoder: Embedder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    content = embed.run(config)
    before = {path: path.stat().st_mtime_ns for path in config.output.rglob("*")}
    monkeypatch.setattr(Embedder, "hear", None)
    assert embed.run(config) == content
    assert embed.run(replace(config, max_batch_seconds=9)) == content
    assert "nothing was repeated" in capsys.readouterr().out
    assert before == {path: path.stat().st_mtime_ns for path in config.output.rglob("*")}


def test_features_of_something_else_are_not_replaced(
    config: EmbedConfig, finetuned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = write_corpus(tmp_path / "audio", [9000] * 3)
    ingest.run(ShardConfig(sources=[str(manifest)], output=tmp_path / "shards"))
    changes: dict[str, dict[str, Any]] = {
        "layers": {"layers": ["block_1"]},
        "pooling": {"pooling": "mean"},
        "weights": {"checkpoint": finetuned},
        "audio": {"shards": [str(tmp_path / "shards")]},
        "mix weights": {"mix": True},
        "format": {"format": "webdataset"},
        "dtype": {"dtype": "float16"},
    }
    interrupt(monkeypatch, 1, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        embed.run(config)
    monkeypatch.undo()
    for _ in range(2):  # unfinished, then finished
        before = files_of(config.output)
        for name, change in changes.items():
            with pytest.raises(ConfigError, match=f"which holds features of other {name}; choose another folder"):
                embed.run(replace(config, **change))
        assert files_of(config.output) == before
        embed.run(config)
    (config.output / "part-000001.npz").write_bytes(b"cut off")
    with pytest.raises(ConfigError, match=r"part-000001\.npz is missing or of another size"):
        embed.run(config)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "part-000000.npz").write_bytes(b"mine")
    with pytest.raises(ConfigError, match=r"part-000000\.npz is something that this command did not write"):
        embed.run(replace(config, output=tmp_path / "other"))


def test_one_command_at_a_time(config: EmbedConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    def write(*arguments: Any) -> None:
        monkeypatch.undo()
        with pytest.raises(ConfigError, match="another process is writing features into this folder"):
            embed.run(config)
        raise KeyboardInterrupt

    monkeypatch.setattr(embed, "write_parts", write)
    with pytest.raises(KeyboardInterrupt):
        embed.run(config)


def test_files_that_cannot_be_read_are_named_when_all_others_are_done(
    pretrained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    audio = tmp_path / "audio"
    write_corpus(audio, [9000, 11000, 9500])
    (audio / "list.tsv").unlink()
    (audio / "u000b.wav").write_text("no audio")
    soundfile.write(audio / "u001b.wav", np.zeros(100), RATE)
    soundfile.write(audio / "u001c.wav", np.full(9000, np.nan), RATE, subtype="FLOAT")
    (audio / "u001d.wav").write_bytes(b"")
    config = EmbedConfig(pretrained, tmp_path / "out", audio=[audio], max_part_hours=0.6 / 3600, accelerator="cpu")
    for _ in range(2):  # the second finds all done, and says the same
        with pytest.raises(DataError, match="4 of 7 recordings were not embedded") as caught:
            embed.run(config)
        lines = str(caught.value).splitlines()[1:]
        assert [name for line in lines for name in ("u000b", "u001b", "u001c", "u001d") if name in line] == [
            "u000b", "u001b", "u001c", "u001d"
        ]  # fmt: skip
        assert [item["key"] for item in read_back(tmp_path / "out")] == ["u000", "u001", "u002"]
    content = json.loads((tmp_path / "out" / LIST_FILE).read_text())
    assert sorted(content["unread"]) == ["u000b", "u001b", "u001c", "u001d"]
    assert "nothing was repeated" in capsys.readouterr().out


def test_nothing_can_be_read(pretrained: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.wav").write_text("no audio")
    with pytest.raises(DataError, match="1 of 1 recordings were not embedded"):
        embed.run(EmbedConfig(pretrained, tmp_path / "out", audio=[tmp_path / "bad.wav"], accelerator="cpu"))
    assert list((tmp_path / "out").glob("part-*")) == []


def test_damaged_and_short_samples_of_shards_are_named(
    pretrained: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    manifest = write_corpus(tmp_path / "audio", [9000, 200, 11000, 9500])
    ingest.run(ShardConfig(sources=[str(manifest)], output=tmp_path / "shards"))
    corpus = read_corpus([str(tmp_path / "shards")])
    [shard] = (tmp_path / "shards").glob("*.tar")
    with shard.open("r+b") as file:
        file.seek(corpus[2].offset + corpus[2].audio_start + 5000)
        file.write(b"damaged")
    config = EmbedConfig(pretrained, tmp_path / "out", [str(tmp_path / "shards")], accelerator="cpu")
    with pytest.raises(DataError, match=r"1 of 3 recordings were not embedded:\n.*shard-000000\.tar: u002: "):
        embed.run(config)
    assert [item["key"] for item in read_back(tmp_path / "out")] == ["u000", "u003"]
    assert "left out, shorter than a frame: 1 (u001)" in caplog.text


def test_numbers_that_the_type_cannot_hold(config: EmbedConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    config = replace(config, dtype="float16", layers=["block_1"])
    embed.run(config)
    assert next(read_back(config.output))["block_1"].dtype == np.float16
    monkeypatch.setattr(embed, "load_encoder", lambda *_: scaled(config.checkpoint))
    with pytest.raises(DataError, match="u000: block_1 has values that float16 cannot hold; give --dtype float32"):
        embed.run(replace(config, output=config.output.parent / "loud"))


def scaled(checkpoint: Path) -> Embedder:
    """An encoder whose first block gives large numbers."""
    found = speechssl.load_encoder(checkpoint, "cpu")
    with torch.no_grad():
        for parameter in found.encoder.context.blocks[0].ffn_norm.parameters():
            parameter.fill_(1e5)
    return found


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shards": []}, "shards and audio are both empty"),
        ({"audio": [Path("a.wav")]}, "shards and audio are both given"),
        ({"layers": []}, "layers is empty"),
        ({"layers": ["block_3"]}, "layers: block_3; expected some of block_1, block_2, context"),
        ({"mix_weights": [1.0, 2.0]}, "mix_weights is given without --mix true"),
        ({"mix": True, "mix_weights": [1.0]}, "mix_weights has 1 numbers for 2 layers"),
        ({"mix": True, "layers": ["all"], "mix_weights": [1.0]}, "mix_weights has 1 numbers for 3 layers"),
        ({"mix": True, "mix_weights": [0.0, 0.0]}, "mix_weights has no number above 0"),
        ({"shards": [], "audio": [Path("gone.wav")]}, r"audio: no such file or folder: gone\.wav"),
    ],
)
def test_mistakes_are_told_before_any_work(
    change: dict[str, Any], message: str, config: EmbedConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(config.output.parent)
    with pytest.raises(ConfigError, match=message):
        embed.run(replace(config, **change))
    assert not config.output.exists()


def test_shards_of_another_rate_are_refused(config: EmbedConfig, tmp_path: Path) -> None:
    manifest = write_corpus(tmp_path / "audio", [9000] * 2)
    ingest.run(ShardConfig(sources=[str(manifest)], output=tmp_path / "shards", sample_rate=8000))
    with pytest.raises(ConfigError, match=r"8000 Hz audio, the encoder hears 16000 Hz; make the shards again"):
        embed.run(replace(config, shards=[str(tmp_path / "shards")]))


def test_parquet_says_what_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(InstallationError, match=r"format is parquet, which takes the package pyarrow: .*\[parquet\]"):
        formats.writer_of("parquet")


def test_keys_of_files() -> None:
    paths = [Path("/a/b/one.wav"), Path("/a/b/one.flac"), Path("/a/c/o ne.1.wav"), Path("/a/b/one_1.wav")]
    keys = keys_of(paths)
    assert keys == ["b_one_2", "b_one_3", "c_o_ne_1", "b_one_1"]
    assert keys_of([Path("x.wav")]) == ["x"]
    assert len(set(keys_of([Path(f"/a/日{i}.wav") for i in range(3)] + [Path("/a/日1.wav")]))) == 4


def test_the_command_line(pretrained: Path, shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    argv = ["embed", str(pretrained), str(out), "--shards", str(shards), "--layers", "all", "--pooling", "mean"]
    assert cli.main([*argv, "--accelerator", "cpu"]) == 0
    assert "block_1, block_2, context of 24 recordings (0.4 min, " in capsys.readouterr().out
    with np.load(out / "part-000000.npz") as part:
        assert part["block_2"].shape == (24, 16)
        assert part["block_2"].dtype == np.float32
        assert part["keys"][0] == "u000"
