"""What may import what, and that an import does nothing else (docs/architecture.md).

`PURE` holds the modules that take values and return values: no I/O, no clock, no environment, no randomness. A new pure
module is one more line there.
"""

import ast
import os
import subprocess
import sys
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SERVICES = ("creds", "epr", "kpc", "tekton", "tsx")

PURE = (
    "kaa_common",
    "kaa_common.avro",
    "kaa_common.avro_binary",
    "kaa_common.budget",
    "kaa_common.errors",
    "kaa_common.held",
    "kaa_common.jsontext",
    "kaa_common.messages",
    "kaa_common.messages.*",
    "kaa_common.store",
    "kaa_common.store.documents",
    "kaa_common.store.index_keys",
    "kaa_common.store.matcher",
    "kaa_common.store.port",
    "kaa_common.store.regex",
    "kaa_common.store.sqlite_conditions",
    "kaa_common.store.sqlite_queries",
    "kaa_common.subjects",
    "creds",
    "creds.clients",
    "creds.clients.model",
    "creds.clients.names",
    "creds.hashing",
    "creds.model",
    "epr",
    "epr.connections",
    "epr.epmx",
    "epr.filters",
    "epr.filters.filter_set",
    "epr.filters.model",
    "epr.filters.queries",
    "epr.metadata",
    "epr.model",
    "epr.search",
    "epr.terms",
    "kpc",
    "kpc.extensions",
    "kpc.kp1",
    "kpc.mqtt",
    "kpc.mqtt.*",
    "kpc.presence",
    "tekton",
    "tekton.configuration",
    "tekton.model",
)
PURE_LIBRARIES = {
    *("collections", "copy", "dataclasses", "enum", "functools", "hmac", "http", "io", "itertools", "json", "math"),
    *("operator", "re", "string", "struct", "types", "typing"),
    *("jsonpatch", "jsonpointer", "orjson"),
}
AT_HOME_IN = {
    "apsw": ("kaa_common.store.sqlite*",),
    "bson": ("kaa_common.store.mongodb*",),
    "nats": ("kaa_common.bus", "kaa_common.nats_client"),
    "pymongo": ("kaa_common.store.mongodb*",),
    "uvicorn": ("kaa_common.http_server",),
}
"""Libraries behind an interface of our own, and the modules that alone know them."""
DECLARATIONS = (
    *(ast.Import, ast.ImportFrom, ast.Assign, ast.AnnAssign),
    *(ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef),
)


@cache
def sources() -> dict[str, Path]:
    """Every module of ours, by its name."""
    found = {}
    for root in sorted((*ROOT.glob("libs/*/src"), *ROOT.glob("services/*/src"))):
        for path in sorted(root.rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@cache
def imports_of(module: str) -> frozenset[str]:
    """The modules it imports, anywhere in its text, with the packages that these are in."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(sources()[module].read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} has a relative import"
            assert node.module is not None
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                found.add(name if name in sources() else node.module)
    packages = {name.rsplit(".", depth)[0] for name in found for depth in range(1, name.count(".") + 1)}
    return frozenset(found | (packages & sources().keys()))


def top(module: str) -> str:
    return module.partition(".")[0]


def is_one_of(module: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(module, pattern) for pattern in patterns)


PURE_MODULES = [module for module in sources() if is_one_of(module, PURE)]


@pytest.mark.parametrize("pattern", PURE)
def test_every_line_of_the_table_of_pure_modules_names_one(pattern: str) -> None:
    assert any(fnmatchcase(module, pattern) for module in sources())


@pytest.mark.parametrize("module", PURE_MODULES)
def test_a_pure_module_imports_nothing_that_is_not_pure(module: str) -> None:
    ours = {name for name in imports_of(module) if top(name) in (*SERVICES, "kaa_common", "kaa_cli")}
    libraries = {top(name) for name in imports_of(module) - ours}

    assert sorted(name for name in ours if not is_one_of(name, PURE)) == []
    assert sorted(libraries - PURE_LIBRARIES) == []


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_imports_no_other_service(service: str) -> None:
    foreign = {*SERVICES, "kaa_cli"} - {service}
    modules = [module for module in sources() if top(module) == service]

    assert modules
    assert [(module, name) for module in modules for name in imports_of(module) if top(name) in foreign] == []


def test_what_services_share_knows_none_of_them() -> None:
    foreign = {*SERVICES, "kaa_cli"}
    modules = [module for module in sources() if top(module) == "kaa_common"]

    assert modules
    assert [(module, name) for module in modules for name in imports_of(module) if top(name) in foreign] == []


def test_all_services_are_known_here() -> None:
    assert {top(module) for module in sources()} == {*SERVICES, "kaa_common", "kaa_cli"}


@pytest.mark.parametrize("library", AT_HOME_IN)
def test_a_library_behind_an_interface_of_ours_is_met_in_one_place(library: str) -> None:
    users = [module for module in sources() if top(module) != "kaa_cli" and library in map(top, imports_of(module))]

    assert users
    assert [module for module in users if not is_one_of(module, AT_HOME_IN[library])] == []


@pytest.mark.parametrize("module", [module for module in sources() if not module.endswith("__main__")])
def test_a_module_only_declares(module: str) -> None:
    statements = ast.parse(sources()[module].read_text()).body

    assert [f"line {statement.lineno}" for statement in statements if not declares(statement)] == []


def declares(statement: ast.stmt) -> bool:
    match statement:
        case ast.Expr(value=ast.Constant()):  # a docstring
            return True
        case ast.If(test=ast.Name(id="TYPE_CHECKING")):
            return True
    return isinstance(statement, DECLARATIONS)


IMPORT_ALL = """
import importlib, os, sys, threading

EFFECTS = {"os.mkdir", "os.remove", "socket.bind", "socket.connect", "sqlite3.connect", "subprocess.Popen"}
done = []

def audit(event, arguments):
    writes = event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
    if writes or event in EFFECTS:
        done.append((event, str(arguments)))

sys.addaudithook(audit)
for module in sys.argv[1:]:
    importlib.import_module(module)
assert not done, done
assert threading.active_count() == 1, threading.enumerate()
"""


def test_importing_everything_has_no_effect() -> None:
    modules = [module for module in sources() if not module.endswith("__main__")]
    finished = subprocess.run(
        [sys.executable, "-c", IMPORT_ALL, *modules],
        env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert (finished.returncode, finished.stdout, finished.stderr) == (0, "", "")
