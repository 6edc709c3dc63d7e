"""Batch registration: endpoints registered in the background, some at a time (`batch_task.py`).

The replicas share the work: each looks for tasks that are due, takes one by compare-and-set for the time that some
endpoints may take, and writes down what became of them together with the tokens of the next ones. When it dies the
task is due again after that time, and another replica goes on. What cannot be decided now, as a service that is needed
does not answer, is tried again for some minutes.
"""

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from epr.batch_task import BATCHES, BY_DUE, Item, State, Task, parts_of, status_of, unknown_task
from epr.registration import Registrar, Registration
from kaa_common.app_versions import AppVersion, AppVersions
from kaa_common.clock import Deadline, now_ms
from kaa_common.errors import (
    BadRequest,
    DeadlineExceeded,
    KaaError,
    PayloadTooLarge,
    TooManyRequests,
    Unavailable,
)
from kaa_common.store import DocumentStore, InvalidDocument

logger = logging.getLogger(__name__)

MAX_ITEMS: Final = 1_000
"""Endpoints of a task, as Kaa has it."""
MAX_OPEN: Final = 100
"""Tasks of a tenant that are not done yet."""
MAX_DONE: Final = 1_000
"""Tasks of a tenant that are done and still remembered; the oldest make room."""
KEPT_FOR_MS: Final = 24 * 3600 * 1000
"""How long a task that is done is remembered: until tomorrow, for whoever starts one in the evening."""
STEP: Final = 50
"""Endpoints between two writes of a task: each is about a twentieth of the work lost when a replica dies."""
AT_ONCE: Final = 16
HELD_FOR_MS: Final = 60_000
"""How long a replica has a task to itself: three times what a step takes when all its calls time out."""
TRIED_FOR_MS: Final = 10 * 60_000
"""How long endpoints are tried that a service which is needed keeps waiting."""
PAUSE_MS: Final = 2_000
"""Before endpoints are tried again, and between two looks for tasks that are due."""
LOOK_UP: Final = 5.0
"""Seconds tekton has to tell the application version."""


class Batches:
    """The batch registrations of a tenant."""

    def __init__(self, store: DocumentStore, registrar: Registrar, app_versions: AppVersions, *, tenant: str) -> None:
        self._store = store
        self._registrar = registrar
        self._app_versions = app_versions
        self._tenant = tenant
        self._due = asyncio.Event()

    async def submit(self, app_version: AppVersion, items: Sequence[Item]) -> str:
        """The id of the task that registers these; with it the status can be asked for, and by nobody else.

        Raises BadRequest; TooManyRequests when too many tasks are open; Unavailable.
        """
        if not 1 <= len(items) <= MAX_ITEMS:
            raise BadRequest(f"a batch has 1 to {MAX_ITEMS} endpoints")
        if await self._count(State.OPEN, MAX_OPEN) >= MAX_OPEN:
            raise TooManyRequests(f"{MAX_OPEN} batch registrations are under way, try again later")
        task, task_id = Task.new(self._tenant, app_version.app_name, app_version.name, items, now_ms())
        try:
            await self._store.insert(BATCHES, task.to_document())
        except InvalidDocument as exc:
            raise PayloadTooLarge(str(exc)) from exc
        self._due.set()
        return task_id

    async def status(self, task_id: str, application: str) -> dict[str, object]:
        """What became of a task's endpoints so far. Raises NotFound."""
        stored_id, key = parts_of(task_id)
        document = (await self._store.get(BATCHES, [stored_id])).get(stored_id)
        if document is None or (document["tenant"], document["application"]) != (self._tenant, application):
            raise unknown_task()
        return status_of(Task.from_document(document), key)

    async def keep_working(self) -> None:
        """Work on whatever is due, until cancelled."""
        while True:
            self._due.clear()
            try:
                while await self.work():
                    pass
                await self.forget()
            except Unavailable as exc:
                logger.warning("batch registrations wait: %s", exc)
            with suppress(TimeoutError):
                async with asyncio.timeout(PAUSE_MS / 1000):
                    await self._due.wait()

    async def work(self) -> bool:
        """Take a task that is due and work on it as far as possible; whether there was one. Raises Unavailable."""
        for document in await self._store.page(BATCHES, BY_DUE, equals=(self._tenant, State.OPEN.value), limit=1):
            if document["due_at"] > now_ms():
                break
            task = Task.from_document(document)
            if (held := await self._write(task, task.held_until(now_ms() + HELD_FOR_MS))) is not None:
                await self._work_on(held)
            return True
        return False

    async def forget(self) -> None:
        """Remove what is done long since, and what is too much. Raises Unavailable."""
        too_many = await self._count(State.DONE, MAX_DONE + STEP) - MAX_DONE
        page = await self._store.page(BATCHES, BY_DUE, equals=(self._tenant, State.DONE.value), limit=STEP)
        for number, document in enumerate(page):
            if number < too_many or document["due_at"] <= now_ms():
                await self._store.delete(BATCHES, document["_id"], document["revision"])

    async def _work_on(self, held: Task) -> None:
        task: Task | None = held
        while task is not None and (numbers := task.waiting[:STEP]):
            with_tokens = task.with_items({number: task.items[number].with_token() for number in numbers})
            task = await self._write(task, with_tokens.held_until(now_ms() + HELD_FOR_MS))
            if task is None:
                return
            outcomes = await self._register(task, numbers)
            left = len(outcomes) < len(numbers)
            after = task.with_items(outcomes)
            if left:
                after = after.held_until(now_ms() + PAUSE_MS)
            task = await self._write(task, after)
            if left:
                return
        if task is not None:
            await self._write(task, task.done(now_ms() + KEPT_FOR_MS))

    async def _register(self, task: Task, numbers: Sequence[int]) -> dict[int, Item]:
        """What became of these items; those that are to be tried again are left out."""
        outcomes: dict[int, Item] = {}
        is_last_try = now_ms() >= task.created_at + TRIED_FOR_MS

        def failed(number: int, error: KaaError) -> None:
            if is_last_try or not isinstance(error, Unavailable | DeadlineExceeded):
                outcomes[number] = task.items[number].failed(str(error))

        try:
            app_version = await self._app_versions.get(task.app_version, Deadline.after(LOOK_UP))
        except KaaError as exc:
            for number in numbers:
                failed(number, exc)
            return outcomes
        places = asyncio.Semaphore(AT_ONCE)

        async def register(number: int) -> None:
            item = task.items[number]
            wanted = Registration(
                endpoint_id=item.endpoint_id, app_version=app_version, metadata=item.metadata, token=item.token
            )
            async with places:
                try:
                    await self._registrar.register(wanted)
                except KaaError as exc:
                    failed(number, exc)
                else:
                    outcomes[number] = item.created()

        async with asyncio.TaskGroup() as tasks:
            for number in numbers:
                tasks.create_task(register(number), name="batch registration")
        return outcomes

    async def _write(self, before: Task, after: Task) -> Task | None:
        """The task as written; None when another replica has it meanwhile."""
        return after if await self._store.replace(BATCHES, after.to_document(), before.revision) else None

    async def _count(self, state: State, limit: int) -> int:
        return await self._store.count(BATCHES, index=BY_DUE, equals=(self._tenant, state.value), limit=limit)
