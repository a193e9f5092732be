"""``edgesnn meter info``: what an instrument is, how accurate, and its calibration."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from edgesnn.cli.meter.show import Address, identity
from edgesnn.cli.output import CommandOutput, JsonFlag, session

if TYPE_CHECKING:
    from edgesnn.meters.samples.accuracy import MeterAccuracy

SCHEMA = "edgesnn.meter-info/1"


def info(meter: Address, json_mode: JsonFlag = False) -> None:
    """Open an instrument, identify it and close it again; nothing is powered.

    Says its model, serial number, firmware, what it can do, how accurate it is and by whose word, and
    whether a calibration is in use.

    Examples:
        edgesnn meter info sim:ppk2
    """
    with session("meter info", json_mode) as out:
        from edgesnn.meters.calibration import points as calibration
        from edgesnn.meters.files.format import plain
        from edgesnn.meters.opening import open_meter

        with open_meter(meter) as opened:
            found = opened.open()
            capabilities = sorted(one.value for one in opened.capabilities)
            accuracy = opened.accuracy
            status = opened.meter.driver_status.value
            used = opened.calibration
        others = [one for one in calibration.load_all().values() if one.driver == found.name and one != used]
        out.document(
            SCHEMA,
            {
                "meter": plain(asdict(found)),
                "driver_status": status,
                "capabilities": capabilities,
                "accuracy": accuracy.model_dump(mode="json"),
                "calibration": used.model_dump(mode="json", by_alias=True) if used else None,
                "other_calibrations": [
                    {"serial_number": one.serial_number, "what": one.sentence(), "expired": one.expired}
                    for one in others
                ],
            },
        )
        from rich.text import Text

        out.print(Text(identity(found), style="bold"))
        out.print(Text(f"driver: {found.name}, {status}"))
        out.print(Text(f"can: {', '.join(capabilities) or 'nothing beyond measuring'}"))
        for key, value in found.details.items():
            text = str(value)
            out.print(Text(f"{key}: {text if len(text) <= 200 else text[:200] + ' ...'}"))
        _accuracy(out, accuracy)
        for one in others:
            state = "expired" if one.expired else "of another instrument"
            out.print(Text(f"calibration {state}: {one.serial_number}, {one.sentence()}", style="dim"))


def _accuracy(out: CommandOutput, accuracy: MeterAccuracy) -> None:
    from rich.text import Text

    from edgesnn.cli.tables import Sheet, names, numbers

    kind = "promised limits" if accuracy.kind.value == "bound" else "standard deviations, typical only"
    columns = (
        names("range"),
        numbers("up to"),
        numbers("gain"),
        numbers("offset", 1),
        numbers("resolution", 2),
    )
    table = Sheet(f"accuracy ({kind})", *columns, ruled=False)
    for one in accuracy.ranges:
        table.add_row(
            one.name,
            f"{one.max_a:g} A",
            f"{one.gain:.3%}",
            f"{one.offset_a * 1e6:g} uA",
            f"{one.resolution_a * 1e6:g} uA",
        )
    out.print(table)
    volts = accuracy.voltage
    measured = "measured" if volts.measured else "set-point"
    drop = f", drop up to {volts.burden_v:g} V" if volts.burden_v else ""
    out.print(Text(f"voltage: {measured}, gain {volts.gain:.3%}, offset {volts.offset_v:g} V{drop}"))
    out.print(Text(f"clock: {accuracy.clock_ppm:g} ppm"))
    out.print(Text(f"by: {' '.join(accuracy.source.split())}", style="dim"))
    if accuracy.calibration:
        out.print(Text(f"calibration: {accuracy.calibration}", style="green"))
