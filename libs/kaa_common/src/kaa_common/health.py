"""Probes of a process: `/livez` (it runs), `/readyz` (all it depends on answers), `/metrics` (Prometheus text)."""

import asyncio
from collections.abc import Awaitable, Callable

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from kaa_common.errors import KaaError

CHECK_TIMEOUT = 1.0
"""Seconds a part has to answer: a probe itself is given up after as many in Kubernetes."""

Check = Callable[[], Awaitable[None]]
"""Returns when the part is in order, raises when not."""


class Health:
    """The parts that must answer before the process is ready."""

    def __init__(self) -> None:
        self.stopping = False
        self._checks: dict[str, Check] = {}
        self._awaited: dict[str, str] = {}

    def expect(self, part: str, problem: str = "starting") -> None:
        """Not ready until `watch` is called for the part; `problem` says what it waits for."""
        self._awaited[part] = problem

    def watch(self, part: str, check: Check) -> None:
        self._awaited.pop(part, None)
        self._checks[part] = check

    async def problems(self) -> dict[str, str]:
        """Part to what is wrong with it; empty when ready."""
        problems = dict(sorted(self._awaited.items()))
        if self.stopping:
            problems["process"] = "stopping"
        async with asyncio.TaskGroup() as checking:
            found = {part: checking.create_task(_problem(check)) for part, check in self._checks.items()}
        return problems | {part: problem for part, task in found.items() if (problem := task.result())}

    def routes(self) -> list[Route]:
        return [
            Route("/livez", self._livez),
            Route("/readyz", self._readyz),
            Route("/metrics", self._metrics),
        ]

    async def _livez(self, _: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def _readyz(self, _: Request) -> Response:
        problems = await self.problems()
        body = {"status": "not ready", "problems": problems} if problems else {"status": "ok"}
        return JSONResponse(body, 503 if problems else 200)

    async def _metrics(self, _: Request) -> Response:
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)


async def _problem(check: Check) -> str:
    """What is wrong; empty when nothing is."""
    try:
        async with asyncio.timeout(CHECK_TIMEOUT):
            await check()
    except TimeoutError:
        return f"no answer within {CHECK_TIMEOUT:g} s"
    except Exception as exc:
        # Whoever can reach the probe reads this: the text of an unexpected error may hold anything.
        return (isinstance(exc, KaaError) and str(exc)) or type(exc).__name__
    return ""
