"""Characters of references that a model cannot write: each word that holds one is an error, whatever is heard."""

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence, Set
from typing import NamedTuple

from speechssl.text.characters import (
    Kind,
    Respelling,
    can_write,
    count_characters,
    respell,
    script_of,
    show_character,
)
from speechssl.text.normalisation import clean_text

MAX_SHOWN = 8
"""Characters of one kind that a message names."""
_AS_THE_MODEL = "write them in the transcripts as the model does"
_KINDS: dict[Kind, tuple[str, str]] = {
    "other case": (
        "letters of the other case",
        "make the shards again with --text_case {case}, as those that the model learned from, or give --text.case "
        "{case}",
    ),
    "typographic form": (
        "typographic forms",
        f"{_AS_THE_MODEL} (--text.quotes straight and --text.unicode nfkc do much of it)",
    ),
    "look-alike": ("letters of another script that look alike", _AS_THE_MODEL),
    "accent": ("accents", _AS_THE_MODEL),
    "punctuation": (
        "punctuation",
        "leave it out of the transcripts, as in those that the model learned from, or give --text.punctuation remove",
    ),
    "digit": ("digits", "write numbers as words, or give --text.digits words and --text.language"),
    "symbol": ("symbols", "write them as the words that are spoken"),
    "invisible": ("invisible joiners", "leave them out of the transcripts"),
    "undecodable": (
        "what was no text",
        "save the list as UTF-8: it was written in another encoding",
    ),
    "other letter": (
        "other letters",
        "letters that the model never saw: another language, or too few training transcripts",
    ),
    "cluster": (
        "letters with marks",
        "one label that the model never saw; give more transcripts, or --targets.name characters",
    ),
    "word": ("words that the lexicon lacks", "add them to the lexicon"),
}
"""What a message calls them, and what to do."""


class ForeignCharacter(NamedTuple):
    """One character that the model cannot write."""

    character: str
    kind: Kind
    respelled: str | None
    """As the model writes it, empty or a space if it is left out; None if there is no way."""
    num_times: int
    num_words: int
    num_utterances: int


class Foreign(NamedTuple):
    """What a model cannot write of a set of references."""

    characters: list[ForeignCharacter]
    """Most frequent first."""
    num_words: int
    """With at least one of them."""
    num_utterances: int
    total_words: int
    """Of the whole set."""
    total_utterances: int

    def respell(self, text: str) -> str:
        """A reference as the model would write it, as far as there is a way."""
        ways: dict[str, str | int | None] = {
            item.character: item.respelled for item in self.characters if item.respelled is not None
        }
        return clean_text(text.translate(str.maketrans(ways)))

    def by_kind(self) -> dict[Kind, list[ForeignCharacter]]:
        """What is the matter, most frequent first."""
        kinds: defaultdict[Kind, list[ForeignCharacter]] = defaultdict(list)
        for item in self.characters:
            kinds[item.kind].append(item)
        return kinds

    def remedies(self) -> list[str]:
        """What to do about each kind."""
        return [f"{_KINDS[kind][0]}: {_to_do(kind, items)}" for kind, items in self.by_kind().items()]

    def describe(self) -> str:
        """How much is lost, which characters it is, and what to do; for sets that have some."""
        lost = (
            f"{self.num_words} of {self.total_words} words, in {self.num_utterances} of {self.total_utterances} "
            "utterances, hold characters that the model cannot write; each is an error, whatever is heard:"
        )
        found = [
            f"{_KINDS[kind][0]}: {_listed(items)}; {_to_do(kind, items)}" for kind, items in self.by_kind().items()
        ]
        return " ".join([lost, *found]) if len(found) == 1 else "\n  ".join([lost, *found])


def find_foreign(texts: Sequence[str], known: Set[str], symbols: Callable[[str], Sequence[str]] = list) -> Foreign:
    """Find what a model cannot write.

    Args:
        texts: references, cleaned.
        known: characters of the model's labels, or clusters or phonemes if its labels are such.
        symbols: cuts texts into those.
    """
    counts = count_characters(texts, symbols)
    foreign = {character for character in counts if not can_write(character, known)}
    in_words: Counter[str] = Counter()
    in_utterances: Counter[str] = Counter()
    num_words = num_utterances = total_words = 0
    for text in texts:
        words = text.split()
        total_words += len(words)
        found = [held for word in words if (held := foreign.intersection(symbols(word)))] if foreign else []
        num_words += len(found)
        num_utterances += bool(found)
        in_utterances.update(set().union(*found))
        for held in found:
            in_words.update(held)
    ways = {character: respell(character, known) for character in foreign}
    # A look-alike among letters of its own script is no slip of the keyboard.
    scripts = {script_of(character) for character, way in ways.items() if way.kind == "other letter"}
    characters = []
    for character in sorted(foreign, key=lambda c: (-counts[c], c)):
        way = ways[character]
        if way.kind == "look-alike" and script_of(character) in scripts:
            way = Respelling("other letter", None)
        characters.append(
            ForeignCharacter(character, *way, counts[character], in_words[character], in_utterances[character])
        )
    return Foreign(characters, num_words, num_utterances, total_words, len(texts))


def _to_do(kind: Kind, items: Sequence[ForeignCharacter]) -> str:
    case = "upper" if items[0].respelled and items[0].respelled.isupper() else "lower"
    return _KINDS[kind][1].format(case=case)


def _listed(items: Sequence[ForeignCharacter]) -> str:
    shown = [
        f"{show_character(item.character)} {times(item.num_times)}{_as_written(item)}" for item in items[:MAX_SHOWN]
    ]
    more = f", and {len(items) - MAX_SHOWN} more" if len(items) > MAX_SHOWN else ""
    return ", ".join(shown) + more


def _as_written(item: ForeignCharacter) -> str:
    """What the model has in the character's place."""
    if not item.respelled or not item.respelled.strip():
        return ""
    shown = [show_character(c) if item.kind == "look-alike" else c for c in item.respelled]
    return f" for {''.join(shown)}"


def times(count: int) -> str:
    """How often, in words."""
    return {1: "once", 2: "twice"}.get(count, f"{count} times")
