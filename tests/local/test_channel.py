"""The keeper's connection, with a real socket."""

import asyncio
import selectors
import threading

import msgspec

from ensemble.members.local.channel import Channel
from ensemble.members.local.wire import Frames, encode_frame
from ensemble.model.events import JobEvent


def test_what_was_told_last_is_read_though_an_acknowledgement_crosses_the_goodbye(tmp_path):
    asyncio.run(cross(tmp_path))


async def cross(tmp_path):
    selector = selectors.DefaultSelector()
    channel = Channel(selector, {"hello": lambda message: None, "ack": lambda message: None})
    channel.listen(tmp_path / "m.socket", "stream")
    path = (tmp_path / "m.socket").read_text().splitlines()[0]
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(encode_frame(["hello", {"epoch": 1}]))
    await writer.drain()
    while not channel.connected:
        for key, _ in selector.select(10):
            key.data()
    channel.put(JobEvent("m", "a-0", "inactive", outcome="success"))
    while not channel.delivered:
        channel.flush()
    closing = threading.Thread(target=channel.close)
    closing.start()
    # long enough for a connection to be closed that does not wait; the loop has read nothing yet
    closing.join(0.3)
    writer.write(encode_frame(["ack", 0]))
    writer.write(encode_frame(["ack", 0]))
    frames = Frames()
    messages = []
    while data := await reader.read(1 << 16):
        messages += frames.feed(data)
    writer.close()
    await asyncio.to_thread(closing.join)
    assert [name for name, _ in messages] == ["events"]
    assert msgspec.convert(messages[0][1], list[JobEvent])[0].key == "a-0"
