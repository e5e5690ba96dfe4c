"""Labels of Hugging Face's recognisers: vocabulary and tokenizer files, in and out."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from speechssl.errors import CheckpointError
from speechssl.interop.values import Values, show
from speechssl.text.vocabulary import WORD_BOUNDARY, Vocabulary

VOCABULARY_FILE = "vocab.json"
ADDED_FILE = "added_tokens.json"
TOKENIZER_FILE = "tokenizer_config.json"
PAD = "<pad>"
_PHONEMES = "Wav2Vec2PhonemeCTCTokenizer"
_SPECIAL = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object in a file.

    Raises:
        CheckpointError: missing, or no JSON object.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise CheckpointError(f"{path.parent}: has no {path.name}, which a Hugging Face model has") from error
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: cannot be read as JSON ({error}); fetch the file again") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path}: holds a {type(content).__name__}, expected an object; fetch the file again")
    return content


def read_vocabulary(folder: Path, config: Values, notes: list[str]) -> Vocabulary:
    """Labels of a recogniser: theirs call CTC's blank the padding.

    Args:
        folder: of the model.
        config: its config.json.
        notes: what a person should know is added to it.

    Raises:
        CheckpointError: labels that are not one for each output.
    """
    tokenizer = read_json(folder / TOKENIZER_FILE) if (folder / TOKENIZER_FILE).is_file() else {}
    ids = read_ids(folder, tokenizer, config.get("vocab_size", 32))
    names = sorted(ids, key=ids.__getitem__)
    blank = find_blank(folder, ids, config.get("pad_token_id", 0), token_text(tokenizer.get("pad_token")), notes)
    boundary = ids.get(token_text(tokenizer.get("word_delimiter_token", WORD_BOUNDARY)) or " ")
    labels = [name.lower() for name in names] if tokenizer.get("do_lower_case") is True else list(names)
    if tokenizer.get("tokenizer_class") == _PHONEMES:
        labels = [label if i == boundary else f"{label} " for i, label in enumerate(labels)]
        notes.append("its labels are phonemes: transcripts have a space after each, as its own tokenizer writes them")
    labels[blank] = names[blank]
    return Vocabulary(labels, blank=blank, word_boundary=None if boundary == blank else boundary)


def read_ids(folder: Path, tokenizer: Mapping[str, Any], num_outputs: Any) -> dict[str, int]:
    """Number of each label; special ones may be in files of their own, and may have no output at all.

    Raises:
        CheckpointError: not one label for each output.
    """
    ids = read_json(folder / VOCABULARY_FILE)
    if all(type(value) is int for value in ids.values()) and type(num_outputs) is int:
        numbers = set(ids.values())
        for name, number in added_tokens(folder, tokenizer):
            if name not in ids and number not in numbers and 0 <= number < num_outputs:
                ids[name] = number
        if sorted(ids.values()) == list(range(num_outputs)):
            return ids
    raise CheckpointError(
        f"{folder / VOCABULARY_FILE}: {len(ids)} labels, expected one for each of the {show(num_outputs)} outputs "
        "that config.json names, numbered from 0; fetch the vocabulary that belongs to these weights"
    )


def added_tokens(folder: Path, tokenizer: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    """Labels that were added to a vocabulary, with their numbers: ``added_tokens.json`` before, a section since."""
    if (folder / ADDED_FILE).is_file():
        for name, number in read_json(folder / ADDED_FILE).items():
            if type(number) is int:
                yield name, number
    section = tokenizer.get("added_tokens_decoder")
    for text, token in section.items() if isinstance(section, dict) else ():
        found = token_text(token)
        if found is not None and text.isascii() and text.isdigit() and len(text) < 10:
            yield found, int(text)


def token_text(token: Any) -> str | None:
    """The text of a token, which files hold by itself or with options."""
    if isinstance(token, dict):
        token = token.get("content")
    return token if isinstance(token, str) else None


def find_blank(folder: Path, ids: Mapping[str, int], number: Any, padding: str | None, notes: list[str]) -> int:
    """Position of the blank: the tokenizer's padding, which their pipeline goes by, or else the configuration's.

    Raises:
        CheckpointError: neither is a label.
    """
    if padding is not None and padding in ids:
        if ids[padding] != number:
            notes.append(
                f"pad_token_id of config.json is {show(number)}, the tokenizer's padding {padding!r} is label "
                f"{ids[padding]}: this one is taken for the blank, as their pipeline does"
            )
        return ids[padding]
    if type(number) is not int or not 0 <= number < len(ids):
        raise CheckpointError(
            f"{folder / 'config.json'}: pad_token_id is {show(number)}, expected one of the {len(ids)} labels, the "
            "blank"
        )
    return number


def their_tokens(vocabulary: Vocabulary) -> list[str]:
    """What the labels are called there, in order.

    The blank is the padding. A label that has this name already (fairseq's vocabularies have one) takes the blank's.

    Raises:
        CheckpointError: two labels of one name, of which a vocabulary there can hold one.
    """
    blank = vocabulary.labels[vocabulary.blank]
    tokens = [blank if label == PAD else label for label in vocabulary.labels]
    tokens[vocabulary.blank] = PAD
    twice = sorted({token for token in tokens if tokens.count(token) > 1})
    if twice:
        raise CheckpointError(
            f"the labels {', '.join(map(ascii, twice[:5]))} are there more than once, and a vocab.json has each once; "
            "--to onnx keeps labels in order"
        )
    return tokens


def their_tokenizer(vocabulary: Vocabulary, tokens: list[str]) -> dict[str, Any]:
    """tokenizer_config.json. Begin, end and unknown tokens are the padding where the labels have none."""
    special = {name: token if token in tokens else PAD for name, token in _SPECIAL.items()}
    boundary = vocabulary.word_boundary
    return {
        "tokenizer_class": "Wav2Vec2CTCTokenizer",
        "processor_class": "Wav2Vec2Processor",
        "pad_token": PAD,
        **special,
        "word_delimiter_token": " " if boundary is None else tokens[boundary],
        "do_lower_case": False,
    }
