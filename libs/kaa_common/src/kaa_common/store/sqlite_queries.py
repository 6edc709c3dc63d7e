"""Queries as conditions of SQL, for documents whose `queried` members SQLite can look into [pure].

What SQL does not say is left to the matcher (`sqlite_conditions`): elements of arrays, patterns, paths that go through
arrays, numbers that are nearly equal, documents that are not laid out. Equality is that of JSON texts, of which a
scalar has very few; numbers are compared with a margin, as SQLite does not read them to the last bit.
"""

from collections.abc import Sequence
from typing import Any, Final

import orjson

from kaa_common.store.documents import LARGEST_INTEGER, SMALLEST_INTEGER
from kaa_common.store.matcher import is_condition, is_element_condition
from kaa_common.store.port import PRIMARY_KEY, Collection, Document
from kaa_common.store.regex import literal_runs
from kaa_common.store.sqlite_conditions import ALWAYS, PERHAPS, Condition, Parameters, Place, all_of, any_of, json_path

QUERIED: Final = "d.queried"

_TYPES: Final = {
    "null": ("null",),
    "bool": ("true", "false"),
    "number": ("integer", "real"),
    "string": ("text",),
    "object": ("object",),
    "array": ("array",),
}
"""Those of `$type`, as `json_type` calls them."""
_COMPARISONS: Final = {"$gt": (">", False), "$gte": (">", True), "$lt": ("<", False), "$lte": ("<", True)}
"""The operator, and whether what is equal is meant too."""
_OF_SOMETHING: Final = frozenset(["$eq", "$in", "$gt", "$gte", "$lt", "$lte", "$regex", "$options", "$type", "$size"])
"""Operators that hold of no value that is not there, and of which SQL has something to say."""
_NEARLY: Final = 1e-12
"""How far from another a number must be, in proportion, to be surely the larger one; SQLite reads them to 1e-15."""
_NEARLY_ZERO: Final = 1e-300
_LIKE_ALSO_OTHER_CASES: Final = frozenset("iksIKS")
"""Letters to which case means more than ASCII: a dotless i, the sign for kelvin, a long s."""
_MAX_TEXT: Final = 128
"""Characters of a text that is looked for."""
_RARE: Final = 2
"""Characters of a text that most rows do not have."""
_AS_TEXT: Final = f"CAST({QUERIED} AS TEXT)"
"""Strings and numbers are in SQLite's own form as in JSON; it has no NUL, at which LIKE ends (`sqlite_file`)."""


def condition_of(query: Document, collection: Collection, parameters: Parameters) -> Condition:
    """What SQL can say of a checked query (`compile_query`) for the rows of a collection."""
    condition = _Translation(collection, parameters).query(query)
    if condition == ALWAYS:
        return condition
    # What is not laid out SQL says nothing about.
    return all_of([any_of([condition, Condition(f"{QUERIED} IS NULL", "0")]), Condition("1", f"{QUERIED} IS NOT NULL")])


class _Translation:
    def __init__(self, collection: Collection, parameters: Parameters) -> None:
        self._queried = collection.queried
        self._keyed = collection.keyed
        self._parameters = parameters

    def query(self, source: Document) -> Condition:
        return all_of(self._clause(path, value) for path, value in source.items())

    def _clause(self, path: str, value: Any) -> Condition:
        match path:
            case "$and":
                return all_of(map(self.query, value))
            case "$or":
                return any_of(map(self.query, value))
            case "$nor":
                return ~any_of(map(self.query, value))
        if path == PRIMARY_KEY:
            return self._of_id(value)
        steps = path.split(".")
        if steps[0] == self._keyed:
            return self._of_keyed(path, value)
        if steps[0] not in self._queried:
            return PERHAPS
        match value:
            case {"$regex": str(pattern)} if len(steps) == 1:
                return self._has_run(_AS_TEXT, pattern, bool(value.get("$options"))) & PERHAPS
        return self._of_value(steps, value, certain_steps=0)

    def _of_id(self, value: Any) -> Condition:
        match value:
            case {"$regex": str(pattern)}:
                return self._has_run("d.id", pattern, bool(value.get("$options"))) & PERHAPS
        return PERHAPS

    def _of_keyed(self, path: str, value: Any) -> Condition:
        if path == f"{self._keyed}.value":
            return self._anywhere(value)
        if path != self._keyed or not is_condition(value):
            return PERHAPS
        return all_of(self._of_elements(operator, operand) for operator, operand in value.items())

    def _of_elements(self, operator: str, operand: Any) -> Condition:
        if operator == "$not":
            return ~self._of_keyed(str(self._keyed), operand)
        if operator != "$elemMatch" or is_element_condition(operand):
            return PERHAPS
        match operand.get("key"):
            case (str(key) | {"$eq": str(key)}) as condition if not _has_more(condition):
                keys = [key]
            case {"$in": list(keys), **more} if not more and all(isinstance(key, str) for key in keys):
                pass
            case _:
                return PERHAPS
        rest = [(path, value) for path, value in operand.items() if path != "key"]
        # Each key is there once, so one and the same element has to have all that is asked for.
        return any_of(self._of_entry(key, rest) for key in keys)

    def _of_entry(self, key: str, rest: Sequence[tuple[str, Any]]) -> Condition:
        steps = [str(self._keyed), key]
        path = json_path(steps)
        if path is None:
            return PERHAPS
        present = Condition.exactly(f"{Place(QUERIED, self._parameters(path)).type} IS NOT NULL")
        conditions = [
            self._of_value([*steps, *inner], value, certain_steps=2) if first == "value" else PERHAPS
            for (first, *inner), value in ((path.split("."), value) for path, value in rest)
        ]
        if conditions and not any(_may_hold_of_nothing(path, value) for path, value in rest):
            return all_of(conditions)
        return all_of([present, *conditions])

    def _of_value(self, steps: Sequence[str], value: Any, *, certain_steps: int) -> Condition:
        """A condition on what is found by a path, of which the first steps are known to lead somewhere."""
        path = json_path(steps)
        if path is None:
            return PERHAPS
        place = Place(QUERIED, self._parameters(path))
        condition = self._at(place, value, may_be_missing=len(steps) > certain_steps)
        before = [json_path(steps[:length]) for length in range(max(certain_steps, 1), len(steps))]
        through_array = any_of(
            Condition(f"{Place(QUERIED, self._parameters(one)).type} IS 'array'", "0") for one in before
        )
        return all_of([any_of([condition, through_array]), ~through_array])

    def _at(self, place: Place, value: Any, *, may_be_missing: bool) -> Condition:
        if not is_condition(value):
            return self._equal(place, [value], may_be_missing)
        return all_of(
            self._operation(place, operator, operand, value, may_be_missing) for operator, operand in value.items()
        )

    def _operation(self, place: Place, operator: str, operand: Any, value: Document, may_be_missing: bool) -> Condition:
        match operator:
            case "$eq" | "$ne" | "$in" | "$nin":
                equal = self._equal(place, operand if operator.endswith("in") else [operand], may_be_missing)
                return ~equal if operator.startswith("$n") else equal
            case "$not":
                return ~self._at(place, operand, may_be_missing=may_be_missing)
            case "$exists":
                present = Condition.exactly(f"{place.type} IS NOT NULL")
                return present if operand else ~present
            case "$type":
                names = operand if isinstance(operand, list) else [operand]
                types = [name for one in names for name in _TYPES[one]]
                return Condition(place.is_of([*types, "array"]), place.is_of(types))
            case "$size":
                length = f"json_array_length({place.column}, {place.path})"
                return Condition.exactly(f"({place.is_of(['array'])} AND {length} = {operand:d})")
            case "$elemMatch":
                return Condition(place.is_of(["array"]), "0")
            case "$gt" | "$gte" | "$lt" | "$lte":
                return self._compared(place, operator, operand)
            case "$regex":
                ignores_case = bool(value.get("$options"))
                runs = [self._has_run(one, operand, ignores_case) for one in (_AS_TEXT, place.content)]
                return all_of([*runs, Condition(place.is_of(["text", "array"]), "0")])
            case "$options":
                return ALWAYS
        return PERHAPS

    def _equal(self, place: Place, literals: Sequence[Any], may_be_missing: bool) -> Condition:
        """Equality with one of them; an array is equal also to each of its elements."""
        alternatives: list[Condition] = []
        texts = [text for literal in literals for text in _texts(literal)]
        if texts:
            alternatives.append(Condition.exactly(place.has_text(map(self._parameters, texts))))
        if any(isinstance(literal, dict) for literal in literals):
            alternatives.append(Condition(place.is_of(["object"]), "0"))
        if may_be_missing and None in literals:
            alternatives.append(Condition.exactly(f"{place.type} IS NULL"))
        found = any_of([*alternatives, Condition(place.is_of(["array"]), "0")])
        core = min(texts, key=len, default="").strip('"')
        has_core = all(type(literal) in (int, float, str) for literal in literals) and all(core in one for one in texts)
        if has_core and len(core) >= _RARE:
            # Sooner seen than anything is found by a path.
            return Condition.exactly(self._is_like(_AS_TEXT, _escaped(core))) & found
        return found

    def _compared(self, place: Place, operator: str, bound: Any) -> Condition:
        comparison, or_equal = _COMPARISONS[operator]
        if isinstance(bound, str):
            is_so = f"ifnull({place.content} {comparison}{'=' if or_equal else ''} {self._parameters(bound)}, 0)"
            is_text = f"({is_so} AND {place.is_of(['text'])})"
            # To SQL an array is a text that begins with a bracket.
            if bound < "[" if comparison == ">" else bound[:1] > "[":
                return Condition(f"({is_so} AND {place.is_of(['text', 'array'])})", is_text)
            return any_of([Condition.exactly(is_text), Condition(place.is_of(["array"]), "0")])
        if isinstance(bound, bool) or not isinstance(bound, int | float):
            return PERHAPS
        margin = max(abs(float(bound)) * _NEARLY, _NEARLY_ZERO)
        below, above = self._parameters(float(bound) - margin), self._parameters(float(bound) + margin)
        equal = place.has_text(map(self._parameters, _texts(bound)))
        if comparison == ">":
            too_far, surely = f"-9e999 AND {below}", f"ifnull({place.content} > {above}, 0)"
        else:
            too_far, surely = f"{above} AND 9e999", f"ifnull({place.content} < {below}, 0)"
        # First what says most at the least cost: strings and arrays are between no numbers.
        possible = [
            f"ifnull({place.content} NOT BETWEEN {too_far}, 0)",
            place.is_of(["integer", "real", "array"]),
            *([] if or_equal else [f"({surely} OR {place.type} IS 'array' OR NOT {equal})"]),
        ]
        certain = [f"({surely} OR {equal})" if or_equal else surely, place.is_of(["integer", "real"])]
        return Condition(f"({' AND '.join(possible)})", f"({' AND '.join(certain)})")

    def _anywhere(self, value: Any) -> Condition:
        """A condition on the value of any entry."""
        match value:
            case {"$regex": str(pattern)}:
                return self._has_run(_AS_TEXT, pattern, bool(value.get("$options"))) & PERHAPS
            case bool():
                return Condition(self._is_like(f"json({QUERIED})", _dumped(value)), "0")
            case int() | float():
                return any_of(Condition(self._is_like(_AS_TEXT, text), "0") for text in _texts(value))
        return PERHAPS

    def _has_run(self, content: str, pattern: str, ignores_case: bool) -> Condition:
        """That a text has the longest run of a pattern that JSON writes as it is."""
        runs: list[str] = []
        for run in literal_runs(pattern):
            runs += "".join(one if " " <= one <= "~" and one not in '"\\' else "\0" for one in run).split("\0")
        longest = max(runs, key=len, default="")
        return Condition.exactly(self._is_like(content, _escaped(longest, ignores_case))) if longest else ALWAYS

    def _is_like(self, content: str, escaped: str) -> str:
        return f"ifnull({content} LIKE {self._parameters(f'%{escaped}%')} ESCAPE '\\', 0)"


def _escaped(text: str, ignores_case: bool = False) -> str:
    return "".join(
        f"\\{one}" if one in "\\%_" else "_" if ignores_case and one in _LIKE_ALSO_OTHER_CASES else one
        for one in text[:_MAX_TEXT]
    )


def _may_hold_of_nothing(path: str, value: Any) -> bool:
    """Whether it has to be said that there is something; what is equal to, greater than... something says it itself."""
    return path != "value" or (is_condition(value) and not _OF_SOMETHING.issuperset(value))


def _has_more(condition: Any) -> bool:
    return isinstance(condition, dict) and len(condition) > 1


def _dumped(value: Any) -> str:
    return orjson.dumps(value).decode()


def _texts(literal: Any) -> list[str]:
    """The JSON of every scalar that is equal to this one."""
    if isinstance(literal, bool) or not isinstance(literal, int | float):
        return [] if isinstance(literal, dict | list) else [_dumped(literal)]
    if literal == 0:
        return ["0", "0.0", "-0.0"]
    same: list[int | float] = [literal]
    if isinstance(literal, int) and float(literal) == literal:
        same.append(float(literal))
    elif isinstance(literal, float) and literal.is_integer() and SMALLEST_INTEGER <= literal <= LARGEST_INTEGER:
        same.append(int(literal))
    return [_dumped(number) for number in same]
