from kpc.budget import Budget


def exhausted_after(seconds: float) -> bool:
    """Whether a budget of two units, all spent, is exhausted that much later."""
    moments = iter([100.0, 100.0, 100.0, 100.0 + seconds])
    budget = Budget(2, 0.5, lambda: next(moments))
    budget.spend()
    budget.spend()
    return budget.is_exhausted


def test_a_budget_lasts_until_it_is_spent() -> None:
    budget = Budget(2, 0.5, lambda: 100.0)
    budget.spend()
    assert not budget.is_exhausted


def test_a_spent_budget_comes_back_with_time() -> None:
    assert exhausted_after(0)
    assert exhausted_after(1.9)
    assert not exhausted_after(2.1)


def test_a_budget_never_holds_more_than_its_capacity_nor_less_than_nothing() -> None:
    now = 0.0
    budget = Budget(1, 1, lambda: now)
    now = 1000.0
    for _ in range(5):
        budget.spend()
    assert budget.is_exhausted
    now += 1.1
    assert not budget.is_exhausted
