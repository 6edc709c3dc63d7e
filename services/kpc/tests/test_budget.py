from kpc.budget import Budget


def test_a_budget_is_exhausted_when_it_is_spent_and_comes_back_with_time() -> None:
    now = 100.0
    budget = Budget(2, 0.5, lambda: now)
    budget.spend()
    assert not budget.is_exhausted
    budget.spend()
    assert budget.is_exhausted
    now += 1.9
    assert budget.is_exhausted
    now += 0.2
    assert not budget.is_exhausted


def test_a_budget_never_holds_more_than_its_capacity_nor_less_than_nothing() -> None:
    now = 0.0
    budget = Budget(1, 1, lambda: now)
    now = 1000.0
    for _ in range(5):
        budget.spend()
    assert budget.is_exhausted
    now += 1.1
    assert not budget.is_exhausted
