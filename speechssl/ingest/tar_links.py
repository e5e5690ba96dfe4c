"""Hard and symbolic links within a tar: which member's bytes they stand for."""

# Paths within a tar are no paths of this machine.
import posixpath
from collections.abc import Iterable

from speechssl.shards.tar_walk import MemberRange, TarMember

_MAX_STEPS = 40
"""As many as file systems follow; more are a circle."""


class LinkError(Exception):
    """A link that leads to no file of the tar; says where it leads."""


class TarLinks:
    """Finds what links lead to, wherever in the tar it stands.

    A hard link means the last member of that name before it, as it was written, or one that follows; a symbolic link
    means the last one of the whole tar, which is what is there when it is unpacked.
    """

    def __init__(self, members: Iterable[TarMember]) -> None:
        self._by_path: dict[str, list[TarMember]] = {}
        for member in members:
            self._by_path.setdefault(posixpath.normpath(member.name), []).append(member)

    def resolve(self, link: TarMember) -> MemberRange:
        """Where the bytes of a link are.

        Raises:
            LinkError: it leads to nothing, to what is no file, in a circle, or out of the tar.
        """
        member = link
        for _ in range(_MAX_STEPS):
            if member.kind == "file":
                return member.content
            if member.kind not in ("hard link", "symbolic link"):
                raise LinkError(f"a link to {member.name}, which is no file")
            member = self._next(member)
        raise LinkError(f"a link to {link.target}, which leads in a circle")

    def _next(self, link: TarMember) -> TarMember:
        """Member that a link names, which may be another link."""
        is_hard = link.kind == "hard link"
        named = self._by_path.get(posixpath.normpath(link.target), []) if is_hard else []
        if not named:
            folder = "" if is_hard else posixpath.dirname(link.name)
            named = self._by_path.get(self._inside(folder, link.target), [])
        named = [member for member in named if member.offset != link.offset or not is_hard]
        if not named:
            raise LinkError(f"a link to {link.target}, which is not in the tar")
        before = [member for member in named if member.offset < link.offset]
        found = (before[-1] if before else named[0]) if is_hard else named[-1]
        # Another name of a symbolic link leads on from where that name is.
        return found._replace(name=link.name) if is_hard and found.kind == "symbolic link" else found

    def _inside(self, folder: str, target: str) -> str:
        """Path in the tar of what a symbolic link in a folder names, through links to folders."""
        for _ in range(_MAX_STEPS):
            path = posixpath.normpath(posixpath.join(folder, target))
            if target.startswith("/") or path.split("/")[0] == posixpath.pardir:
                raise LinkError(f"a link to {target}, which is outside the tar")
            parts = path.split("/")
            above = ("/".join(parts[:i]) for i in range(1, len(parts)))
            link = next((link for part in above if (link := self._link_at(part)) is not None), None)
            if link is None:
                return path
            # What follows the folder's own link is meant in the folder that the link leads to.
            rest = path[len(posixpath.normpath(link.name)) + 1 :]
            folder, target = posixpath.dirname(link.name), posixpath.join(link.target, rest)
        raise LinkError(f"a link to {target}, which leads in a circle")

    def _link_at(self, path: str) -> TarMember | None:
        members = self._by_path.get(path, [])
        return members[-1] if members and members[-1].kind == "symbolic link" else None
