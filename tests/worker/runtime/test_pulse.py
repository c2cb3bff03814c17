"""The pipe between child and supervisor, and when a silence is too long."""

from __future__ import annotations

import os

from worker.runtime.pulse import PulseReader, PulseWriter


def test_steps_decide_how_long_a_silence_may_be() -> None:
    read_end, write_end = os.pipe()
    reader, writer = PulseReader(read_end, 0.0), PulseWriter(write_end)
    assert reader.longest_silence(120.0) == 120.0
    writer.step()
    assert reader.read(300.0)  # starting took long: that is no step
    for second in range(310, 360, 10):
        writer.step()
        reader.read(float(second))
    assert reader.longest_silence(120.0) == 200.0
    assert reader.silence(355.0) == 5.0
    assert reader.read(400.0)  # nothing new
    assert reader.silence(400.0) == 50.0
    writer.reason("a device\nerror")
    os.close(write_end)
    assert reader.read(401.0)
    assert reader.reason == "a device error"
    assert not reader.read(402.0)
    reader.close()


def test_a_full_pipe_does_not_block_the_child() -> None:
    read_end, write_end = os.pipe()
    writer = PulseWriter(write_end)
    for _ in range(100_000):
        writer.step()
    os.close(read_end)
    os.close(write_end)
