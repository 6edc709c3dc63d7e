"""The allow-listed subset of the MongoDB query language, compiled once into a predicate over documents [pure].

    {path: literal}   {path: {operator: operand, ...}}   {"$and" | "$or" | "$nor": [query, ...]}

The operators are the table `_OPERATORS` plus `$regex` with `$options`; everything else (`$where`, `$expr`, `$text`...)
is refused by not being there. The meaning is MongoDB's: a predicate holds at a path if it holds for any value there, an
array counting as itself and as each of its elements; `$ne`, `$nin` and `$not` negate that; comparisons stay within one
type (numbers of any kind are one); null equals missing; objects are equal if their keys stand in the same order.

A predicate is built by a `Bind`, which says what a test is applied to: the values at a path (where an array is taken
`whole` or also element by element), or one element of an array.
"""

from collections.abc import Callable, Iterable
from operator import ge, gt, le, lt
from typing import Any, Final

import orjson

from kaa_common.store.documents import MISSING, check_value, values_at
from kaa_common.store.port import Document, InvalidDocument, Query, QueryError
from kaa_common.store.regex import compile_pattern

MAX_QUERY_BYTES: Final = 16 * 1024  # a filter is evaluated for every change of every endpoint of an application
MAX_QUERY_NESTING: Final = 16

# Any: tests and operands are arbitrary JSON values, or MISSING.
Test = Callable[[Any], bool]
Predicate = Callable[[Any], bool]
Bind = Callable[[Test, bool], Predicate]

LOGICAL: Final = frozenset({"$and", "$or", "$nor"})


def compile_query(source: Document) -> Query:
    """Check a query and compile it; raise QueryError with the reason if it is not in the subset."""
    try:
        check_value(source, MAX_QUERY_NESTING)
        size = len(orjson.dumps(source))
    except InvalidDocument as exc:
        raise QueryError(f"in the query {exc}") from exc
    except TypeError as exc:
        raise QueryError("the query is not valid UTF-8") from exc
    if size > MAX_QUERY_BYTES:
        raise QueryError(f"the query is longer than {MAX_QUERY_BYTES} bytes")
    return Query(source=source, matches=_compile_query(source))


def is_condition(value: Any) -> bool:
    """Tell whether what stands at a path is a set of operators, or (False) a literal to be equal to."""
    if not isinstance(value, dict) or not value:
        return False
    operators = [key.startswith("$") for key in value]
    if any(operators) and not all(operators):
        raise QueryError("operators and plain keys are mixed in one object")
    return all(operators)


def is_element_condition(operand: Document) -> bool:
    """Tell whether an `$elemMatch` holds operators for the element itself, or (False) a query for an object in it."""
    return all(key.startswith("$") and key not in LOGICAL for key in operand)


def _compile_query(source: Any) -> Predicate:
    if not isinstance(source, dict):
        raise QueryError("a query must be an object")
    return _all_of([_compile_clause(key, value) for key, value in source.items()])


def _compile_clause(key: str, value: Any) -> Predicate:
    if key in LOGICAL:
        if not isinstance(value, list) or not value:
            raise QueryError(f"{key} needs a non-empty array of queries")
        queries = [_compile_query(query) for query in value]
        if key == "$and":
            return _all_of(queries)
        return _any_of(queries) if key == "$or" else _not(_any_of(queries))
    if key.startswith("$"):
        raise QueryError(f"{key} is not supported here")
    return _compile_condition(value, _at_path(key))


def _compile_condition(value: Any, bind: Bind) -> Predicate:
    if not is_condition(value):
        return bind(_equals(value), False)
    predicates = []
    for operator, operand in value.items():
        if operator in ("$regex", "$options"):
            continue
        if operator not in _OPERATORS:
            raise QueryError(f"{operator} is not supported")
        predicates.append(_OPERATORS[operator](operand, bind))
    if "$regex" in value or "$options" in value:
        predicates.append(bind(_matches_pattern(value.get("$regex"), value.get("$options", "")), False))
    return _all_of(predicates)


def _at_path(dotted: str) -> Bind:
    path = tuple(dotted.split("."))
    if not all(path):
        raise QueryError(f"the path {dotted!r} has an empty part")

    def bind(test: Test, whole: bool) -> Predicate:
        return lambda document: any(map(test, values_at(document, path, elements=not whole)))

    return bind if len(path) > 1 else _at_name(dotted)


def _at_name(name: str) -> Bind:
    """As a path of one part: most are, and this takes a fifth of the time."""

    def bind(test: Test, whole: bool) -> Predicate:
        def holds(document: Document) -> bool:
            value = document.get(name, MISSING)
            return (not whole and type(value) is list and any(map(test, value))) or test(value)

        return holds

    return bind


def _at_element(test: Test, _whole: bool) -> Predicate:
    return test


def _all_of(predicates: list[Predicate]) -> Predicate:
    if len(predicates) == 1:
        return predicates[0]
    if len(predicates) == 2:
        first, second = predicates
        return lambda subject: first(subject) and second(subject)
    return lambda subject: all(predicate(subject) for predicate in predicates)


def _any_of(predicates: list[Predicate]) -> Predicate:
    return lambda subject: any(predicate(subject) for predicate in predicates)


def _not(predicate: Predicate) -> Predicate:
    return lambda subject: not predicate(subject)


def type_of(value: Any) -> str:
    """Return the type bracket a JSON value is compared within."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int | float):
        return "number"
    if isinstance(value, str):
        return "string"
    return "array" if isinstance(value, list) else "object"


def _equal(left: Any, right: Any) -> bool:
    if type_of(left) != type_of(right):
        return False
    if isinstance(left, dict):
        return list(left) == list(right) and all(map(_equal, left.values(), right.values()))
    if isinstance(left, list):
        return len(left) == len(right) and all(map(_equal, left, right))
    return bool(left == right)


def _equals(literal: Any) -> Test:
    if literal is None:
        return lambda value: value is None or value is MISSING
    if isinstance(literal, bool):
        return lambda value: value is literal
    if isinstance(literal, str | int | float):
        return lambda value: bool(value == literal) and not isinstance(value, bool)
    return lambda value: value is not MISSING and _equal(value, literal)


def _check_literals(operand: Any, operator: str) -> None:
    if not isinstance(operand, list) or any(map(is_condition, operand)):
        raise QueryError(f"{operator} needs an array of values")


def _equals_any(literals: Any, operator: str) -> Test:
    _check_literals(literals, operator)
    tests = [_equals(literal) for literal in literals]
    return lambda value: any(test(value) for test in tests)


def _compares(compare: Callable[[Any, Any], bool]) -> Callable[[Any, Bind], Predicate]:
    def build(bound: Any, bind: Bind) -> Predicate:
        bracket = type_of(bound)
        if bracket in ("array", "object"):
            raise QueryError("$gt, $gte, $lt and $lte compare with a number, string, boolean or null only")
        if bound is None:
            return bind(_equals(None) if compare(0, 0) else lambda _value: False, False)
        return bind(lambda value: value is not MISSING and type_of(value) == bracket and compare(value, bound), False)

    return build


def _exists(operand: Any, bind: Bind) -> Predicate:
    if not isinstance(operand, bool):
        raise QueryError("$exists needs true or false")
    present = bind(lambda value: value is not MISSING, True)
    return present if operand else _not(present)


def _size(operand: Any, bind: Bind) -> Predicate:
    if type(operand) is not int or operand < 0:
        raise QueryError("$size needs a non-negative integer")
    return bind(lambda value: isinstance(value, list) and len(value) == operand, True)


def _all(operand: Any, bind: Bind) -> Predicate:
    _check_literals(operand, "$all")
    if not operand:
        return lambda _subject: False
    return _all_of([bind(_equals(literal), False) for literal in operand])


def _elem_match(operand: Any, bind: Bind) -> Predicate:
    if not isinstance(operand, dict) or not operand:
        raise QueryError("$elemMatch needs a non-empty object")
    matches = _compile_condition(operand, _at_element) if is_element_condition(operand) else _object_test(operand)
    return bind(lambda value: isinstance(value, list) and any(map(matches, value)), True)


def _object_test(query: Document) -> Test:
    matches = _compile_query(query)

    def is_such_object(element: Any) -> bool:
        if isinstance(element, dict):
            return matches(element)
        # MongoDB keeps an array as an object with the keys "0", "1" ..., and lets $elemMatch see it as one.
        return isinstance(element, list) and matches({str(i): member for i, member in enumerate(element)})

    return is_such_object


def _negate(operand: Any, bind: Bind) -> Predicate:
    if not is_condition(operand):
        raise QueryError("$not needs an object of operators")
    return _not(_compile_condition(operand, bind))


def _type(operand: Any, bind: Bind) -> Predicate:
    names: Iterable[Any] = operand if isinstance(operand, list) and operand else [operand]
    known = ("null", "bool", "number", "string", "object", "array")
    if any(name not in known for name in names):
        raise QueryError(f"$type needs one or several of {', '.join(known)}")
    return bind(lambda value: value is not MISSING and type_of(value) in names, False)


def _matches_pattern(pattern: Any, options: Any) -> Test:
    if not isinstance(pattern, str) or not isinstance(options, str):
        raise QueryError("$regex and its $options must be strings, and $options needs a $regex")
    _, compiled = compile_pattern(pattern, options)
    return lambda value: isinstance(value, str) and compiled.search(value) is not None


_OPERATORS: Final[dict[str, Callable[[Any, Bind], Predicate]]] = {
    "$eq": lambda operand, bind: bind(_equals(operand), False),
    "$ne": lambda operand, bind: _not(bind(_equals(operand), False)),
    "$gt": _compares(gt),
    "$gte": _compares(ge),
    "$lt": _compares(lt),
    "$lte": _compares(le),
    "$in": lambda operand, bind: bind(_equals_any(operand, "$in"), False),
    "$nin": lambda operand, bind: _not(bind(_equals_any(operand, "$nin"), False)),
    "$exists": _exists,
    "$size": _size,
    "$all": _all,
    "$elemMatch": _elem_match,
    "$not": _negate,
    "$type": _type,
}
