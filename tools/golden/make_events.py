"""An event file by TensorBoard's own writer: tests/golden/train/events.tfevents.

    python tools/golden/make_events.py        (tensorboard)
"""

import io
import pathlib

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

PATH = pathlib.Path(__file__).resolve().parents[2] / "tests" / "golden" / "train" / "events.tfevents"
EVENTS = [(1700000000.5, 0, "train/loss", 2.5), (1700000001.5, 300, "train/loss", -0.125), (1700000002.0, 300, "eval/loss", 1e-9)]


def main():
    out = io.BytesIO()
    writer = RecordWriter(out)
    writer.write(Event(wall_time=EVENTS[0][0], file_version="brain.Event:2").SerializeToString())
    for wall_time, step, tag, value in EVENTS:
        summary = Summary(value=[Summary.Value(tag=tag, simple_value=value)])
        writer.write(Event(wall_time=wall_time, step=step, summary=summary).SerializeToString())
    PATH.write_bytes(out.getvalue())


if __name__ == "__main__":
    main()
