"""Hugging Face's folders, in and out: every tensor, the same numbers, the same transcripts, and nothing else let in."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import soundfile
import torch
from conftest import RATE
from hf_models import CHARACTERS, DATA2VEC, LARGE, change, run_verb, save_model
from torch import Tensor

from speechssl.config import TranscribeConfig
from speechssl.errors import CheckpointError
from speechssl.evaluation.stored import write_evaluation
from speechssl.interop.huggingface import read_huggingface
from speechssl.interop.huggingface_config import read_architecture
from speechssl.interop.huggingface_reference import huggingface_reference
from speechssl.interop.proof import made_voice, prove
from speechssl.recogniser import load_recogniser
from speechssl.training.checkpoints import load_checkpoint
from speechssl.verbs.transcribe import transcribe

AN4 = Path(__file__).resolve().parents[3] / "shared" / "corpora" / "an4" / "audio"
AUTO = {"ForPreTraining": "AutoModelForPreTraining", "ForCTC": "AutoModelForCTC", "Model": "AutoModel"}
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "base": ("Wav2Vec2ForPreTraining", {}),
    "base recogniser": ("Wav2Vec2ForCTC", {}),
    "base encoder": ("Wav2Vec2Model", {}),
    "large": ("Wav2Vec2ForPreTraining", LARGE),
    "large recogniser": ("Wav2Vec2ForCTC", LARGE),
    "HuBERT": ("HubertModel", {}),
    "HuBERT recogniser": ("HubertForCTC", LARGE),
    "WavLM": ("WavLMModel", {"num_buckets": 20, "max_bucket_distance": 30}),
    "WavLM recogniser": ("WavLMForCTC", LARGE),
    "data2vec": ("Data2VecAudioModel", DATA2VEC),
    "data2vec recogniser": ("Data2VecAudioForCTC", DATA2VEC),
}


@pytest.mark.parametrize("name", MODELS)
def test_every_tensor_comes_back_bit_equal(transformers: Any, tmp_path: Path, name: str) -> None:
    cls, options = MODELS[name]
    theirs = save_model(transformers, cls, tmp_path / "theirs", **options)
    assert run_verb("import", tmp_path / "theirs", tmp_path / "ours") == 0
    assert run_verb("export", tmp_path / "ours", tmp_path / "back") == 0
    suffix = next(suffix for suffix in AUTO if cls.endswith(suffix))
    back = getattr(transformers, AUTO[suffix]).from_pretrained(tmp_path / "back")
    assert type(back) is type(theirs)
    expected, found = theirs.state_dict(), back.state_dict()
    assert list(found) == list(expected)
    for key, value in expected.items():
        assert torch.equal(found[key], value), key
    if suffix == "ForCTC":
        processor = transformers.AutoProcessor.from_pretrained(tmp_path / "back")
        assert processor.tokenizer.get_vocab() == json.loads((tmp_path / "theirs" / "vocab.json").read_text())
        assert processor.feature_extractor.do_normalize == (options in (LARGE, DATA2VEC))


def test_the_differences_are_shown_by_stage(
    transformers: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_model(transformers, "Wav2Vec2ForPreTraining", tmp_path / "theirs", **LARGE)
    assert run_verb("import", tmp_path / "theirs", tmp_path / "ours") == 0
    printed = capsys.readouterr().out
    stages = [line.split("  ")[1] for line in printed.splitlines() if line.startswith("  ")]
    assert stages == ["feature encoder", "layer 1", "layer 2", "context", "contrastive loss"]
    differences = [float(line.split()[-1]) for line in printed.splitlines() if line.startswith("  ")]
    assert max(differences) < 1e-5
    assert "an encoder with its quantizer" in printed


@pytest.mark.parametrize("name", ["Wav2Vec2", "Hubert", "WavLM", "Data2VecAudio"])
def test_what_a_configuration_leaves_out_is_their_default(transformers: Any, tmp_path: Path, name: str) -> None:
    whole = getattr(transformers, f"{name}Config")().to_dict()
    found = []
    for content in (whole, {"model_type": whole["model_type"]}):
        (tmp_path / "config.json").write_text(json.dumps(content))
        found.append(read_architecture(tmp_path, "pretrain" if name == "Wav2Vec2" else "encoder"))
    assert found[0] == found[1]


@pytest.mark.parametrize("weight", ["encoder.context.blocks.1.ffn_in.bias", "head.weight"])
def test_what_computes_something_else_is_not_written(transformers: Any, tmp_path: Path, weight: str) -> None:
    save_model(transformers, "Wav2Vec2ForCTC", tmp_path / "theirs")
    imported = read_huggingface(tmp_path / "theirs")
    reference = huggingface_reference(tmp_path / "theirs", imported.architecture)
    imported.weights[weight] = 1.01 * imported.weights[weight] + 0.01
    stage = "logits" if weight.startswith("head") else "layer 2"
    with pytest.raises(CheckpointError, match=f"differ, first at {stage}"):
        prove(imported.build(), reference, made_voice(RATE), 1e-4)


@pytest.fixture
def recordings(tmp_path: Path) -> list[Path]:
    """Five recordings of different lengths: real ones where the AN4 corpus is, made ones elsewhere."""
    if AN4.is_dir():
        return sorted(AN4.glob("*.flac"))[:5]
    paths = []
    for i in range(5):
        paths.append(tmp_path / f"voice{i}.wav")
        soundfile.write(paths[-1], made_voice(RATE, 1 + 0.7 * i)[0].numpy(), RATE)
    return paths


@pytest.mark.parametrize("options", [{}, LARGE], ids=["base", "large"])
def test_recognisers_say_what_their_own_pipeline_says(
    transformers: Any, tmp_path: Path, recordings: list[Path], options: dict[str, Any]
) -> None:
    save_model(transformers, "Wav2Vec2ForCTC", tmp_path / "theirs", **options)
    assert run_verb("import", tmp_path / "theirs", tmp_path / "ours") == 0
    pipeline = transformers.pipeline("automatic-speech-recognition", str(tmp_path / "theirs"))
    expected = []
    for path in recordings:
        samples, rate = soundfile.read(path, dtype="float32")
        expected.append(" ".join(pipeline({"raw": samples, "sampling_rate": rate})["text"].split()))
    recogniser = load_recogniser(tmp_path / "ours", torch.device("cpu"))
    for seconds in (0.1, 1000.0):  # each alone, and all in one batch
        config = TranscribeConfig(tmp_path / "ours", recordings, max_batch_seconds=seconds)
        found = [item.text for item in transcribe(recogniser, recordings, config, [])]
        assert found == expected
    assert len({*expected}) > 1


def test_the_blank_may_be_any_label_and_labels_lower_case(transformers: Any, tmp_path: Path) -> None:
    folder = tmp_path / "theirs"
    save_model(transformers, "Wav2Vec2ForCTC", folder, pad_token_id=31)
    labels = ["|", *"ABCDEFGHIJKLMNOPQRSTUVWXYZ'-", "[UNK]", "Ä", "[PAD]"]
    (folder / "vocab.json").write_text(json.dumps({label: i for i, label in enumerate(labels)}))
    tokenizer = {"pad_token": "[PAD]", "word_delimiter_token": "|", "do_lower_case": True}
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer))
    assert run_verb("import", folder, tmp_path / "ours") == 0
    vocabulary = load_recogniser(tmp_path / "ours", torch.device("cpu")).vocabulary
    assert vocabulary.decode([1, 31, 0, 0, 30, 31]) == "a ä"
    assert vocabulary.encode("a ä") == [1, 0, 30]
    assert run_verb("export", tmp_path / "ours", tmp_path / "back") == 0
    processor = transformers.AutoProcessor.from_pretrained(tmp_path / "back")
    assert processor.tokenizer.pad_token_id == 31
    assert processor.decode([1, 31, 0, 0, 30, 31]) == "a ä"


def test_weights_in_pickles_in_parts_and_under_old_names_are_read(transformers: Any, tmp_path: Path) -> None:
    model = save_model(transformers, "Wav2Vec2ForCTC", tmp_path / "theirs")
    expected = read_huggingface(tmp_path / "theirs").weights
    (tmp_path / "theirs" / "model.safetensors").unlink()
    old = {"parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v"}
    state: dict[str, Tensor] = {}
    for name, value in model.state_dict().items():
        for new, former in old.items():
            name = name.replace(new, former)
        state[name] = value
    torch.save(state, tmp_path / "theirs" / "pytorch_model.bin")
    assert equal(read_huggingface(tmp_path / "theirs").weights, expected)
    (tmp_path / "theirs" / "pytorch_model.bin").unlink()
    names = sorted(state)
    for part, chosen in (("a.safetensors", names[::2]), ("b.safetensors", names[1::2])):
        safetensors.torch.save_file({name: state[name] for name in chosen}, tmp_path / "theirs" / part)
    index = {"weight_map": {name: "ab"[i % 2] + ".safetensors" for i, name in enumerate(names)}}
    (tmp_path / "theirs" / "model.safetensors.index.json").write_text(json.dumps(index))
    assert equal(read_huggingface(tmp_path / "theirs").weights, expected)
    (tmp_path / "theirs" / "b.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"its index names 'b.safetensors', which is not a file of it"):
        read_huggingface(tmp_path / "theirs")


def equal(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def in_half_precision(folder: Path) -> None:
    state = safetensors.torch.load_file(folder / "model.safetensors")
    halves = {name: value.half() for name, value in state.items()}
    safetensors.torch.save_file(halves, folder / "model.safetensors", metadata={"format": "pt"})
    change(folder, "config.json", dtype="float16", torch_dtype="float16")


def test_half_precision_is_read_and_proved(transformers: Any, tmp_path: Path) -> None:
    model = save_model(transformers, "Wav2Vec2ForCTC", tmp_path / "theirs")
    in_half_precision(tmp_path / "theirs")
    assert run_verb("import", tmp_path / "theirs", tmp_path / "ours") == 0
    found = load_checkpoint(tmp_path / "ours").model_state
    assert {value.dtype for value in found.values()} == {torch.float32}
    assert torch.equal(found["head.weight"], model.lm_head.weight.half().float())


def added_apart(folder: Path) -> None:
    """As fine-tuning scripts leave it: two special labels in a file of their own, and one without an output."""
    ids = json.loads((folder / "vocab.json").read_text())
    (folder / "vocab.json").write_text(json.dumps({name: i for name, i in ids.items() if i < 30}))
    added = {name: i for name, i in ids.items() if i >= 30}
    (folder / "added_tokens.json").write_text(json.dumps(added | {"<none>": 32}))
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"pad_token": {"__type": "AddedToken", "content": "<pad>"}})
    )


def other_blank(folder: Path) -> None:
    change(folder, "config.json", pad_token_id=CHARACTERS.index("D"))


def phonemes(folder: Path) -> None:
    # Older versions of theirs load another package even to decode, unless nothing is to be written in phonemes.
    change(folder, "tokenizer_config.json", tokenizer_class="Wav2Vec2PhonemeCTCTokenizer", do_phonemize=False)


@pytest.mark.parametrize("spoil", [added_apart, other_blank, phonemes])
def test_odd_vocabularies_say_what_their_own_pipeline_says(
    transformers: Any, tmp_path: Path, recordings: list[Path], spoil: Callable[[Path], None]
) -> None:
    save_model(transformers, "Wav2Vec2ForCTC", tmp_path / "theirs")
    spoil(tmp_path / "theirs")
    assert run_verb("import", tmp_path / "theirs", tmp_path / "ours", "--proof", "false") == 0
    samples, rate = soundfile.read(recordings[0], dtype="float32")
    pipeline = transformers.pipeline("automatic-speech-recognition", str(tmp_path / "theirs"))
    expected = " ".join(pipeline({"raw": samples, "sampling_rate": rate})["text"].split())
    recogniser = load_recogniser(tmp_path / "ours", torch.device("cpu"))
    config = TranscribeConfig(tmp_path / "ours", recordings[:1])
    assert [item.text for item in transcribe(recogniser, recordings[:1], config, [])] == [expected]


def test_a_label_that_is_called_padding_makes_room_for_the_blank(transformers: Any, tmp_path: Path) -> None:
    """As in every vocabulary of fairseq's: the blank is its ``<s>``, and ``<pad>`` is a label that means nothing."""
    folder = tmp_path / "theirs"
    save_model(transformers, "Wav2Vec2ForCTC", folder, pad_token_id=1)
    (folder / "tokenizer_config.json").write_text(json.dumps({"pad_token": "<s>"}))
    assert run_verb("import", folder, tmp_path / "ours") == 0
    assert run_verb("export", tmp_path / "ours", tmp_path / "back") == 0
    vocabulary = json.loads((tmp_path / "back" / "vocab.json").read_text())
    assert sorted(vocabulary.values()) == list(range(32))
    processor = transformers.AutoProcessor.from_pretrained(tmp_path / "back")
    assert processor.tokenizer.pad_token_id == 1
    assert processor.decode([5, 1, 5, 4, 1, 6]) == "EE T"


def test_two_labels_of_one_name_are_not_written(transformers: Any, tmp_path: Path, capsys: Any) -> None:
    folder = tmp_path / "theirs"
    save_model(transformers, "Wav2Vec2ForCTC", folder)
    labels = json.loads((folder / "vocab.json").read_text())
    (folder / "vocab.json").write_text(json.dumps({"e" if name == "'" else name: i for name, i in labels.items()}))
    change(folder, "tokenizer_config.json", do_lower_case=True)
    assert run_verb("import", folder, tmp_path / "ours", "--proof", "false") == 0
    assert run_verb("export", tmp_path / "ours", tmp_path / "back") == 2
    assert "the labels 'e' are there more than once" in capsys.readouterr().err
    assert not (tmp_path / "back").exists()


def test_an_imported_encoder_is_finetuned_and_a_pretrained_one_goes_on(
    transformers: Any, tmp_path: Path, shards: Path
) -> None:
    save_model(transformers, "HubertModel", tmp_path / "hubert")
    save_model(transformers, "Wav2Vec2ForPreTraining", tmp_path / "wav2vec2")
    for name in ("hubert", "wav2vec2"):
        assert run_verb("import", tmp_path / name, tmp_path / f"{name}-ours") == 0
    short = ("--training.max_updates", 1, "--training.accelerator", "cpu", "--training.precision", "fp32")
    data = ("--train.shards", shards, "--dev.shards", shards, "--train.max_batch_seconds", 4)
    tune = ("finetune", "--init", tmp_path / "hubert-ours", "--masking.channel_length", 8)
    assert run_verb(*tune, "--output", tmp_path / "ft", *data, *short) == 0
    tuned = load_checkpoint(tmp_path / "ft").model_state
    before = load_checkpoint(tmp_path / "hubert-ours").model_state
    assert all(torch.equal(tuned[name], before[name]) for name in before if "mask" not in name)
    go_on = ("pretrain", "--init", tmp_path / "wav2vec2-ours", "--data.shards", shards, "--data.num_streams", 1)
    masks = ("--objective.masking.time_length", 2)
    assert run_verb(*go_on, *masks, "--output", tmp_path / "pt", *short) == 0
    assert (
        load_checkpoint(tmp_path / "pt").config["model"] == load_checkpoint(tmp_path / "wav2vec2-ours").config["model"]
    )


def test_the_card_says_what_is_known(transformers: Any, tmp_path: Path, capsys: Any) -> None:
    save_model(transformers, "Wav2Vec2ForCTC", tmp_path / "theirs")
    assert run_verb("import", tmp_path / "theirs", tmp_path / "ours") == 0
    figures = {
        "wer": 0.25,
        "wer_low": 0.2,
        "wer_high": 0.3,
        "cer": 0.1,
        "num_utterances": 7,
        "num_words": 70,
        "update": 0,
    }
    for name, content in (
        ("evaluate_test", figures),
        ("evaluate_cut", {"wer": 0.5}),
        ("evaluate_old", figures | {"update": 1}),
    ):
        write_evaluation(tmp_path / "ours" / name, [], {}, content)
    assert run_verb("export", tmp_path / "ours", tmp_path / "out" / "mine", "--license", "cc-by-4.0") == 0
    card = (tmp_path / "out" / "mine" / "README.md").read_text()
    assert "license: cc-by-4.0" in card
    assert f"note: {tmp_path / 'ours' / 'evaluate_cut'}: no whole evaluation" in capsys.readouterr().out
    assert card.count("| evaluate_") == 1
    assert "| evaluate_test | 7 | 70 | 25.0% | 20.0 to 30.0 | 10.0% |" in card
    assert "imported from theirs (Hugging Face)" in card
    assert str(tmp_path) not in card, "no paths of this machine"


def test_made_voices_are_lively() -> None:
    voice = made_voice(RATE)[0].numpy()
    assert 0.1 < np.abs(voice).max() < 1.0
    quarters = np.square(voice).reshape(16, -1).mean(1)
    assert quarters.max() > 20 * quarters.min()
