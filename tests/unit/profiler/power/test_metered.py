"""Windows with a simulated meter beside them, kept over an interruption, and sessions without a result."""

import os
import signal
import sys
import time
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest

from edgesnn.api.metering import metering
from edgesnn.errors import MeterError, RecordError, UsageError
from edgesnn.meters.address import MeterAddress
from edgesnn.meters.base import Block
from edgesnn.meters.base import MeterCapability as Meter
from edgesnn.meters.ppk2.driver import Ppk2Meter
from edgesnn.meters.samples.trace import Trace
from edgesnn.meters.serve import Live
from edgesnn.profiler.budgets.running import so_far
from edgesnn.profiler.power.evaluation import HostSpan, PowerResult
from edgesnn.profiler.power.metered import choose_rung
from edgesnn.profiler.power.quantities import power_arrays
from edgesnn.profiler.session_store import SessionStore, session_folder
from edgesnn.record.power import Rung
from edgesnn.record.quantities import Kind
from edgesnn.record.verdicts import BudgetOutcome
from edgesnn.runners.base import Capability, Window

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="twins need pseudo-terminals")

SIM = "sim:ina228"
KEY = {"bundle": "a" * 64, "target": "paper", "meter": SIM}
WINDOW_S = 0.12


@pytest.fixture
def session(parts, run_paper, make_profile, tmp_path):
    """Runs a session in which every window takes a while; the runner may be told to be interrupted."""

    @dataclass
    class Sleeper(parts.Runner):
        stops_at: int | None = None
        meter_pid: int | None = None

        def idle(self, seconds):
            time.sleep(seconds)

        def window(self, ids, repeat, warmup):
            began = time.perf_counter_ns()
            if self.windows == self.stops_at:
                if self.meter_pid is None:
                    raise KeyboardInterrupt
                os.kill(self.meter_pid, signal.SIGKILL)
            time.sleep(WINDOW_S)
            found = super().window(ids, repeat, warmup)
            return Window(
                found.latencies_ns, began, time.perf_counter_ns(), found.output_sha256, found.tokens
            )

    profile = make_profile(
        workload={
            "windows": 3,
            "idle_seconds": 0.1,
            "metered_window_seconds": 0.05,
            "first_tokens": 0,
            "activity_tokens": 0,
        },
        power_mw={"limit": 100.0, "required": True},
        latency_ms_p95={"limit": 50.0},
    )

    def go(
        address=SIM,
        *,
        key=None,
        resume=True,
        stops_at=None,
        feed=None,
        kept=True,
        on_running=None,
        kill=False,
    ):
        runner = Sleeper(stops_at=stops_at)
        folder = session_folder(tmp_path / "run.json")
        store = SessionStore(folder, key or KEY, resume=resume) if kept else None
        path = None if store is None else store.recording
        whole = store is not None and len(store.windows) == 3
        with metering(None if whole else address, path=path) as metered:
            process, own = metered or (None, None)
            runner.meter_pid = process.pid if kill else None
            result = run_paper(
                profile,
                runner,
                meter=process,
                feed=feed or own,
                store=store,
                on_running=on_running,
            )
        return SimpleNamespace(result=result, runner=runner, folder=folder, process=process)

    return go


def power_budget(result):
    return next(budget for budget in result.budgets if budget.name == "power_mw")


def found(result):
    """The windows that are valid; a machine that is late may lose one, and says so."""
    return [window for window in result.power.windows if window.invalid is None]


def test_a_simulated_session_finds_what_was_fed_and_decides_nothing(session):
    running = []
    result = session(kept=False, on_running=running.append).result
    windows = found(result)
    assert result.power.rung is Rung.MARKER and len(result.power.windows) == 3
    for window in windows:
        assert window.mean_mw == pytest.approx(80, rel=0.01)
        assert window.idle_before_mw == pytest.approx(12, rel=0.01)
    assert result.power.kind is Kind.SIMULATED
    assert power_budget(result).verdict is BudgetOutcome.UNDECIDED
    if windows:
        assert result.quantities["power.mean"].kind is Kind.SIMULATED
        assert set(result.power.uncertainty) >= {"power.mean", "energy.per_token"}
        assert "SIMULATED" in power_budget(result).reason
    assert [len(budgets) for budgets in running] == [2, 2, 2]
    latency, power = running[-1]
    assert (latency.verdict, power.verdict) == (BudgetOutcome.UNDECIDED, BudgetOutcome.UNDECIDED)
    assert (
        latency.quantity.value == pytest.approx(2.0, rel=0.1) and latency.reason == "below the limit so far"
    )


def test_an_interrupted_session_goes_on_with_the_windows_that_are_left(session):
    with pytest.raises(KeyboardInterrupt):
        session(stops_at=2)
    second = session()
    result = second.result
    assert second.runner.windows == 1  # the two others are from before
    assert len(result.latency.windows) == len(result.power.windows) == 3
    assert result.verdict.invalid is None and any(
        "2 of 3 windows are from before" in mark for mark in result.marks
    )
    for window in found(result):
        assert window.mean_mw == pytest.approx(80, rel=0.01)
    starts = [window.start_s for window in result.power.windows if window.start_s is not None]
    assert starts == sorted(starts)
    loss = result.power.loss
    assert [part["received"] > 0 for part in loss["parts"]] == [True, True]
    assert loss["received"] == sum(part["received"] for part in loss["parts"])
    times = result.arrays["power_time_s"]
    assert (np.diff(times) > 0).all()

    third = session()  # whole: nothing is measured, no meter is opened
    assert third.runner.windows == 0 and third.process is None
    assert third.result.quantities["power.mean"].value == result.quantities["power.mean"].value
    assert third.result.power.kind is Kind.SIMULATED


def test_when_the_meter_is_killed_in_a_window_what_it_had_not_written_is_measured_again(session):
    with pytest.raises(MeterError, match="died") as caught:
        session(stops_at=1, kill=True)
    assert caught.value.exit_code == 4
    again = session()
    assert again.runner.windows == 3  # the first window's samples were not yet on the disk
    assert len(again.result.power.windows) == 3


def test_a_session_of_something_else_is_refused_by_name_and_no_resume_starts_again(session):
    with pytest.raises(KeyboardInterrupt):
        session(None, stops_at=1)
    with pytest.raises(UsageError, match="differs in the bundle, meter") as caught:
        session(None, key={**KEY, "bundle": "b" * 64, "meter": "ppk2"})
    assert "--no-resume" in caught.value.remedy and caught.value.exit_code == 2
    fresh = session(None, key={**KEY, "bundle": "b" * 64}, resume=False)
    assert fresh.runner.windows == 3


def test_without_a_meter_windows_are_kept_too(session):
    with pytest.raises(KeyboardInterrupt):
        session(None, stops_at=2)
    second = session(None)
    assert second.runner.windows == 1 and second.result.power is None
    windows = second.result.latency.windows
    assert [window.steps for window in windows] == [windows[0].steps] * 3
    ends = [window.offset_s + window.seconds for window in windows]
    assert all(end <= later.offset_s for end, later in zip(ends, windows[1:], strict=False))


def test_a_folder_that_is_no_session_is_neither_used_nor_removed(tmp_path):
    folder = tmp_path / "run.json.session"
    folder.mkdir()
    (folder / "diary.txt").write_text("mine")
    for resume in (True, False):
        with pytest.raises(RecordError, match="holds no session"):
            SessionStore(folder, KEY, resume=resume)
    assert (folder / "diary.txt").read_text() == "mine"


def test_a_session_without_a_finished_window_leaves_no_folder(tmp_path):
    folder = tmp_path / "run.json.session"
    with pytest.raises(MeterError), SessionStore(folder, KEY):
        assert folder.is_dir()
        raise MeterError("there is none")
    assert not folder.exists()


class Still:
    """A feed that raises no marker."""

    def busy(self):
        return time.monotonic_ns()

    rest = busy


@pytest.mark.parametrize(
    ("address", "feed", "reason"),
    [
        (f"{SIM}?load=constant:power=0.02", Still(), "was raised 0 times for 3 windows"),
        (f"{SIM}?active=5000", None, "at the limit of the instrument"),
        (
            f"{SIM}?fault=" + ",".join(f"drop-samples@{0.4 + 0.04 * n:.2f}:10" for n in range(250)),
            None,
            "of it has no good sample",
        ),
    ],
    ids=["markerless", "saturated", "lossy"],
)
def test_a_session_that_measured_nothing_is_undecided_with_the_reason(session, address, feed, reason):
    result = session(address, feed=feed, kept=False).result
    assert all(reason in window.invalid for window in result.power.windows)
    budget = power_budget(result)
    assert budget.verdict is BudgetOutcome.UNDECIDED and reason in budget.reason
    for name in ("power.mean", "power.peak", "energy.per_token"):
        assert result.quantities[name].value is None and reason in result.quantities[name].reason
    assert result.verdict.exit_code == 6


def test_an_unplugged_meter_ends_the_session_and_the_windows_before_are_kept(session, tmp_path):
    finished = []
    with pytest.raises(MeterError) as caught:
        session(f"{SIM}?fault=unplug@0.9:0", on_running=finished.append)
    assert caught.value.exit_code == 4
    folder = session_folder(tmp_path / "run.json")
    assert len(list(folder.glob("window-*.npz"))) == len(finished) < 3


def test_a_spike_of_one_sample_is_in_the_arrays_of_the_record():
    watts = np.full(100_000, 0.01)
    watts[54_321] = 1.5
    n = watts.size
    block = Block(
        time_s=np.arange(n) * 1e-5,
        duration_s=1e-5,
        current_a=None,
        voltage_v=None,
        power_w=watts.astype(np.float32),
        markers=np.zeros(n, np.uint8),
        status=np.zeros(n, np.uint8),
        range_index=None,
        lost=0,
        host_ns=0,
    )
    accuracy = Ppk2Meter(MeterAddress("ppk2")).accuracy
    arrays = power_arrays(PowerResult(Rung.HOST, None, (), None, Trace(block, accuracy, None)))
    assert arrays["power_max_w"].max() == np.float32(1.5) and arrays["power_max_w"].size == 1000
    assert float(arrays["power_mean_w"].max()) < 0.03
    assert arrays["power_min_w"].max() == arrays["power_min_w"].min() == np.float32(0.01)


def test_the_rung_is_the_best_that_runner_and_meter_allow():
    marker, clock = frozenset({Meter.MARKER_INPUT, Meter.SAMPLE_CLOCK}), frozenset({Meter.SAMPLE_CLOCK})

    def rung(runner, meter, fed=False):
        return choose_rung(SimpleNamespace(capabilities=frozenset(runner)), meter, fed)

    assert rung({Capability.MARKER}, marker) is Rung.MARKER
    assert rung(set(), marker, fed=True) is Rung.MARKER
    assert rung(set(), marker) is Rung.CLOCK_MAP
    assert rung({Capability.PATTERN}, clock) is Rung.CLOCK_MAP
    assert rung({Capability.PATTERN}, frozenset()) is Rung.PREAMBLE
    assert rung(set(), frozenset()) is Rung.HOST


def test_power_so_far_is_that_of_the_windows_and_not_of_the_idle_time_beside_them():
    window = SimpleNamespace(counted_ms=np.array([1.0, 2.0, 3.0]))
    span = HostSpan(0, 10, None, 10, 20, None, 20, 30)
    lives = [
        (at, Live(0.0, watts, watts, watts, 0, 0.0, 0)) for at, watts in ((5, 1.0), (15, 9.0), (25, 1.0))
    ]
    now = so_far([window], [span], lives, simulated=False)
    assert now.mean_w == 9.0 and now.p95_ms == pytest.approx(2.9)
    assert so_far([window], [], lives, simulated=False).mean_w is None
