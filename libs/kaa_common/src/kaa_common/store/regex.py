"""The patterns `$regex` allows: those that any engine matches in time proportional to the text [pure].

A pattern is a row of literals, `.`, character classes and the shorthands \\d \\w \\s, with `^` at its beginning and
`$` at its end if it shall match there only. There are no quantifiers, groups or alternatives: those are what makes
backtracking engines (Python's and MongoDB's alike) explode; `$or` and several `$regex` say the same in safe terms.
Shorthands are spelled out, because the engines disagree on which characters beyond ASCII they mean.
"""

import re
from typing import Final

from kaa_common.store.port import QueryError

MAX_PATTERN: Final = 128  # matching costs at most this many steps for each character of the text

_SHORTHAND_MEMBERS: Final = {"d": "0-9", "w": "A-Za-z0-9_", "s": r" \t\n\r\f\x0b"}  # PCRE's \v is a class
# Unescaped & ~ | and doubled - are left out: Python reserves them inside classes.
_CLASS: Final = r"\[\^?(?:(?!--)[^\[\]\\&~|]|\\[^A-Za-z0-9]|\\[dwstnr])+\]"
_TOKEN: Final = re.compile(
    rf"(?P<char_class>{_CLASS})|(?P<escape>\\[^A-Za-z0-9]|\\[dwstnr])|(?P<plain>[^\\\[\](){{}}*+?|^$])"
)
_SHORTHAND: Final = re.compile(r"\\(.)", re.DOTALL)


def compile_pattern(pattern: str, options: str) -> tuple[str, re.Pattern[str]]:
    """Return the pattern as both engines understand it, and Python's compiled form; raise QueryError if refused."""
    if len(pattern) > MAX_PATTERN:
        raise QueryError(f"$regex is longer than {MAX_PATTERN} characters")
    if options not in ("", "i"):
        raise QueryError("$options may only be 'i'")
    if "\0" in pattern:
        raise QueryError("$regex must not contain NUL")
    spelled_out = _spell_out(pattern)
    try:
        return spelled_out, re.compile(spelled_out, re.IGNORECASE if options else 0)
    except re.error as exc:
        raise QueryError(f"$regex is malformed: {exc.msg}") from exc


def literal_runs(pattern: str) -> list[str]:
    """The texts without a gap that a pattern consists of; a pattern that is refused may have any."""
    runs = [""]
    for token in _TOKEN.finditer(pattern.removeprefix("^").removesuffix("$")):
        if token["plain"] not in (None, "."):
            runs[-1] += token["plain"]
        elif token["escape"] is not None and not token["escape"][1].isalnum():
            runs[-1] += token["escape"][1]
        else:
            runs.append("")
    return [run for run in runs if run]


def _spell_out(pattern: str) -> str:
    tokens = ["^"] if pattern.startswith("^") else []
    position = len(tokens)
    while position < len(pattern):
        if pattern[position:] == "$":
            tokens.append("$")
            break
        token = _TOKEN.match(pattern, position)
        if token is None:
            raise QueryError(
                f"$regex has {pattern[position]!r} at {position}: only literals, '.', classes, \\d \\w \\s, "
                "a leading '^' and a final '$' are supported"
            )
        expand = _expand if token["char_class"] is None else _expand_in_class
        tokens.append(_SHORTHAND.sub(expand, token[0]))
        position = token.end()
    return "".join(tokens)


def _expand_in_class(escape: re.Match[str]) -> str:
    return _SHORTHAND_MEMBERS.get(escape[1], escape[0])


def _expand(escape: re.Match[str]) -> str:
    members = _SHORTHAND_MEMBERS.get(escape[1])
    return escape[0] if members is None else f"[{members}]"
