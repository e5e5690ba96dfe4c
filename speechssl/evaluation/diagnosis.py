"""What is wrong with a run or with a score, in one line: symptom, cause, remedy."""

from typing import NamedTuple


class Diagnosis(NamedTuple):
    """One thing that is wrong; as text, the line that a person reads."""

    name: str
    """What it is called, for machines: "silent audio", "empty outputs", "differences of case" ..."""
    symptom: str
    """What was found, with figures."""
    cause: str
    """The likeliest."""
    remedy: str
    """What to do, with the options that do it."""

    def __str__(self) -> str:
        return f"{self.symptom}: {self.cause}; {self.remedy}"


class Why(NamedTuple):
    """Cause and remedy of a symptom that is known."""

    cause: str
    remedy: str
