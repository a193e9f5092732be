"""A pytest plug-in: budgets and comparisons of a profile as assertions of a test suite.

    @pytest.mark.edgesnn(bundle="bundle", target="cpu", profile="ci-no-meter")
    def test_the_budgets_hold(edgesnn_run):
        edgesnn_run.assert_budgets()
        edgesnn_run.assert_below("activity.spike_rate", 0.2)
        edgesnn_run.assert_not_worse_than("baselines")

A bundle is profiled once per session of pytest, target and profile, and one at a time, however many workers
of pytest-xdist there are. ``--edgesnn-record RUN.json`` takes a record that is there instead of profiling.
Nothing of edgesnn is imported before a test asks for the fixture.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from edgesnn.record.files import RunData
    from edgesnn.record.quantities import Quantity
    from edgesnn.reports.comparing.result import RunComparison

_ARGUMENTS = ("bundle", "target", "profile", "allow_unmeasured")
_DEFAULTS = {"target": "cpu", "profile": "ci-no-meter", "allow_unmeasured": True}


@dataclass(frozen=True, slots=True)
class ProfiledRun:
    """What the fixture ``edgesnn_run`` gives.

    Attributes:
        run: Record and arrays.
        source: Name of the record, for messages.
    """

    run: RunData
    source: str

    def quantity(self, name: str) -> Quantity:
        """A quantity of the record.

        Raises:
            UsageError: The record has none of that name.
        """
        from edgesnn.names import unknown

        quantities = self.run.record.quantities
        if name not in quantities:
            raise unknown("quantity", name, quantities)
        return quantities[name]

    def assert_budgets(self) -> None:
        """Fail unless every required budget of the profile was shown to hold."""
        verdict = self.run.record.verdict
        if verdict.exit_code != 0:
            pytest.fail(f"{verdict.verdict}: {'; '.join(verdict.reasons)}", pytrace=False)

    def assert_below(self, name: str, limit: float) -> None:
        """Fail unless a quantity is there and lies below a limit, its interval too where it has one.

        Args:
            name: For example ``latency.p95``.
            limit: In the unit of the quantity.
        """
        found, value = self._deciding(name)
        worst = value if found.upper is None else found.upper
        if not worst < limit:
            pytest.fail(f"{name} is {value:g} (up to {worst:g}) {found.unit}, not < {limit:g}", pytrace=False)

    def assert_above(self, name: str, limit: float) -> None:
        """Fail unless a quantity is there and lies above a limit, its interval too where it has one.

        Args:
            name: For example ``accuracy.top1``.
            limit: In the unit of the quantity.
        """
        found, value = self._deciding(name)
        worst = value if found.lower is None else found.lower
        if not worst > limit:
            pytest.fail(
                f"{name} is {value:g} (down to {worst:g}) {found.unit}, not > {limit:g}", pytrace=False
            )

    def assert_not_worse_than(self, base: str | Path, *, strict: bool = False) -> RunComparison:
        """Fail when something got worse than a base.

        Args:
            base: A record, a folder of records, or a folder of baselines.
            strict: Whether what is inconclusive fails too.

        Returns:
            The comparison.
        """
        from edgesnn.reports.comparing.compare import compare_runs
        from edgesnn.reports.comparing.summary import summarise_run
        from edgesnn.reports.inputs import read_base

        with _one_line():
            found = compare_runs(read_base(Path(base)), [summarise_run(self.run, self.source)], strict=strict)
        if found.exit_code != 0:
            pytest.fail(f"{found.verdict}: {'; '.join(found.reasons)}", pytrace=False)
        return found

    def _deciding(self, name: str) -> tuple[Quantity, float]:
        """A quantity that can decide something, with its value; what is absent or of an INVALID run fails."""
        verdict = self.run.record.verdict
        if verdict.verdict == "INVALID":
            reasons = "; ".join(verdict.reasons)
            pytest.fail(f"the run is INVALID, it decides nothing of {name}: {reasons}", pytrace=False)
        with _one_line():
            found = self.quantity(name)
        if found.value is None:
            pytest.fail(f"{name} is absent: {found.reason}", pytrace=False)
        return found, found.value


@contextmanager
def _one_line() -> Iterator[None]:
    """Fail with the sentence of an error of ours, without a traceback."""
    from edgesnn.errors import EdgesnnError

    try:
        yield
    except EdgesnnError as error:
        raise pytest.fail.Exception(error.sentence(), pytrace=False) from None


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--edgesnn-record`` and ``--edgesnn-bundle``."""
    group = parser.getgroup("edgesnn")
    group.addoption("--edgesnn-record", metavar="RUN.json", help="take this run record instead of profiling")
    group.addoption("--edgesnn-bundle", metavar="FOLDER", help="bundle of tests whose marker names none")


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marker."""
    config.addinivalue_line(
        "markers",
        "edgesnn(bundle, target='cpu', profile='ci-no-meter', allow_unmeasured=True): what is profiled",
    )


@pytest.fixture(scope="session")
def _edgesnn_runs() -> dict[tuple[object, ...], ProfiledRun]:
    """Runs of this session by what was profiled."""
    return {}


@pytest.fixture
def edgesnn_run(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    _edgesnn_runs: dict[tuple[object, ...], ProfiledRun],
) -> ProfiledRun:
    """The run that the marker ``edgesnn`` asks for."""
    marker = request.node.get_closest_marker("edgesnn")
    wanted = dict(zip(_ARGUMENTS, marker.args, strict=False)) | marker.kwargs if marker else {}
    if set(wanted) - set(_ARGUMENTS):
        pytest.fail(f"marker edgesnn takes {', '.join(_ARGUMENTS)}", pytrace=False)
    record = request.config.getoption("--edgesnn-record")
    bundle = wanted.get("bundle") or request.config.getoption("--edgesnn-bundle")
    if record is None and bundle is None:
        pytest.fail("name a bundle: @pytest.mark.edgesnn(bundle=...) or --edgesnn-bundle", pytrace=False)
    wanted = _DEFAULTS | {name: value for name, value in wanted.items() if value is not None}
    key = (record,) if record else (str(Path(str(bundle)).resolve()), *(wanted[name] for name in _DEFAULTS))
    shared = tmp_path_factory.getbasetemp().parent if hasattr(request.config, "workerinput") else None
    if key not in _edgesnn_runs:
        with _one_line():
            _edgesnn_runs[key] = (
                _read(Path(record)) if record else _profile_once(Path(bundle), wanted, key, shared)
            )
    return _edgesnn_runs[key]


def _read(path: Path) -> ProfiledRun:
    from edgesnn.record.files import read_run

    return ProfiledRun(read_run(path), path.name)


def _profile_once(
    bundle: Path, wanted: dict[str, object], key: tuple[object, ...], shared: Path | None
) -> ProfiledRun:
    """Profile, or take what another worker of pytest-xdist has profiled.

    Args:
        bundle: The bundle.
        wanted: How it is profiled.
        key: What tells this profile from others.
        shared: Folder that all workers of this session share; None without workers.
    """
    if shared is None:
        return _profile(bundle, wanted)
    from hashlib import sha256

    from edgesnn.errors import EdgesnnError
    from edgesnn.locks import locked_file
    from edgesnn.record.files import write_run

    path = shared / f"edgesnn-{sha256(repr(key).encode()).hexdigest()[:16]}.json"
    failed = path.with_suffix(".failed")
    with locked_file(shared / "edgesnn.lock"):  # one lock for all: profiles side by side disturb each other
        if failed.is_file():
            pytest.fail(failed.read_text(encoding="utf-8"), pytrace=False)
        if not path.is_file():
            try:
                write_run(_profile(bundle, wanted).run, path)
            except EdgesnnError as error:
                failed.write_text(error.sentence(), encoding="utf-8")
                raise
        found = _read(path)
    return ProfiledRun(found.run, _source(found.run))


def _source(run: RunData) -> str:
    return f"{run.record.model.name} on {run.record.target}"


def _profile(bundle: Path, wanted: dict[str, object]) -> ProfiledRun:
    from edgesnn.api.profiling import profile_bundle

    run = profile_bundle(
        bundle,
        target=str(wanted["target"]),
        profile=str(wanted["profile"]),
        allow_unmeasured=bool(wanted["allow_unmeasured"]),
    )
    return ProfiledRun(run, _source(run))
