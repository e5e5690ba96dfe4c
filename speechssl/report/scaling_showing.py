"""Scaling as a file, sentences and a table."""

from collections.abc import Sequence
from typing import Any

from rich.table import Table

from speechssl.evaluation.intervals import Estimate
from speechssl.evaluation.scaling import MIN_AMOUNTS_FOR_FLOOR, Foretold
from speechssl.report.results import by_measure
from speechssl.report.scaling import Scaling, name_amount
from speechssl.report.tables import change, new_table
from speechssl.text.measure import Measure

LEFT = ("set", "objective", "model or hours")
COLUMNS = "set", "labels", *LEFT[1:], "audio", "encoder", "seeds", "error rate", "interval", "probe CER"


def plain_scaling(curve: Scaling) -> dict[str, Any]:
    """A curve as one record of ``scaling.json``; rates are shares, the unit of a law the greatest amount."""
    fitted = curve.fitted
    law = fitted and {
        **fitted.law._asdict(),
        "has_floor": fitted.has_floor,
        "exponent_interval": fitted.exponent._asdict(),
        "exponent_interval_includes_zero": fitted.says_nothing,
        "foretold": [plain_foretold(item, curve.measure) for item in fitted.foretold],
        "band": {name: values.tolist() for name, values in fitted.band._asdict().items()},
        "run_spread": fitted.run_spread,
        "run_freedom": fitted.run_freedom,
        "interval": curve.interval,
    }
    kept = ("split", "labels_minutes", "axis", "objective", "fixed", "why_not", "scratch")
    return {
        **{name: getattr(curve, name) for name in kept},
        "points": [by_measure(curve.measure, point._asdict()) for point in curve.points],
        "law": law,
    }


def plain_foretold(item: Foretold, measure: Measure) -> dict[str, Any]:
    """What a law foretells, as a record."""
    return {"amount": item.amount, measure: item.rate._asdict(), "errors_saved": item.saved._asdict()}


def scaling_sentences(curve: Scaling) -> list[str]:
    """What a curve says, and what it does not."""
    where = f"{curve.split}, {curve.labels_minutes:.1f} minutes of labels, {curve.name}"
    notes = [f"{where}: {curve.why_not}"] if curve.why_not else []
    if (fitted := curve.fitted) is None:
        return notes
    law, what = fitted.law, "audio" if curve.axis == "hours" else "parameters"
    unit, rate = name_amount(law.unit, curve.axis), curve.measure.upper()
    lines = [
        f"{where}: {rate} = {law.floor:.1%} + {law.scale:.1%} x ({what} / {unit})^-{law.exponent:.2f}".replace(
            "--", ""
        ),
        f"  exponent {number_with_interval(fitted.exponent)}; 95% intervals over {curve.interval}",
    ]
    if not fitted.has_floor and fitted.exponent.value > 0:
        lines.append(
            f"  floor taken to be 0, since there are fewer than {MIN_AMOUNTS_FOR_FLOOR} amounts: if there is one, more "
            "gains less than is said here"
        )
    lines += [
        f"  foretold with {name_amount(item.amount, curve.axis)}: {rate} {name_rate(item.rate)}, which is "
        f"{name_change(item.saved)} against {unit}"
        for item in fitted.foretold
    ]
    if fitted.says_nothing:
        lines.append(
            f"  the exponent's interval includes zero: more {what} buys nothing that can be told from these runs"
        )
    elif fitted.exponent.value < 0:
        lines.append(f"  the rate rises: more {what} makes it worse here")
    return notes + lines


def number_with_interval(estimate: Estimate) -> str:
    """An exponent."""
    return f"{estimate.value:.2f} ({estimate.low:.2f} to {estimate.high:.2f})"


def name_rate(rate: Estimate) -> str:
    """An error rate; what is over 100% is not told more closely."""
    value, low, high = ("over 100%" if end > 1 else f"{end:.1%}" for end in rate)
    return f"{value} ({low} to {high})"


def name_change(saved: Estimate) -> str:
    """Errors saved as a signed change of all."""
    value, low, high = ("more than +100%" if end < -1 else change(end) for end in (saved.value, saved.high, saved.low))
    return f"{value} ({low} to {high})"


def scaling_table(curves: Sequence[Scaling]) -> Table:
    """One row per point of each curve."""
    title = "error rates against untranscribed audio and model size"
    table = new_table(COLUMNS, left=LEFT, title=title)
    for curve in curves:
        for point in curve.points:
            table.add_row(
                curve.split,
                f"{curve.labels_minutes:.0f} min",
                curve.objective,
                curve.fixed,
                name_amount(point.hours, "hours"),
                name_amount(point.parameters, "parameters"),
                ", ".join(map(str, point.seeds)),
                f"{curve.measure.upper()} {point.rate:.1%}",
                f"{100 * point.rate_low:.1f}-{100 * point.rate_high:.1f}",
                "" if point.probe_cer is None else f"{point.probe_cer:.1%}",
            )
    return table
