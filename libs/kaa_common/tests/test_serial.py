import asyncio

from kaa_common.serial import SerialByKey


async def test_turns_of_one_key_come_in_the_order_of_the_calls_and_never_overlap() -> None:
    serial = SerialByKey()
    done: list[str] = []

    async def work(name: str) -> None:
        async with serial.turn("key"):
            done.append(f"{name} begins")
            await asyncio.sleep(0)
            done.append(f"{name} ends")

    async with asyncio.TaskGroup() as tasks:
        for name in "abc":
            tasks.create_task(work(name))

    assert done == ["a begins", "a ends", "b begins", "b ends", "c begins", "c ends"]


async def test_another_key_does_not_wait() -> None:
    serial = SerialByKey()
    async with serial.turn("busy"), asyncio.timeout(1), serial.turn("free"):
        pass


async def test_one_who_gives_up_waiting_lets_the_next_one_in() -> None:
    serial = SerialByKey()

    async def wait() -> None:
        async with serial.turn("key"):
            pass

    async with asyncio.TaskGroup() as tasks:
        async with serial.turn("key"):
            impatient = tasks.create_task(wait())
            patient = tasks.create_task(wait())
            await asyncio.sleep(0)
            impatient.cancel()
        async with asyncio.timeout(1):
            await patient


async def test_nothing_is_kept_of_a_key_that_nobody_uses() -> None:
    serial = SerialByKey()
    async with serial.turn("key"):
        pass
    assert serial._queues == {}


async def test_it_is_known_how_many_have_or_wait_for_their_turn() -> None:
    serial = SerialByKey()
    async with asyncio.TaskGroup() as tasks, serial.turn("key"):

        async def wait() -> None:
            async with serial.turn("key"):
                pass

        for _ in range(2):
            tasks.create_task(wait())
        await asyncio.sleep(0)
        assert (serial.users("key"), serial.users("other")) == (3, 0)
    assert serial.users("key") == 0


async def test_what_one_leaves_is_handed_to_the_next_who_waits() -> None:
    serial = SerialByKey()
    got: list[object] = []

    async def take(leaves: object) -> None:
        turn = serial.turn("key")
        async with turn as left:
            got.append(left)
            turn.leaves = leaves
            await asyncio.sleep(0)

    async with asyncio.TaskGroup() as tasks:
        for leaves in ("first", "second", "third"):
            tasks.create_task(take(leaves))
    await take("nothing is left for those who come later")

    assert got == [None, "first", "second", None]


async def test_what_was_left_for_one_who_gave_up_goes_to_the_next() -> None:
    serial = SerialByKey()

    async def take() -> object:
        async with serial.turn("key") as left:
            return left

    async with asyncio.TaskGroup() as tasks:
        turn = serial.turn("key")
        async with turn:
            turn.leaves = "something"
            impatient = tasks.create_task(take())
            patient = tasks.create_task(take())
            await asyncio.sleep(0)
        impatient.cancel()  # together with the turn that comes to it
        assert await patient == "something"
