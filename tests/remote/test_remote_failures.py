"""What a failure means."""

from typing import Any

import pytest

from speechssl.remote.failures import judge


class AnswerError(Exception):
    """As the libraries have it."""

    def __init__(self, **fields: Any) -> None:
        super().__init__("something at https://me:secret@host/x?secret")
        vars(self).update(fields)


def botocore_answer(status: int, **headers: str) -> AnswerError:
    return AnswerError(response={"ResponseMetadata": {"HTTPStatusCode": status, "HTTPHeaders": headers}})


HttpError = type("HttpError", (AnswerError,), {})
HTTPClientError = type("HTTPClientError", (AnswerError,), {})


@pytest.mark.parametrize(
    ("error", "is_transient", "reason"),
    [
        (ConnectionResetError(104, "reset by peer"), True, "reset by peer"),
        (TimeoutError(), True, "TimeoutError"),
        (EOFError("5 of 9 bytes"), True, "5 of 9 bytes"),
        (OSError(5, "broken"), True, "broken"),
        (HTTPClientError(), True, "something at https://host/x"),
        (AnswerError(status=500), True, "HTTP 500 Internal Server Error"),
        (AnswerError(status=429), True, "HTTP 429"),
        (AnswerError(status=408), True, "HTTP 408"),
        (AnswerError(status=599), True, "HTTP 599"),
        (AnswerError(status=401), False, "HTTP 401"),
        (AnswerError(status=404), False, "HTTP 404"),
        (botocore_answer(503), True, "HTTP 503"),
        (botocore_answer(403), False, "HTTP 403"),
        (HttpError(code=502), True, "HTTP 502"),
        (AnswerError(code=400), False, "something"),
        (FileNotFoundError("https://me:secret@host"), False, "not found"),
        (PermissionError("https://me:secret@host"), False, "no permission"),
        (ValueError("a malformed address"), False, "malformed"),
        (RuntimeError("no credentials"), False, "no credentials"),
    ],
)
def test_failures_that_may_pass_are_told_from_those_that_will_not(
    error: Exception, is_transient: bool, reason: str
) -> None:
    verdict = judge(error)
    assert verdict.is_transient == is_transient
    assert reason in verdict.reason
    assert "secret" not in verdict.reason


def test_the_cause_of_a_failure_counts() -> None:
    error = OSError(5, "An error occurred")
    error.__cause__ = botocore_answer(403)
    assert not judge(error).is_transient


def test_a_server_may_name_seconds() -> None:
    for value, expected in (("7", 7), ("99999", 600), ("-1", 0), ("soon", 0), ("", 0)):
        assert judge(AnswerError(status=429, headers={"Retry-After": value})).retry_after == expected
    assert judge(botocore_answer(503, **{"retry-after": "9"})).retry_after == 9
