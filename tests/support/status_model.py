"""What tokens and client credentials must do, as a model: the states that answers at the same time leave possible.

Each round is done by its clients at the same time. What they are answered must be what one of the orders of the round
explains, so the model is a set of the states that are still possible.
"""

import itertools
from collections.abc import Iterable

from creds.model import REFUSED, TRANSITIONS, TokenStatus

DELETED = None
Model = TokenStatus | None
USE, DELETE = "use", "delete"
Step = str
"""USE, DELETE, or a status to change into."""
Answered = tuple[Step, int]
"""A step and the status code of its answer."""


def expected(state: Model, step: Step) -> tuple[int, Model]:
    """Status code and what follows, by the one table."""
    if state is DELETED:
        return 404, DELETED
    if step == DELETE:
        return 200, DELETED
    if step == USE:
        return (403, state) if state in REFUSED else (200, TokenStatus.ACTIVE)
    target = TokenStatus(step)
    return (200, target) if target in TRANSITIONS[state] else (409, state)


def explained(possible: Iterable[Model], answers: list[Answered]) -> set[Model]:
    """The states after the answers, in any order of them that gives just these."""
    after: set[Model] = set()
    for start, order in itertools.product(possible, itertools.permutations(answers)):
        state = start
        for step, answered in order:
            status_code, state = expected(state, step)
            if status_code != answered:
                break
        else:
            after.add(state)
    return after


def withdrawals(answers: list[Answered]) -> int:
    """How many of the steps ended a use, each of which is announced."""
    return sum(code == 200 and step in (*REFUSED, DELETE) for step, code in answers)
