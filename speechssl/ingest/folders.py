"""Recordings of folders, each with what lies beside it; whatever else is there is a list, a tar, or ignored by name."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from speechssl.audio.formats import AUDIO_SUFFIXES, VIDEO_SUFFIXES
from speechssl.ingest.corpora import Chapter, SpeakerFolder, chapter_name, read_chapter, speaker_folder
from speechssl.ingest.file_kinds import kind_of_file
from speechssl.ingest.recordings import Findings, Origins, Recording, composed_form, key_of
from speechssl.ingest.sidecars import Beside, UnreadableError, describe_beside, field_of
from speechssl.shards.transcripts import MAX_TRANSCRIPT_BYTES

_TWO_PARTS = (".normalized", ".original")
"""Before the suffix of a transcript, as LibriTTS has them."""
_MOST_TEXTS = 1 << 14
"""Bytes that few transcripts reach."""
_OF_CHAPTER = (("text", "LibriSpeech's .trans.txt"), ("speaker", "file names, as in LibriSpeech"))


@dataclass
class Listing:
    """What lies directly in a folder, by name."""

    folder: str
    is_whole: bool
    """Whether all of it was wanted, not only files that were named one by one."""
    audio: list[str] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    sidecars: dict[str, dict[str, str]] = field(default_factory=dict)
    """Of what may say something of a recording: names by what precedes its suffix, and by that suffix."""
    others: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._prefix = os.path.join(self.folder, "")

    def path(self, name: str) -> str:
        """Path of what is called so."""
        return self._prefix + name


def list_folder(folder: str, found: Findings, wanted: set[str] | None = None) -> Listing:
    """List a folder; with ``wanted``, only the files of these names as audio, and what may lie beside them.

    Raises:
        OSError: it cannot be listed.
    """
    # What was wanted and is gone is missed as any file that is not there.
    listing = Listing(folder, is_whole=wanted is None, audio=list(wanted or ()))
    with os.scandir(folder) as entries:
        for entry in entries:
            _sort_in(entry, listing, wanted, found)
    listing.audio = _without_videos(listing, found)
    listing.folders.sort()
    listing.others.sort()
    return listing


def _sort_in(entry: "os.DirEntry[str]", listing: Listing, wanted: set[str] | None, found: Findings) -> None:
    name = entry.name
    stem, suffix = os.path.splitext(name)
    suffix = suffix.lower()
    if wanted is not None and name in wanted:
        return
    if name.startswith("."):  # macOS leaves a ._NAME for each file
        if wanted is None:
            found.ignore(entry.path, "hidden folder" if _is_folder(entry) else "hidden")
    elif suffix and field_of(suffix[1:]) and _is_text(entry):
        _sort_in_sidecar(name, stem, suffix, listing, found)
    elif wanted is not None:
        return
    elif _is_folder(entry):
        listing.folders.append(name)
    elif suffix in AUDIO_SUFFIXES:
        listing.audio.append(name)
    else:
        listing.others.append(name)


def _without_videos(listing: Listing, found: Findings) -> list[str]:
    """Audio files in order; videos whose sound lies beside them are ignored by name, unless they are sources."""
    parts = {name: os.path.splitext(name) for name in sorted(listing.audio)}
    heard = {stem for stem, suffix in parts.values() if suffix.lower() not in VIDEO_SUFFIXES}
    kept = []
    for name, (stem, suffix) in parts.items():
        is_beside = suffix.lower() in VIDEO_SUFFIXES and stem in heard
        if is_beside and listing.path(name) not in found.literal:
            found.ignore(listing.path(name), "video beside its audio")
        else:
            kept.append(name)
    return kept


def _is_text(entry: "os.DirEntry[str]") -> bool:
    """Whether it is a file, or a link that leads nowhere: what belongs to a recording is missing then."""
    try:
        return entry.is_file() or (entry.is_symlink() and not os.path.exists(entry.path))
    except OSError:  # a link in a circle
        return True


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link in a circle, or to where nobody may look
        return False


def _sort_in_sidecar(name: str, stem: str, suffix: str, listing: Listing, found: Findings) -> None:
    if stem.lower().endswith(_TWO_PARTS):
        stem, first = os.path.splitext(stem)
        suffix = first.lower() + suffix
    beside = listing.sidecars.setdefault(stem, {})
    # Of two names that differ in case only, the same one in whatever order they are listed.
    other = beside.get(suffix[1:], name)
    beside[suffix[1:]] = min(name, other)
    if other != name and listing.is_whole:
        found.ignore(listing.path(max(name, other)), "a second name that differs in case")


def add_recordings(listing: Listing, root: str, found: Findings) -> None:
    """Add the audio files of a folder, each with what lies beside it; what is used leaves ``listing.sidecars``.

    Args:
        listing: of the folder.
        root: folder that keys are relative to.
        found: where they are added.
    """
    chapters = _chapters_of(listing, found)
    voice = speaker_folder(listing.folder)
    relative = os.path.relpath(listing.folder, root)
    prefix = "" if relative == os.curdir else relative + os.sep
    used: set[str] = set()
    for name in listing.audio:
        stem, suffix = os.path.splitext(name)
        identity = composed_form(prefix + (stem if suffix.lower() in AUDIO_SUFFIXES else name))
        recording = Recording(key_of(identity), listing.path(name), recording=identity)
        if chapters and (chapter := chapters.get(stem.rpartition("-")[0])) is not None:
            _add_utterance(stem, recording, chapter, found)
            continue
        names = _names_beside(name, listing, used, found) if listing.sidecars else None
        origins: Origins = ()
        if names:
            known = _describe(recording, stem, names, listing, found)
            if isinstance(known, str):
                found.unread[recording.path] = known
                continue
            recording, origins = known.recording, known.origins
        if voice is not None and not recording.speaker and stem.startswith(voice.prefix):
            recording, origins = _with_voice(recording, voice, origins)
        found.walked[origins].append(recording)
    for base in used:
        del listing.sidecars[base]
    if listing.is_whole:
        for chapter in chapters.values():
            _reject_missing(listing, chapter, found)


def _chapters_of(listing: Listing, found: Findings) -> dict[str, Chapter]:
    """LibriSpeech's chapters in a folder, by SPEAKER-CHAPTER; their transcripts leave ``listing.sidecars``."""
    named = [(base, name) for base in listing.sidecars if (name := chapter_name(base))]
    chapters = {}
    for base, name in named:
        transcripts = listing.sidecars[base].pop("txt", None)
        if transcripts is not None:
            chapters[name] = read_chapter(name, listing.path(transcripts), found)
    return chapters


def _add_utterance(stem: str, recording: Recording, chapter: Chapter, found: Findings) -> None:
    if chapter.unreadable:
        found.unread[recording.path] = chapter.unreadable
        return
    text = chapter.texts.get(stem, "")
    if not text:
        found.note(recording.path, "no transcript", f"{chapter.transcripts} has none for it")
    recording = recording._replace(
        key=key_of(stem), text=text, speaker=chapter.speaker, split=chapter.split, recording=chapter.name
    )
    found.walked[_OF_CHAPTER if text else _OF_CHAPTER[1:]].append(recording)


def _reject_missing(listing: Listing, chapter: Chapter, found: Findings) -> None:
    for utterance in chapter.texts.keys() - {os.path.splitext(name)[0] for name in listing.audio}:
        found.reject(listing.path(f"{utterance}.flac"), "no such file", f"its transcript is in {chapter.transcripts}")


def _with_voice(recording: Recording, voice: SpeakerFolder, origins: Origins) -> tuple[Recording, Origins]:
    named = recording._replace(
        speaker=voice.speaker, split=recording.split or voice.split, recording=voice.recording or recording.recording
    )
    return named, (*origins, ("speaker", voice.place))


def _names_beside(name: str, listing: Listing, used: set[str], found: Findings) -> dict[str, str]:
    """Names by suffix of what lies beside an audio file: ``a.wav.txt`` goes before ``a.txt``.

    What precedes the suffixes is added to ``used``.
    """
    stem = os.path.splitext(name)[0]
    inner, suffix = os.path.splitext(stem)  # SA1.WAV.wav, of which there is SA1.TXT
    names: dict[str, str] = {}
    for base in (name, stem, inner if suffix.lower() in AUDIO_SUFFIXES else stem):
        for kind, other in listing.sidecars.get(base, {}).items():
            used.add(base)
            if names.setdefault(kind, other) != other and listing.is_whole:
                found.ignore(listing.path(other), "a second transcript")
    return names


def _describe(
    recording: Recording, stem: str, names: Mapping[str, str], listing: Listing, found: Findings
) -> Beside | str:
    """A recording with what lies beside it, or why that cannot be read; names what is not used of it."""
    try:
        beside = describe_beside(
            recording, names, lambda name: read_start(listing.path(name)), stem, "beside the audio", found
        )
    except (UnreadableError, OSError) as error:
        lists = {suffix for suffix, name in names.items() if suffix.endswith("json") and _is_list(listing.path(name))}
        if lists:
            listing.others += [names[suffix] for suffix in lists]
            rest = {suffix: name for suffix, name in names.items() if suffix not in lists}
            return _describe(recording, stem, rest, listing, found)
        found.used.update(listing.path(name) for name in names.values())
        if isinstance(error, UnreadableError):
            return str(error)
        return f"{error.filename} cannot be read ({error.strerror})"
    for suffix in beside.used:
        found.used.add(listing.path(names[suffix]))
    if listing.is_whole:
        for suffix, reason in beside.ignored:
            found.ignore(listing.path(names[suffix]), reason)
    return beside


def _is_list(path: str) -> bool:
    return kind_of_file(path).kind == "list"


def read_start(path: str) -> bytes:
    """All of a transcript; of what is larger than any, a byte more than that."""
    with open(path, "rb", buffering=0) as file:
        data = file.read(_MOST_TEXTS)  # a read of the largest would make room for it
        return data if len(data) < _MOST_TEXTS else data + file.read(MAX_TRANSCRIPT_BYTES + 1)
