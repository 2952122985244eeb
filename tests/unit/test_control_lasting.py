"""What is told only once it has lasted."""

import asyncio

from virtualip_agent.control.lasting import Lasting


async def test_what_has_just_begun_does_not_last_and_is_looked_at_again_when_it_does() -> None:
    looked: asyncio.Queue[str] = asyncio.Queue()
    lasting = Lasting(looked.put_nowait, seconds=0.02)
    assert not lasting.lasts("web", so=True)
    assert not lasting.lasts("web", so=True)
    assert await asyncio.wait_for(looked.get(), 5.0) == "web"
    assert lasting.lasts("web", so=True)
    assert looked.empty()  # one timer, however often it was asked


async def test_what_has_stopped_meanwhile_begins_anew() -> None:
    looked: asyncio.Queue[str] = asyncio.Queue()
    lasting = Lasting(looked.put_nowait, seconds=0.02)
    lasting.lasts("web", so=True)
    assert not lasting.lasts("web", so=False)
    lasting.lasts("db", so=True)
    assert await asyncio.wait_for(looked.get(), 5.0) == "db"
    assert looked.empty()
    assert not lasting.lasts("web", so=True)
    lasting.close()


def test_what_is_not_so_needs_no_loop() -> None:
    assert not Lasting(lambda _: None).lasts("web", so=False)
