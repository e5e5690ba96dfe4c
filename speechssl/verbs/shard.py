"""Sources to a finished set of shards, with a report of what is in it and what was left out."""

from contextlib import closing
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from speechssl.audio.segmentation import resolve_method
from speechssl.config import ShardConfig
from speechssl.config.limits import check
from speechssl.errors import DataError
from speechssl.ingest.accounting import check_bad_share
from speechssl.ingest.engines import make_engine
from speechssl.ingest.left_out import check_left_out
from speechssl.ingest.pipeline import VERSION, make_fingerprint, make_set
from speechssl.ingest.recordings import Found
from speechssl.ingest.set_folder import check_output, finish, is_whole
from speechssl.ingest.sources import find_recordings
from speechssl.report.ingest import IngestReport, make_report, read_named, read_report, save_report
from speechssl.report.ingest_summary import say, summary

PLOT_FILE = "report.png"


def run(config: ShardConfig) -> IngestReport:
    """Make shards, unless the folder already holds these very ones; an unfinished set goes on.

    Raises:
        ConfigError: options that make no sense, an output that cannot be written or is no place for shards.
        DataError: sources that are not recognised, no usable recording, more bad ones than allowed, a folder with other
            shards, a full disk.
    """
    check(config)
    resolve_method(config.segmentation)
    check_output(config.output, config.sources)
    console = Console(stderr=True)
    found = find_recordings(config.sources, config.output)
    if config.leave_out is not None:
        check_left_out(config.leave_out, found)
    fingerprint = make_fingerprint(found, config)
    existing = read_report(config.output)
    if existing is not None:
        return take_existing(config, existing, fingerprint, console)
    num_found = len(found.recordings) + len(found.rejected)
    check_bad_share(found.rejected, num_found, config.max_bad_share, outcome="Nothing was made")
    report = make_whole(config, found, fingerprint, console)
    finish(config.output)
    return report


def make_whole(config: ShardConfig, found: Found, fingerprint: str, console: Console) -> IngestReport:
    """Make or go on with a set, say what came of it, and write its report."""
    method = resolve_method(config.segmentation)
    resolved = replace(config, segmentation=replace(config.segmentation, method=method))
    # A finished set stays what it is when silero is installed later; an unfinished one is not cut in two ways.
    mark = f"{fingerprint} {method}"
    with closing(make_engine(config.engine, config.num_workers)) as engine:
        made = make_set(resolved, found, mark, engine, console)
    report, named = make_report(config, found, made, fingerprint)
    check_bad_share(named.rejected, report.num_found, config.max_bad_share, outcome="The set is not finished")
    say(console, summary(config.output, report, named))
    if report.num_samples == 0:
        raise DataError(
            f"{', '.join(config.sources)}: none of the {report.num_found} recordings can be used; the reasons are above"
        )
    plot_set(config.output, report)
    save_report(config.output, report, named)
    return report


def plot_set(output: Path, report: IngestReport) -> None:
    """The picture of a set."""
    # matplotlib and librosa take seconds to import, which nothing else needs.
    from speechssl.report.exhibits import choose_exhibits
    from speechssl.report.ingest_plots import plot_ingest

    plot_ingest(report, choose_exhibits([output / name for name in report.shards]), output / PLOT_FILE)


def take_existing(config: ShardConfig, report: IngestReport, fingerprint: str, console: Console) -> IngestReport:
    """Take a finished set as it is, and say again what is in it.

    Raises:
        DataError: it is of other sources or options, of another version of ingest, or was changed since.
    """
    if report.version != VERSION:
        raise DataError(
            f"{config.output}: was made by another version of speechssl, which reads sources in other ways. It can be "
            "trained on as it is; to make it anew, delete the folder or choose another one"
        )
    if report.fingerprint != fingerprint or not is_whole(config.output, report.shards):
        raise DataError(
            f"{config.output}: holds shards of other sources or made with other options, or some that were changed "
            "since; delete the folder or choose another one"
        )
    named = read_named(config.output)
    check_bad_share(named.rejected, report.num_found, config.max_bad_share, outcome="The set is there all the same")
    say(console, [f"{config.output}: already made from these sources with these options"])
    say(console, summary(config.output, report, named))
    return report
