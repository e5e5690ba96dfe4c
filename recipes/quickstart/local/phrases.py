"""What is said: a closed vocabulary of numbers, letters and commands, in phrases such as people speak to a machine."""

from __future__ import annotations

from collections.abc import Callable

from draws import Deck, Draws

DIGITS = ("ZERO", "ONE", "TWO", "THREE", "FOUR", "FIVE", "SIX", "SEVEN", "EIGHT", "NINE")
TEENS = ("TEN", "ELEVEN", "TWELVE")
TENS = ("TWENTY", "THIRTY", "FORTY", "FIFTY", "SIXTY", "SEVENTY", "EIGHTY", "NINETY")
LETTERS = tuple("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
ROOMS = ("KITCHEN", "BEDROOM", "GARDEN", "HALL")
SWITCHES = ("LIGHT", "RADIO", "MUSIC")
NAMES = (
    "ADAM", "ALICE", "BENJI", "BRUCE", "CLARA", "DAVID", "DWAYNE", "EMILY", "ERIC", "FELIX", "FIONA", "FRANK", "GEORGE",
    "GRACE", "HUGO", "HELEN", "INGRID", "IVAN", "JACK", "JOYCE", "KEVIN", "KATHY", "LIAM", "LUCY", "MARTIN", "MAX",
    "NANCY", "OLIVER", "OSCAR", "PAUL", "PIPPA", "QUINN", "QUENTIN", "ROBERT", "RUBY", "SARAH", "SUZY", "THOMAS",
    "URSULA", "VICTOR", "VERA", "WALTER", "WENDY", "XAVIER", "YUSUF", "YVONNE", "ZOE", "ZACK",
)  # fmt: skip

_COMMANDS = ("switch", "play", "answer", "go") * 3 + ("open", "clock", "mail") * 2

# Words that espeak-ng would say otherwise than meant: A on its own is the article, I is unstressed, and Z is "zed" or
# "zee" by accent, of which we take one.
_SPOKEN = {"A": "[['eI]]", "I": "eye", "Z": "zee"}


def spoken(text: str) -> str:
    """The text as espeak-ng has to be given it; `[[...]]` holds phonemes."""
    return " ".join(_SPOKEN.get(word, word if len(word) == 1 else word.lower()) for word in text.split())


class PhraseBook:
    """Deals phrases in which every word of the vocabulary recurs, the rarest about every 50 phrases."""

    def __init__(self, draws: Draws) -> None:
        self._draws = draws
        self._decks: dict[tuple[str, ...], Deck] = {}
        kinds = (self._name,) * 4 + (self._code,) * 5 + (self._digits,) * 2 + (self._count,) * 6 + (self._command,) * 15
        self._kinds: tuple[Callable[[], str], ...] = kinds
        self._waiting: list[Callable[[], str]] = []

    def deal(self) -> str:
        """The next utterance, capitals: one to three phrases, 2 to 20 words."""
        text = self._phrase()
        if self._draws.integer(0, 1):
            text = f"{text} {self._phrase()}"
        return text if len(text.split()) > 3 else f"{text} {self._phrase()}"

    def _phrase(self) -> str:
        if not self._waiting:
            self._waiting = self._draws.shuffled(self._kinds)
        return self._waiting.pop()()

    def _one(self, *cards: str) -> str:
        if cards not in self._decks:
            self._decks[cards] = Deck(cards, self._draws)
        return self._decks[cards].deal()

    def _many(self, low: int, high: int, *cards: str) -> str:
        return " ".join(self._one(*cards) for _ in range(self._draws.integer(low, high)))

    def _name(self) -> str:
        return f"{self._one('SPELL', 'NAME', 'STREET')} {' '.join(self._one(*NAMES))}"

    def _code(self) -> str:
        verb = self._one("ENTER", "ERASE", "RUBOUT", "REPEAT")
        return f"{verb} {self._many(3, 4, *LETTERS)} {self._many(1, 2, *DIGITS)}"

    def _digits(self) -> str:
        return f"{self._one('CALL', 'NUMBER')} {self._many(4, 7, *DIGITS)}"

    def _below_hundred(self) -> str:
        first = self._one(*TEENS, *TENS)
        return first if first in TEENS else f"{first} {self._one(*DIGITS[1:])}"

    def _count(self) -> str:
        unit = self._one("HUNDRED", "THOUSAND")
        return f"{self._one('ENTER', 'NUMBER')} {self._one(*DIGITS[1:])} {unit} {self._below_hundred()}"

    def _command(self) -> str:
        form = self._one(*_COMMANDS)
        if form == "answer":
            return self._one("YES", "NO", "HELP", "START")
        if form == "switch":
            return f"TURN {self._one('ON', 'OFF', 'UP', 'DOWN')} {self._one(*ROOMS)} {self._one(*SWITCHES)}"
        if form == "open":
            return f"{self._one('OPEN', 'SHUT')} {self._one(*ROOMS)} {self._one('DOOR', 'WINDOW')}"
        if form == "play":
            return f"{self._one('PLAY', 'PAUSE', 'STOP')} {self._one('NEXT', 'LAST')} SONG"
        if form == "clock":
            return f"{self._one('SET', 'CANCEL')} {self._one('ALARM', 'TIMER')} {self._below_hundred()}"
        if form == "go":
            return f"GO {self._one('LEFT', 'RIGHT', 'HOME')}"
        return f"{self._one('READ', 'SEND')} {self._one('NEXT', 'LAST')} MESSAGE"
