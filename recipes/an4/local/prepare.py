"""Lists of the CMU AN4 corpus: training, held-out and test speech, from the original archive or from ready-made lists.

The original archive has ``an4/etc/an4_train.fileids``, ``an4/etc/an4_train.transcription``, the same for ``test``, and
below ``an4/wav`` a SPHERE (.sph) or headerless raw (.raw) file for each id. The other layout is ``train.tsv`` and
``test.tsv`` with the columns path, speaker, seconds, text. Both give the same lists, as utterances are known by their
AN4 names (an251-fash-b) and every choice depends on these names alone:

    dev.tsv          some speakers of the training set, held out to choose between models
    train_full.tsv   the other speakers of the training set
    train_10min.tsv  about ten minutes of them, spread evenly over these speakers; with --minutes 1,5 there are
                     train_1min.tsv and train_5min.tsv instead, the lesser a part of the greater
    pretrain.tsv     train_full.tsv without transcripts
    pretrain_0.3h.tsv
                     with --hours 0.3: so much of it, then of what --untranscribed names, the lesser a part of the
                     greater
    seen.tsv         with --seen-minutes: sentences of speakers who have labels, which are in no list but this one
    test.tsv         the corpus's own test set, whose speakers are others again
"""

import argparse
import hashlib
import sys
from collections import defaultdict
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path

from corpus import Utterance, read_corpus, read_untranscribed

from speechssl.errors import ConfigError, DataError

DEV_MINUTES = 5.0
LABELLED_MINUTES = 10.0
SEED = 0
COLUMNS = ("id", "path", "speaker", "seconds", "text")


def stable_order(name: str, seed: int) -> str:
    """A sorting key that shuffles names in the same way on every machine, whatever other names there are."""
    return hashlib.sha256(f"{seed} {name}".encode()).hexdigest()


def hold_out_speakers(utterances: Sequence[Utterance], minutes: float, seed: int) -> set[str]:
    """Speakers, in stable order, until they have spoken for the minutes asked."""
    spoken: dict[str, float] = defaultdict(float)
    for utterance in utterances:
        spoken[utterance.speaker] += utterance.seconds
    held_out: set[str] = set()
    for speaker in sorted(spoken, key=lambda name: stable_order(name, seed)):
        if sum(spoken[name] for name in held_out) >= 60 * minutes:
            break
        held_out.add(speaker)
    return held_out


def in_turns(utterances: Sequence[Utterance], seed: int, *, last_first: bool = False) -> list[Utterance]:
    """All of them, one of every speaker in turn, so that as many as possible are heard early.

    With ``last_first`` each speaker's utterances are in the opposite order.
    """
    of_speaker: dict[str, list[Utterance]] = defaultdict(list)
    for utterance in sorted(utterances, key=lambda utterance: stable_order(utterance.id, seed), reverse=last_first):
        of_speaker[utterance.speaker].append(utterance)
    order = {
        utterance.id: (turn, stable_order(speaker, seed))
        for speaker, spoken in of_speaker.items()
        for turn, utterance in enumerate(spoken)
    }
    return sorted(utterances, key=lambda utterance: (*order[utterance.id], utterance.id))


def beginning(utterances: Sequence[Utterance], seconds: float) -> list[Utterance]:
    """The first of them, until they last so long."""
    ends = accumulate((utterance.seconds for utterance in utterances), initial=0.0)
    return [utterance for utterance, before in zip(utterances, ends, strict=False) if before < seconds]


def select_labelled(
    utterances: Sequence[Utterance], minutes: float, seed: int, *, last_first: bool = False
) -> list[Utterance]:
    """About so many minutes, taken in turn from every speaker; ``last_first`` as of :func:`in_turns`."""
    chosen = {utterance.id for utterance in beginning(in_turns(utterances, seed, last_first=last_first), 60 * minutes)}
    return [utterance for utterance in utterances if utterance.id in chosen]


def write_amounts(
    output: Path, hours: Sequence[str], audio: Sequence[Sequence[Utterance]], held_out: Sequence[Utterance]
) -> None:
    """Lists of amounts of untranscribed audio, each the beginning of the greater ones: of the first source, in turns of
    its speakers, then of the next.

    Raises:
        DataError: there is less audio, a recording is there twice, or is one of those that are scored.
    """
    ordered = [utterance for source in audio for utterance in in_turns(source, SEED)]
    kept_away = {item.path.resolve() for item in held_out}
    seen: set[Path] = set()
    for item in ordered:
        path = item.path.resolve()
        if path in kept_away or path in seen:
            why = "held out or in the test set" if path in kept_away else "listed twice"
            raise DataError(f"{path}: untranscribed audio that is {why}; leave it out of --untranscribed")
        seen.add(path)
    whole = sum(item.seconds for item in ordered) / 3600
    chosen = {amount: beginning(ordered, 3600 * float(amount)) for amount in hours}
    if max(map(float, hours)) > whole:
        raise DataError(
            f"there are {whole:.2f} hours of untranscribed audio; {max(map(float, hours)):g} were asked for: ask for "
            "fewer with --hours, or give more with --untranscribed"
        )
    if len(set(map(len, chosen.values()))) < len(hours):
        raise DataError(
            f"--hours {','.join(hours)}: two of them come to the same recordings; give amounts farther apart"
        )
    for amount, utterances in chosen.items():
        write_list(output / f"pretrain_{amount}h.tsv", utterances, transcribed=False)
    print(f"{whole:.2f} hours of untranscribed audio in all")


def hold_out_sentences(
    utterances: Sequence[Utterance], least_labels: Sequence[Utterance], minutes: float, seed: int
) -> list[Utterance]:
    """Sentences of speakers who have labels, even of the least amount of them, and none that are these labels.

    Raises:
        DataError: these speakers have no such sentence.
    """
    speakers, taken = ({item.speaker for item in least_labels}, {item.id for item in least_labels})
    candidates = [item for item in utterances if item.speaker in speakers and item.id not in taken]
    if not candidates:
        raise DataError("speakers who have labels have no other sentences to be tested on; ask for fewer minutes")
    return select_labelled(candidates, minutes, seed, last_first=True)


def write_list(path: Path, utterances: Sequence[Utterance], *, transcribed: bool = True) -> None:
    """Write a list for ``speechssl shard`` and say how much it holds."""
    columns = COLUMNS if transcribed else COLUMNS[:-1]
    rows = [
        (item.id, str(item.path.resolve()), item.speaker, f"{item.seconds:.3f}", item.text)[: len(columns)]
        for item in utterances
    ]
    lines = "".join("\t".join(row) + "\n" for row in [columns, *rows])
    unfinished = path.with_name(f"{path.name}.part")
    unfinished.write_text(lines, encoding="utf-8")
    unfinished.replace(path)
    minutes = sum(item.seconds for item in utterances) / 60
    speakers = len({item.speaker for item in utterances})
    print(f"{path.name:16} {len(utterances):4} utterances, {minutes:5.1f} minutes, {speakers:2} speakers")


def prepare(
    corpus: Path,
    output: Path,
    minutes: Sequence[int] = (),
    hours: Sequence[str] = (),
    untranscribed: Sequence[Path] = (),
    seen_minutes: float = 0.0,
) -> None:
    """Write all lists; recordings that had to be converted go beside them.

    Args:
        corpus: its folder.
        output: folder of the lists.
        minutes: amounts of transcribed audio to make lists of, instead of the one of about ten.
        hours: amounts of untranscribed audio to make lists of, as they are to be called.
        untranscribed: lists and folders of more of it than the corpus has.
        seen_minutes: of sentences of training speakers that are to be held out, for tests on people who were heard.

    Raises:
        DataError: the corpus is not there or not whole, or has less than was asked for.
    """
    train_all, test = read_corpus(corpus, output.parent / "audio")
    held_out = hold_out_speakers(train_all, DEV_MINUTES, SEED)
    train = [item for item in train_all if item.speaker not in held_out]
    if not train:
        raise DataError(f"{corpus}: holding out {DEV_MINUTES} minutes leaves nothing to learn from")
    amounts = {str(amount): float(amount) for amount in minutes} or {"10": LABELLED_MINUTES}
    seen: list[Utterance] = []
    if seen_minutes:
        seen = hold_out_sentences(train, select_labelled(train, min(amounts.values()), SEED), seen_minutes, SEED)
        held_out_ids = {item.id for item in seen}
        train = [item for item in train if item.id not in held_out_ids]
    whole = sum(item.seconds for item in train) / 60
    if max(minutes, default=0) > whole:
        raise DataError(
            f"{corpus}: {whole:.1f} minutes are left to learn from; {max(minutes)} were asked for, ask for fewer"
        )
    output.mkdir(parents=True, exist_ok=True)
    write_list(output / "pretrain.tsv", train, transcribed=False)
    write_list(output / "train_full.tsv", train)
    for name, amount in amounts.items():
        write_list(output / f"train_{name}min.tsv", select_labelled(train, amount, SEED))
    write_list(output / "dev.tsv", [item for item in train_all if item.speaker in held_out])
    write_list(output / "test.tsv", test)
    if hours:
        more = [read_untranscribed(source, number) for number, source in enumerate(untranscribed)]
        write_amounts(output, hours, [train, *more], [item for item in train_all if item.speaker in held_out] + test)
    if seen:
        write_list(output / "seen.tsv", seen)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path, help="folder of the corpus")
    parser.add_argument("output", type=Path, help="folder for the lists")
    parser.add_argument("--minutes", default="", help="of transcribed audio, whole numbers with commas between them")
    parser.add_argument("--hours", default="", help="of untranscribed audio, numbers with commas between them")
    parser.add_argument("--untranscribed", type=Path, action="append", default=[], help="list or folder of more of it")
    parser.add_argument("--seen-minutes", type=float, default=0.0, help="of training speakers to hold out sentences of")
    options = parser.parse_args()
    minutes = list(map(int, filter(None, options.minutes.split(","))))
    hours = list(filter(None, options.hours.split(",")))
    try:
        prepare(options.corpus, options.output, minutes, hours, options.untranscribed, options.seen_minutes)
    except (ConfigError, DataError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
