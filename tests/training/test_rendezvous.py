"""How processes find each other, here threads of one: who comes, who does not, and who says so."""

import socket
import threading
from collections.abc import Callable

import pytest
from forked_ranks import free_port

from speechssl.errors import LaunchError, RankError, UserError
from speechssl.training import rendezvous
from speechssl.training.rendezvous import Meeting


def hold(*meetings: Meeting) -> list[UserError | None]:
    """What comes of several meetings at once."""
    ends: list[UserError | None] = [None] * len(meetings)
    stores = []

    def come(number: int) -> None:
        try:
            stores.append(meetings[number].hold())
        except UserError as error:
            ends[number] = error

    threads = [threading.Thread(target=come, args=(number,), daemon=True) for number in range(len(meetings))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()
    return ends


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Meeting]:
    """Makes meetings at one address, which wait and speak sooner than for people."""
    monkeypatch.setattr(rendezvous, "_QUIET_SECONDS", 0.3)
    address = ("127.0.0.1", free_port())
    return lambda rank, world_size, seconds=20.0: Meeting(rank, world_size, address, seconds=seconds)


def test_all_meet_whoever_comes_first(at: Callable[..., Meeting]) -> None:
    assert hold(at(2, 3), at(0, 3), at(1, 3)) == [None] * 3


def test_who_is_awaited_is_told_until_it_has_been_too_long(
    at: Callable[..., Meeting], capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = hold(at(0, 3, 1.5), at(1, 3, 1.5))
    assert isinstance(first, LaunchError)
    assert "for 3 processes at 127.0.0.1:" in str(first)
    assert "2 are here" in str(first)
    assert isinstance(second, (RankError, LaunchError))
    assert capsys.readouterr().err.count("waiting for 3 processes at 127.0.0.1:") == 1


def test_a_first_process_that_nobody_has_started_is_named(
    at: Callable[..., Meeting], capsys: pytest.CaptureFixture[str]
) -> None:
    [end] = hold(at(1, 2, 1.0))
    assert isinstance(end, LaunchError), "nobody else could say it"
    assert "the first of 2 processes at 127.0.0.1:" in str(end)
    assert "refused" in str(end)
    assert "waiting for the first of 2 processes" in capsys.readouterr().err


def test_a_port_that_is_taken_is_named(at: Callable[..., Meeting]) -> None:
    meeting = at(0, 2)
    with socket.socket() as other:
        other.bind(("", meeting.address[1]))
        other.listen()
        [end] = hold(meeting)
    assert isinstance(end, LaunchError)
    assert f"port {meeting.address[1]} of this machine is taken" in str(end)


@pytest.mark.parametrize(
    ("places", "problem"),
    [([(0, 2), (1, 3)], "WORLD_SIZE is"), ([(0, 3), (1, 3), (1, 3)], "two processes of this run have rank 1")],
    ids=["sizes", "ranks"],
)
def test_processes_that_differ_on_their_number_or_rank_end_at_once(
    at: Callable[..., Meeting], places: list[tuple[int, int]], problem: str
) -> None:
    ends = hold(*(at(*place) for place in places))
    assert all(problem in str(end) for end in ends)
    assert [type(end) for end in ends].count(LaunchError) == 1
    assert [type(end) for end in ends].count(RankError) == len(places) - 1
