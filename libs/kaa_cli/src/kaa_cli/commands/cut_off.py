"""The receipt of a withdrawal, for people: who confirmed that it is out of use, and who did not yet."""

from typing import Any

from kaa_cli.tables import printable


def show_receipt(receipt: Any) -> str:
    """One line for what is confirmed, one more for what is pending, if anything is."""
    confirmed, pending = receipt["confirmed"], receipt["pending"]
    if not confirmed and not pending:
        return "nobody to cut off: no communication replica is known"
    sessions = sum(confirmation["endedSessions"] for confirmation in confirmed)
    replicas = _count(len(confirmed) + len(pending), "replica")
    first = f"cut off on {f'{len(confirmed)} of ' if pending else ''}{replicas} within {receipt['milliseconds']:g} ms"
    lines = [f"{first}, {_count(sessions, 'session')} ended"]
    if pending:
        names = ", ".join(map(printable, pending))
        lines.append(f"not confirmed by {names}: out of use there as soon as it is back, at the latest")
    return "\n".join(lines)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
