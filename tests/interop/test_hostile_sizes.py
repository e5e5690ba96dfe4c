"""Files that are small and ask for much: copies without end, one storage for many tensors, parts over parts."""

import pickle
import struct
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
import torch
from fairseq_models import archive_of, code_of

from speechssl.config import ContextConfig, ContrastiveConfig, FeatureEncoderConfig, ModelConfig
from speechssl.errors import CheckpointError
from speechssl.interop import pickles
from speechssl.interop.imported import Architecture, check_sizes
from speechssl.interop.torch_files import TorchFile, read_torch_file


@pytest.mark.parametrize(
    ("name", "again"),
    [
        ("a list copied", b"ctorch\nSize\nh\x00\x85R"),
        ("attributes copied", b"h\x02h\x01b"),
    ],
)
def test_what_is_copied_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, again: bytes) -> None:
    monkeypatch.setattr(pickles, "MAX_COPIED", 5_000)
    items = b"".join(b"X\x03\x00\x00\x00" + b"%03d" % i + b"K\x01" for i in range(100))
    start = b"\x80\x02](" + b"K\x01" * 100 + b"eq\x00}(" + items + b"uq\x01cargparse\nNamespace\n)Rq\x020"
    code = start + again * 100 + b"."
    with pytest.raises(CheckpointError, match="more than 5000 items copied"):
        read_torch_file(archive_of(tmp_path / "a.pt", code))


def test_long_keys_and_names_are_refused(tmp_path: Path) -> None:
    long = b"X" + struct.pack("<I", 2_000) + b"a" * 2_000
    nested = b"".join(b"h%ch%c\x86q%c" % (i, i, i + 1) for i in range(60))  # of which the hash takes 2**60 steps
    for code, message in (
        (b"\x80\x02}K\x01\x85q\x00" + nested + b"K\x01s.", "type tuple as the key of a dictionary"),
        (b"\x80\x02}(" + b"K\x01" * 20 + b"tK\x01s.", "a dictionary"),
        (b"\x80\x04" + long + long + b"\x93.", "a name of 2000 characters"),
    ):
        with pytest.raises(CheckpointError, match=message):
            read_torch_file(archive_of(tmp_path / "a.pt", code))


def test_a_large_number_in_the_memo_takes_no_memory(tmp_path: Path) -> None:
    path = archive_of(tmp_path / "a.pt", b"\x80\x02}r\xff\xff\xff\xff.")
    tracemalloc.start()
    assert read_torch_file(path).content == {}
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**20


def test_tensors_of_one_storage_share_it(tmp_path: Path) -> None:
    table = torch.arange(12.0)
    torch.save({"model": {"a": table[:6].view(2, 3), "b": table[4:]}}, tmp_path / "a.pt")
    file = read_torch_file(tmp_path / "a.pt")
    found = file.tensors(file.content["model"])
    assert found["a"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert found["b"].tolist() == list(range(4, 12))
    assert found["a"].untyped_storage().data_ptr() == found["b"].untyped_storage().data_ptr()


def test_parts_that_lie_over_each_other_are_refused(tmp_path: Path) -> None:
    path = archive_of(tmp_path / "a.pt", pickle.dumps({}, protocol=2), s=bytes(1_000))
    whole = path.read_bytes()
    start = whole.index(b"PK\x01\x02", whole.index(b"PK\x01\x02") + 4)
    end = whole.index(b"PK\x05\x06")
    entry = whole[start:end]
    more = b"".join(entry.replace(b"data/s", b"data/%c" % letter) for letter in b"tuvwxyz")
    tail = bytearray(whole[end:])
    tail[8:12] = struct.pack("<HH", 9, 9)
    tail[12:16] = struct.pack("<I", struct.unpack("<I", tail[12:16])[0] + len(more))
    path.write_bytes(whole[:end] + more + tail)
    with pytest.raises(CheckpointError, match="parts in it that lie one over the other"):
        read_torch_file(path)


@pytest.mark.parametrize(("shape", "stride"), [((1,), (2**70,)), ((0, 2**70), (1, 1)), ((2**64, 0), (0, 0))])
def test_sizes_beyond_any_memory_are_refused(tmp_path: Path, shape: Any, stride: Any) -> None:
    with pytest.raises(CheckpointError, match="of a size that no memory has"):
        read(read_torch_file(archive_of(tmp_path / "a.pt", code_of(shape=shape, stride=stride), s=bytes(16))))


def read(file: TorchFile) -> Any:
    return file.tensors(file.content)


RELATIVE = {"relative_bias": True}


@pytest.mark.parametrize(
    ("context", "features", "rate", "message"),
    [
        ({"num_heads": 5}, {}, 16000, r"dim is 768, expected a multiple of num_heads \(5\)"),
        ({"num_heads": 0}, {}, 16000, "num_heads is 0, expected 1 or more"),
        ({"pos_conv_groups": 7}, {}, 16000, r"dim is 768, expected a multiple of pos_conv_groups \(7\)"),
        ({"num_layers": 10**9}, {}, 16000, r"num_layers is 1e\+09, expected at most 1,000"),
        ({"ffn_dim": 10**15}, {}, 16000, r"ffn_dim is 1e\+15, expected at most 1,000,000"),
        ({"squeeze": 10**9}, {}, 16000, r"squeeze is 1e\+09, expected at most 1,000,000"),
        (RELATIVE | {"num_buckets": 30}, {}, 16000, "num_buckets is 30, expected a multiple of 4"),
        (RELATIVE | {"max_distance": 80}, {}, 16000, "max_distance is 80 frames, expected more than a quarter"),
        ({}, {"conv_layers": []}, 16000, "conv_layers is empty"),
        ({}, {"conv_layers": [(8, 10, 0)]}, 16000, "conv_layers holds 0, expected 1 or more"),
        ({}, {"conv_layers": [(8, 20000, 5)]}, 16000, "a frame hears 20000 samples"),
        ({}, {}, 1, "sample_rate is 1, expected 1,000 to 400,000"),
    ],
)
def test_sizes_that_no_encoder_has_are_told(context: Any, features: Any, rate: int, message: str) -> None:
    model = ModelConfig(rate, feature_encoder=FeatureEncoderConfig(**features), context=ContextConfig(**context))
    with pytest.raises(CheckpointError, match=f"here: no encoder has these sizes: .*{message}"):
        check_sizes(model, None, source="here")


def test_shapes_are_those_of_the_model() -> None:
    context = ContextConfig(num_layers=2, dim=32, ffn_dim=32, num_heads=2, pos_conv_groups=2, relative_bias=True)
    features = FeatureEncoderConfig(conv_layers=[(8, 10, 5), (8, 8, 8)], norm="layer")
    architecture = Architecture("pretrain", "wavlm", ModelConfig(feature_encoder=features, context=context))
    architecture.objective = ContrastiveConfig()
    expected = {name: value.shape for name, value in architecture.build().state_dict().items()}
    assert architecture.shapes("here") == expected
