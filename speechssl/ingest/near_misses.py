"""What is offered for a source that is not there."""

import os
from collections import Counter

from speechssl.ingest.lists.folder_names import Listing


def nearest(path: str) -> str:
    """Path of what is there and is called almost the same; empty if there is none.

    Of a path whose folders are misspelt too, the first part that is not there decides.
    """
    above, name = os.path.split(path.rstrip(os.sep))
    missing = ""
    while above and name and not os.path.isdir(above):
        missing = os.path.join(name, missing) if missing else name
        above, name = os.path.split(above)
    found = _nearest_name(above or os.curdir, name)
    if not found:
        return ""
    whole = os.path.join(above, found, missing) if missing else os.path.join(above, found)
    return whole if os.path.lexists(whole) else os.path.join(above, found)


def _nearest_name(folder: str, name: str) -> str:
    """Name in a folder, the same but for case, Unicode form and suffix sooner than one with a wrong letter."""
    listing = Listing(folder)
    return next((other for _, other in listing.like(name)), "") or listing.nearest(name)


def holds(folder: str) -> str:
    """What lies directly in a folder, by suffix, most often first; empty if it is not there or empty."""
    counts: Counter[str] = Counter()
    for name in Listing(folder).names:
        if not name.startswith("."):
            is_folder = os.path.isdir(os.path.join(folder, name))
            counts["folders" if is_folder else os.path.splitext(name)[1] or "without suffix"] += 1
    most = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:5]
    return ", ".join(f"{count} {suffix}" for suffix, count in most)
