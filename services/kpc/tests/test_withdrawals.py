from kpc.withdrawals import Withdrawals


def test_only_what_was_withdrawn_after_the_question_is_later() -> None:
    withdrawals = Withdrawals(10, 30)
    withdrawals.add("before")
    asked_at = withdrawals.latest
    withdrawals.add("after")
    assert not withdrawals.are_later("before", asked_at)
    assert withdrawals.are_later("after", asked_at)
    assert not withdrawals.are_later("after", withdrawals.latest)


def test_what_may_have_been_missed_was_everything() -> None:
    withdrawals = Withdrawals(10, 30)
    asked_at = withdrawals.latest
    withdrawals.add_everything()
    assert withdrawals.are_later("anything", asked_at)
    assert not withdrawals.are_later("anything", withdrawals.latest)


def test_more_than_can_be_remembered_are_those_of_everything() -> None:
    withdrawals = Withdrawals(2, 30)
    asked_at = withdrawals.latest
    for one in "abc":
        withdrawals.add(one)
    assert all(withdrawals.are_later(one, asked_at) for one in "abcd")
    assert not withdrawals.are_later("c", withdrawals.latest)
