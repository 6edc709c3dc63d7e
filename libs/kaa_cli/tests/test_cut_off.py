from kaa_cli.commands.cut_off import show_receipt


def test_a_receipt_says_who_confirmed_and_how_many_sessions_ended() -> None:
    confirmed = [{"replicaId": name, "endedSessions": 1, "milliseconds": 3.5} for name in ("kpc-1", "kpc-2")]
    receipt = {"confirmed": confirmed, "pending": [], "milliseconds": 4.25}
    assert show_receipt(receipt) == "cut off on 2 replicas within 4.25 ms, 2 sessions ended"


def test_a_receipt_names_who_did_not_confirm() -> None:
    confirmed = [{"replicaId": "kpc-1", "endedSessions": 1, "milliseconds": 3.0}]
    receipt = {"confirmed": confirmed, "pending": ["kpc-2", "kpc-3\x1b"], "milliseconds": 1000.0}
    first, second = show_receipt(receipt).splitlines()
    assert first == "cut off on 1 of 3 replicas within 1000 ms, 1 session ended"
    assert second.startswith("not confirmed by kpc-2, kpc-3\N{REPLACEMENT CHARACTER}:")


def test_a_receipt_says_when_there_was_nobody() -> None:
    assert show_receipt({"confirmed": [], "pending": [], "milliseconds": 0.1}).startswith("nobody to cut off")
