from kaa_cli.tables import fields, metadata_table, page_table, table

COLUMNS = {"NAME": "name", "VERSION": "appVersion.name"}


def test_columns_are_as_wide_as_their_widest_value() -> None:
    rows = [{"name": "a", "appVersion": {"name": "weather-v1"}}, {"name": "longer", "appVersion": {"name": "b"}}]
    assert table(COLUMNS, rows) == "NAME    VERSION\na       weather-v1\nlonger  b"


def test_an_empty_table_is_its_headings() -> None:
    assert table(COLUMNS, []) == "NAME  VERSION"


def test_a_row_shows_a_dash_for_what_it_does_not_have() -> None:
    assert table(COLUMNS, [{"name": None}]) == "NAME  VERSION\n-     -"


def test_a_page_says_how_much_there_is_beyond_it() -> None:
    assert page_table(COLUMNS, {"content": [{"name": "a"}], "totalElements": 7}).endswith("\n(1 of 7)")


def test_fields_leave_out_what_is_absent() -> None:
    assert fields({"name": "name", "display name": "displayName"}, {"name": "weather"}) == "name  weather"


def test_metadata_is_shown_as_json_sorted_by_key() -> None:
    assert (
        metadata_table({"model": "BFG 9000", "level": 3, "b": None}) == '  b      null\n  level  3\n  model  "BFG 9000"'
    )


def test_control_characters_do_not_reach_the_terminal() -> None:
    rows = [{"name": "a\x1b[2J\x9b1m", "appVersion": {"name": "b\nc"}}]
    assert (
        table(COLUMNS, rows).splitlines()[1]
        == "a\N{REPLACEMENT CHARACTER}[2J\N{REPLACEMENT CHARACTER}1m  b\N{REPLACEMENT CHARACTER}c"
    )
    assert "\x1b" not in metadata_table({"key\x1b": "\x1b\x9b"})
    assert "\x9b" not in metadata_table({"key": "\x9b"})
