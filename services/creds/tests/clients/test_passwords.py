from collections.abc import AsyncIterator
from typing import Literal

import pytest
from argon2 import PasswordHasher, extract_parameters
from argon2.low_level import Type

from creds.clients.passwords import MEMORY_COST, PARALLELISM, TIME_COST, Passwords
from creds.clients.workers import Workers


class CountingHasher(PasswordHasher):
    """A cheap one that knows how often it was asked."""

    verified = 0

    def verify(self, hash: str | bytes, password: str | bytes) -> Literal[True]:  # noqa: A002 # the name in argon2
        self.verified += 1
        return super().verify(hash, password)


@pytest.fixture
def hasher() -> CountingHasher:
    return CountingHasher(time_cost=1, memory_cost=8, parallelism=1)


@pytest.fixture
async def passwords(hasher: CountingHasher) -> AsyncIterator[Passwords]:
    with Workers("a password", 2, 10) as workers:
        passwords = Passwords(hasher, workers)
        await passwords.start()
        yield passwords


async def test_a_password_matches_its_hash_alone(passwords: Passwords) -> None:
    kept = await passwords.hash("correct horse")
    assert kept.startswith("$argon2id$")
    assert "horse" not in kept
    assert kept != await passwords.hash("correct horse")
    assert await passwords.matches(kept, "correct horse", b"1")
    assert not await passwords.matches(kept, "battery staple", b"2")


async def test_nobody_has_a_password_and_that_takes_as_long(passwords: Passwords, hasher: CountingHasher) -> None:
    assert not await passwords.matches(None, "correct horse", b"1")
    assert hasher.verified == 1


async def test_only_what_was_right_is_remembered(passwords: Passwords) -> None:
    kept = await passwords.hash("correct horse")
    right = passwords.fingerprint(kept, "tenant", "user", "correct horse")
    wrong = passwords.fingerprint(kept, "tenant", "user", "battery staple")
    await passwords.matches(kept, "correct horse", right)
    await passwords.matches(kept, "battery staple", wrong)
    assert passwords.is_remembered(right)
    assert not passwords.is_remembered(wrong)


async def test_another_hash_user_or_password_is_another_fingerprint(passwords: Passwords) -> None:
    asked = [
        ("h", "t", "u", "p"),
        ("g", "t", "u", "p"),
        ("h", "s", "u", "p"),
        ("h", "t", "v", "p"),
        ("h", "t", "u", "q"),
    ]
    prints = {passwords.fingerprint(kept, *parts) for kept, *parts in asked}
    assert len(prints) == 5
    assert not any(one == b"p" or len(one) != 32 for one in prints)


def test_the_parameters_are_those_of_the_decision() -> None:
    parameters = extract_parameters(PasswordHasher(TIME_COST, MEMORY_COST, PARALLELISM).hash("x"))
    assert (parameters.type, parameters.time_cost, parameters.memory_cost) == (Type.ID, 2, 19 * 1024)
    assert (parameters.parallelism, parameters.salt_len, parameters.hash_len) == (1, 16, 32)
