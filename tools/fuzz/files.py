"""Harnesses of files that are no models: records, recordings, tables, configuration."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from edgesnn import resources
from edgesnn.bundle.bundle import read_eval_slice
from edgesnn.chips.description import load_chip
from edgesnn.chips.energy import load_energy_table
from edgesnn.config import load_toml
from edgesnn.meters.base import Block, Loss
from edgesnn.meters.calibration.points import _load
from edgesnn.meters.files.recording import Recorder, Recording
from edgesnn.npz import arrays_from
from edgesnn.profiler.budgets.profile import load_profile
from edgesnn.record.files import read_record
from edgesnn.reports.baseline import read_baseline
from edgesnn.targets import Target
from tests.support import page_records
from tests.support.artifacts import tiny_tokenizer, write_eval_slice
from tests.support.csv_traces import JOULESCOPE, measure, rows
from tests.support.instruments.meter_blocks import block, segment
from tools.fuzz.harness import Harness, Subject


def _file(name: str, seeds: Callable[[Path], list[bytes]], read: Callable[[Path], object]) -> Harness:
    """A reader of one file."""

    def opened(folder: Path) -> Subject:
        made = folder / "seeds"
        made.mkdir()
        path = folder / name

        def run(data: bytes) -> None:
            path.write_bytes(data)
            read(path)

        return Subject(seeds(made), run)

    return Harness(opened)


def _shipped(*folders: str, ending: str = ".toml") -> Callable[[Path], list[bytes]]:
    """The files of a folder of data that ships with edgesnn."""
    return lambda made: [path.read_bytes() for path in resources.files(*folders).values()]


# Records ---------------------------------------------------------------------------------------------------


def _records(made: Path) -> list[bytes]:
    documents = [page_records.document(), page_records.document(power=True)]
    return [json.dumps(one).encode() for one in documents]


def _npz(arrays: dict[str, np.ndarray]) -> list[bytes]:
    whole = []
    for save in (np.savez, np.savez_compressed):
        buffer = io.BytesIO()
        save(buffer, **arrays)
        whole.append(buffer.getvalue())
    return whole


def _arrays(folder: Path) -> Subject:
    few = {"latency": np.arange(12.0), "names": np.array(["a", "bc"]), "flags": np.zeros((2, 3), bool)}

    def run(data: bytes) -> None:
        try:
            arrays_from(io.BytesIO(data), 1 << 20)
        except ValueError as error:  # what every caller makes an error of its own
            raise EXPECTED from error

    return Subject(_npz(few), run, allowed=(_Expected,))


class _Expected(Exception):
    """The error that a function promises, where it is none of edgesnn's."""


EXPECTED = _Expected()


def _eval_slices(made: Path) -> list[bytes]:
    write_eval_slice(made / "a.npz", tiny_tokenizer())
    with np.load(made / "a.npz") as stored:
        arrays = dict(stored)
    arrays["positions"] = np.array([2, 3, 5], np.int64)
    arrays["teacher_top1"] = np.array([1, 2, 3], np.int32)
    arrays["teacher_native_logp"] = np.array([-1, -2, -0.5], np.float32)
    return [(made / "a.npz").read_bytes(), *_npz(arrays)]


# Meters ----------------------------------------------------------------------------------------------------


def _recordings(made: Path) -> list[bytes]:
    found = []
    for number, columns in enumerate(({}, {"voltage_v": np.full(40, 3.7, np.float32), "lost": 2})):
        path = made / f"{number}.npz"
        with Recorder(path) as recorder:
            recorder.begin_segment(segment())
            for start in (0.0, 0.05):
                values = np.linspace(0.01, 0.02, 40)
                recorder.add(block(values, start_s=start, **columns), Loss(40))
            recorder.end_segment(Loss(80))
        found.append(path.read_bytes())
    return found


def _read_recording(path: Path) -> None:
    with Recording(path) as recording:
        for one in recording.segments:
            _ = one.accuracy, one.samples, one.end_s, recording.simulated
            for _block in one.blocks():
                assert isinstance(_block, Block) and len(_block) >= 0


def _traces(made: Path) -> list[bytes]:
    nordic = "Timestamp(ms),Current(uA),D0-D7\n" + "".join(
        f"{k * 0.01:.2f},27.5,00000001\n" for k in range(30)
    )
    german = "time [s];current [mA];voltage [V]\n" + "".join(f"0,{k:03};27,1;3,700\n" for k in range(30))
    dated = "Wall-clock time,Current (A)\n" + "".join(f"2026-01-01T00:00:{k:02},0.02\n" for k in range(30))
    return [(JOULESCOPE + rows(30)).encode(), nordic.encode(), german.encode("utf-16"), dated.encode()]


def _csv(folder: Path) -> Subject:
    options = ("&rate=1000", "&decimal=,", "&voltage=3.7")

    def run(data: bytes) -> None:
        more = options[data[-1] % len(options)] if data and data[-1] % 2 else "&voltage=3.3"
        measure(folder, data, more)

    return Subject(_traces(folder), run)


def _calibrations(made: Path) -> list[bytes]:
    point = {
        "range_index": 0,
        "true_a": 0.02,
        "true_u_a": 1e-6,
        "shown_a": 0.0201,
        "shown_u_a": 1e-6,
        "made_at": "2026-01-01T00:00:00+00:00",
        "against": "a resistor",
    }
    document = {
        "schema": "edgesnn.calibration/1",
        "driver": "plain",
        "model": "PLAIN",
        "serial_number": "P1",
        "simulated": True,
        "expires_at": "2027-01-01T00:00:00+00:00",
        "points": [point],
    }
    return [json.dumps(document).encode()]


def _read_calibration_points(path: Path) -> None:
    found = _load(path)
    _ = found.expired, found.sentence()


# Tables of configuration -----------------------------------------------------------------------------------


def _read_baseline(path: Path) -> None:
    read_baseline(path)


HARNESSES = {
    "record": _file("run.json", _records, read_record),
    "record-arrays": Harness(_arrays),
    "eval-slice": _file("eval.npz", _eval_slices, lambda path: read_eval_slice(path, 280)),
    "recording": _file("a.npz", _recordings, _read_recording),
    "csv": Harness(_csv),
    "calibration": _file("a.json", _calibrations, _read_calibration_points),
    "chip": _file("a.toml", _shipped("targets", "chips"), lambda path: load_chip(str(path))),
    "energy": _file("a.toml", _shipped("targets", "energy"), lambda path: load_energy_table(str(path))),
    "device": _file("a.toml", _shipped("targets", "devices"), lambda path: load_toml(path, Target)),
    "profile": _file("a.toml", _shipped("profiles"), lambda path: load_profile(str(path))),
}
