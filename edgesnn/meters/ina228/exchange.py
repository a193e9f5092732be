"""Commands to the INA228 bridge and their answers, each with its deadline.

What streams meanwhile goes to a sink.
"""

from __future__ import annotations

from collections.abc import Callable

from edgesnn.errors import MeterError, MeterProtocolError, MeterTimeoutError
from edgesnn.meters.ina228 import protocol as wire
from edgesnn.meters.link import MeterLink

#: Takes a frame of the stream and says whether it did; what it leaves is an answer.
Sink = Callable[[int, bytes], bool]


class Exchange:
    """The wire to one bridge, as frames.

    Args:
        link: The wire.
        sink: Who takes the frames of a stream.

    Attributes:
        reader: What cuts bytes into frames; it counts what it throws away.
    """

    def __init__(self, link: MeterLink, sink: Sink) -> None:
        self._link, self._sink = link, sink
        self._answers: list[tuple[int, bytes]] = []
        self.reader = wire.Ina228FrameReader()

    def fresh(self) -> None:
        """Forget what came, and the count of what was thrown away."""
        self.reader, self._answers = wire.Ina228FrameReader(), []

    def pump(self, timeout_s: float) -> int:
        """Read once and sort the frames: the stream's to the sink, the others wait for `answers`.

        Returns:
            How many bytes came.
        """
        data = self._link.read(timeout_s)
        self._answers += [frame for frame in self.reader.feed(data) if not self._sink(*frame)]
        return len(data)

    def answers(self) -> list[tuple[int, bytes]]:
        """The answers that came since the last call."""
        answers, self._answers = self._answers, []
        return answers

    def send(self, kind: wire.Ina228FrameType, payload: bytes = b"") -> None:
        """Send a command and wait for nothing."""
        self._link.write(wire.encode(kind, payload))

    def hello(self) -> wire.Hello:
        """Say hello, twice at most: a stale half frame can swallow the first.

        Raises:
            MeterError: Another device answers, or a bridge of another version.
            MeterTimeoutError: Nothing answers.
        """
        came = 0
        for _ in range(2):
            self._link.write(b"\0" + wire.encode(wire.Ina228FrameType.HELLO, bytes([wire.VERSION])))
            limit_ns = self._limit_ns()
            while (left_s := (limit_ns - self._link.now_ns()) / 1e9) > 0:
                came += self.pump(left_s)
                for kind, payload in self.answers():
                    hello = self._introduced(kind, payload)
                    if hello is not None:
                        return hello
        if came:
            raise MeterError(
                f"the device on {self._link.port} is no INA228 bridge",
                actual=f"{came} bytes that answer no hello",
                remedy="see: edgesnn list meters",
            )
        raise MeterTimeoutError(
            f"nothing answers on {self._link.port}",
            limit=f"{wire.REPLY_S:g} s, twice",
            remedy="check that this is the bridge's port and that its firmware runs",
        )

    def command(self, kind: wire.Ina228FrameType, payload: bytes = b"") -> None:
        """Send a command and wait until it is granted.

        Raises:
            MeterProtocolError: It was refused.
            MeterTimeoutError: Nothing answered in time.
        """
        self.ask(kind, payload, wire.Ina228FrameType.ACK)

    def config(self) -> wire.Config:
        """How the bridge is set.

        Raises:
            MeterProtocolError: It tells something impossible.
            MeterTimeoutError: Nothing answered in time.
        """
        payload = self.ask(wire.Ina228FrameType.GET_CONFIG, b"", wire.Ina228FrameType.CONFIG)
        config = wire.parse_config(payload)
        if config is None:
            raise MeterProtocolError(
                f"the bridge on {self._link.port} sent an impossible configuration", actual=payload.hex()
            )
        return config

    def knows_marks(self) -> bool:
        """Whether the firmware has the sync input: picowatt's own does not know GET_MARK."""
        try:
            self.ask(wire.Ina228FrameType.GET_MARK, b"", wire.Ina228FrameType.MARK)
        except MeterProtocolError:
            return False
        return True

    def ask(self, kind: wire.Ina228FrameType, payload: bytes, expect: wire.Ina228FrameType) -> bytes:
        """Send a command and wait for its answer.

        Returns:
            The answer's payload.

        Raises:
            MeterProtocolError: It was refused.
            MeterTimeoutError: Nothing answered in time.
        """
        self._answers = []
        self.send(kind, payload)
        limit_ns = self._limit_ns()
        while True:
            for answer, content in self.answers():
                named = content[:1] == bytes([kind])
                if answer == expect and (named or expect != wire.Ina228FrameType.ACK):
                    return content
                if answer == wire.Ina228FrameType.NACK and named:
                    why = wire.REFUSALS.get(content[-1], f"reason {content[-1]}")
                    raise MeterProtocolError(
                        f"the bridge on {self._link.port} refused {kind.name}: {why}",
                        remedy="check its firmware: edgesnn meter info",
                    )
            left_s = (limit_ns - self._link.now_ns()) / 1e9
            if left_s <= 0:
                raise MeterTimeoutError(
                    f"the bridge on {self._link.port} did not answer {kind.name}",
                    limit=f"{wire.REPLY_S:g} s",
                    remedy="plug it in again",
                )
            self.pump(left_s)

    def _limit_ns(self) -> int:
        return self._link.now_ns() + int(wire.REPLY_S * 1e9)

    def _introduced(self, kind: int, payload: bytes) -> wire.Hello | None:
        """Who answers, or None when this is no answer to a hello."""
        hello = wire.parse_hello(payload) if kind == wire.Ina228FrameType.HELLO_ACK else None
        refused = kind == wire.Ina228FrameType.NACK and payload[:1] == bytes([wire.Ina228FrameType.HELLO])
        if refused or (hello is not None and hello.version != wire.VERSION):
            raise MeterError(
                f"the bridge on {self._link.port} speaks another version of the protocol",
                actual=f"version {hello.version}" if hello else "it refused ours",
                limit=f"version {wire.VERSION}",
                remedy="flash the firmware of firmware_bridge/meter",
            )
        return hello
