"""Texts without credentials, for messages and logs."""

import re

ADDRESS = re.compile(r"\b([a-zA-Z][a-zA-Z0-9+.-]*)://([^/\s]*)(\S*)")


def redact_addresses(text: str) -> str:
    """A text whose addresses have no credentials."""

    def bare(match: re.Match[str]) -> str:
        scheme, host, rest = match.groups()
        # Elsewhere than in http a question mark may stand for any letter.
        rest = re.sub(r"[?#].*" if scheme.lower() in ("http", "https") else r"\?[^?]*=.*", "", rest)
        host = host.rpartition("@")[2].partition("?")[0]
        return f"{scheme}://{host}{rest}"

    return ADDRESS.sub(bare, text)
