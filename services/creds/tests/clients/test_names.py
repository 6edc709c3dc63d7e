import random
import re

from creds.clients.model import check_username, checked_common_name
from creds.clients.names import ADJECTIVES, NOUNS, generate_name


def test_there_are_names_enough_and_each_is_different() -> None:
    assert len(set(ADJECTIVES)) == len(ADJECTIVES)
    assert len(set(NOUNS)) == len(NOUNS)
    assert len(ADJECTIVES) * len(NOUNS) > 10_000


def test_a_name_is_two_words_that_can_be_a_username_and_a_common_name() -> None:
    assert generate_name(lambda words: words[0]) == "able-acorn"
    picking = random.Random(7)
    for _ in range(50):
        name = generate_name(picking.choice)
        assert re.fullmatch("[a-z]+-[a-z]+", name)
        check_username(name)
        checked_common_name(name)
