"""What may not stand in a log, whatever happened."""

TOKEN = "TokenThatNobodyLogs"
"""All tokens of the tests start so."""
PAYLOAD = "payload-that-nobody-logs"
"""All values that devices set."""


def check_log(name: str, log: str, *secrets: str) -> None:
    """Fail when a service's log has a traceback or a secret in it."""
    assert "ready on port" in log, f"{name} logged nothing, so that nothing is proved"
    for forbidden in ("Traceback", " ERROR ", TOKEN, PAYLOAD, *secrets):
        lines = [line for line in log.splitlines() if forbidden in line]
        assert not lines, f"{name} logged {forbidden!r}:\n{log[-4000:]}"
