"""``edgesnn meter calibrate``: compare an instrument with something that is known better."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated

import typer

from edgesnn.cli.meter.show import SIMULATED, Address, identity, positive, quantity
from edgesnn.cli.output import CommandOutput, JsonFlag, session
from edgesnn.errors import MeterError, UsageError

if TYPE_CHECKING:
    from edgesnn.meters.calibration.calibrated import CalibratedMeter
    from edgesnn.meters.calibration.comparison import ReferenceFlow, SettledReading
    from edgesnn.meters.calibration.points import Calibration, Point

SCHEMA = "edgesnn.meter-calibrate/1"


def calibrate(
    meter: Address,
    *,
    resistor: Annotated[
        float | None, typer.Option(help="Ohms of the load that is attached.", rich_help_panel="Reference")
    ] = None,
    tolerance: Annotated[
        float, typer.Option(help="Tolerance of the resistor, percent.", rich_help_panel="Reference")
    ] = 1.0,
    volts: Annotated[
        float | None,
        typer.Option(help="Volts measured at the resistor; else the meter's.", rich_help_panel="Reference"),
    ] = None,
    volts_limit: Annotated[
        float | None,
        typer.Option(help="Limit of the error of --volts, volts [0.1 %].", rich_help_panel="Reference"),
    ] = None,
    current: Annotated[
        float | None, typer.Option(help="Amperes that flow, known otherwise.", rich_help_panel="Reference")
    ] = None,
    current_limit: Annotated[
        float, typer.Option(help="Limit of the error of --current, percent.", rich_help_panel="Reference")
    ] = 0.1,
    reference: Annotated[
        str | None,
        typer.Option(help="Address of a better meter in the same circuit.", rich_help_panel="Reference"),
    ] = None,
    seconds: Annotated[float, typer.Option(help="How long to measure.")] = 2.0,
    add: Annotated[
        bool, typer.Option("--add", help="Add a point to the calibration there is, for a second point.")
    ] = False,
    valid_days: Annotated[float, typer.Option(help="Days after which it is not used any more.")] = 365.0,
    forget: Annotated[
        bool, typer.Option("--forget", help="Throw the instrument's calibration away.")
    ] = False,
    json_mode: JsonFlag = False,
) -> None:
    """Calibrate by one point, or by two with --add, against a resistor, a known current or a better meter.

    The correction is kept by serial number and used by every command from then on; each range of the
    instrument needs its own point. `...?calibration=no` in an address leaves it aside.

    Examples:
        edgesnn meter calibrate 'ppk2?voltage=3.3' --resistor 100 --tolerance 0.1
    """
    with session("meter calibrate", json_mode) as out:
        from edgesnn.meters.calibration import points as calibration
        from edgesnn.meters.calibration.calibrated import CalibratedMeter
        from edgesnn.meters.calibration.comparison import by_meter, take, take_both
        from edgesnn.meters.capture import Plan
        from edgesnn.meters.opening import open_meter, settings_of

        positive(seconds - 0.2, "--seconds less the 0.2 s in which a supply settles")
        positive(valid_days, "--valid-days")
        for value, option in ((resistor, "--resistor"), (current, "--current"), (volts, "--volts")):
            positive(value, option)
        positive(tolerance, "--tolerance")
        positive(current_limit, "--current-limit")
        named = [one for one in (resistor, current, reference) if one is not None]
        if len(named) != (0 if forget else 1):
            raise UsageError(
                "name one thing to compare with" if not forget else "--forget compares with nothing",
                limit="--resistor OHMS, --current AMPERES or --reference METER",
            )
        raw = CalibratedMeter(open_meter(meter).meter, apply=False)  # points are of the bare instrument
        if forget:
            _forget(out, raw)
            return
        plan = Plan(settings_of(meter), seconds)
        if reference is not None:
            other = Plan(settings_of(reference), seconds)
            taken, theirs = take_both(raw, plan, open_meter(reference), other)
            known = by_meter(theirs)
        else:
            taken = take(raw, plan)
            known = _known(
                taken,
                resistor=resistor,
                tolerance=tolerance,
                volts=volts,
                volts_limit=volts_limit,
                current=current,
                current_limit=current_limit,
            )
        info = taken.meter
        if info.serial_number is None:
            raise MeterError(
                f"the {info.model} has no serial number: its calibration could be taken for another's"
            )
        point = calibration.make_point(taken.block, known.current_a, known.standard_u_a, known.against)
        earlier = calibration.find(info) if add else None
        if add and earlier is None:
            raise UsageError(
                f"there is no calibration of {info.serial_number} to add to", remedy="leave --add out"
            )
        made = calibration.Calibration(
            driver=info.name,
            model=info.model,
            serial_number=info.serial_number,
            simulated=info.simulated,
            expires_at=calibration.expiry(valid_days),
            points=[*(earlier.points if earlier else []), point],
        )
        corrections = calibration.corrections(made.points)
        path = calibration.save(made)
        out.document(
            SCHEMA,
            {
                "file": str(path),
                "simulated": info.simulated,
                "calibration": made.model_dump(mode="json", by_alias=True),
                "corrections": {
                    taken.accuracy.ranges[index].name: one.model_dump() for index, one in corrections.items()
                },
            },
        )
        _show(out, taken, point, made)
        out.print(f"kept in {path}")


def _known(
    taken: SettledReading,
    *,
    resistor: float | None,
    tolerance: float,
    volts: float | None,
    volts_limit: float | None,
    current: float | None,
    current_limit: float,
) -> ReferenceFlow:
    """What flowed, where it is not a meter that says so."""
    from edgesnn.meters.calibration.comparison import ReferenceFlow, through_resistor

    if resistor is not None:
        return through_resistor(resistor, tolerance / 100, volts, volts_limit, taken)
    assert current is not None
    u = current * current_limit / 100 / math.sqrt(3)
    return ReferenceFlow(current, u, f"{current:g} A ± {current_limit:g} %")


def _show(out: CommandOutput, taken: SettledReading, point: Point, made: Calibration) -> None:
    """What was found, for people."""
    from rich.text import Text

    from edgesnn.meters.calibration.points import corrections

    out.print(Text(identity(taken.meter), style="bold"))
    out.print(
        f"shown {quantity(point.shown_a, 'A', 6)}, flowed {quantity(point.true_a, 'A', 6)} "
        f"± {2 * point.true_u_a / point.true_a:.3%} (95 %) by {point.against}"
    )
    for index, one in sorted(corrections(made.points).items()):
        offset = f", offset {quantity(one.offset_a, 'A')}" if one.offset_u_a is not None else ""
        out.print(
            f"range {taken.accuracy.ranges[index].name}: factor {one.scale:.6f} "
            f"± {2 * one.scale_u:.3%} (95 %){offset}; it was ± {taken.accuracy.ranges[index].gain:.1%} "
            f"{taken.accuracy.kind.value}"
        )
    missing = [
        one.name for index, one in enumerate(taken.accuracy.ranges) if index not in corrections(made.points)
    ]
    if missing:
        out.print(f"without a point, the maker's figures hold: {', '.join(missing)}")
    if taken.meter.simulated:
        out.print(f"{SIMULATED}: this is the calibration of a twin")


def _forget(out: CommandOutput, meter: CalibratedMeter) -> None:
    from edgesnn.meters.calibration import points as calibration

    with meter:
        info = meter.open()
    gone = calibration.forget(info)
    out.document(SCHEMA, {"forgotten": gone, "serial_number": info.serial_number})
    out.print(f"{info.serial_number}: " + ("its calibration is gone" if gone else "it had no calibration"))
