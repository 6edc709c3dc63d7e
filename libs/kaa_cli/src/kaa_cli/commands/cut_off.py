"""The receipt of a withdrawal, for people: who confirmed that it is out of use, and who did not yet."""

from typing import Any


def show_receipt(receipt: Any) -> str:
    """One line for what is confirmed, one more for what is pending, if anything is."""
    confirmed, pending = receipt["confirmed"], receipt["pending"]
    sessions = sum(confirmation["endedSessions"] for confirmation in confirmed)
    lines = [
        f"cut off on {_count(len(confirmed), 'replica')} within {receipt['milliseconds']:g} ms, "
        f"{_count(sessions, 'session')} ended"
    ]
    if pending:
        lines.append(f"not confirmed by {', '.join(pending)}: out of use there as soon as it is back, at the latest")
    return "\n".join(lines)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
