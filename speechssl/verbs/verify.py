"""``speechssl verify``: prove that shards and indexes are whole, name what is not, index shards made elsewhere."""

from functools import partial
from pathlib import Path

from rich.console import Console
from rich.progress import track

from speechssl.config import VerifyConfig
from speechssl.config.limits import check
from speechssl.errors import ConfigError, DataError
from speechssl.outputs import check_output_file, check_output_folder, has_json, write_json
from speechssl.report.verification import VerificationReport, show_findings, summary
from speechssl.shards.listing import REPORT_FILE
from speechssl.shards.verify.indexes import partial_index, publish_index
from speechssl.shards.verify.processes import check_in_processes
from speechssl.shards.verify.sets import check_folder, check_set, find_all
from speechssl.shards.verify.shards import check_shard


def run(config: VerifyConfig) -> VerificationReport:
    """Check every shard, and the set as a whole; write indexes if asked to.

    Raises:
        ConfigError: nothing to verify, or a report that cannot be written there.
        DataError: something is wrong; the message is the summary.
    """
    shards, folders = _prepare(config)
    check = partial(check_shard, decode=config.decode or config.write_index, write_index=config.write_index)
    console = Console(stderr=True)
    try:
        checks = check_in_processes(check, shards, config.num_workers)
        progress = track(checks, total=len(shards), description="shards", console=console)
        results = sorted(progress, key=lambda result: result.shard)
        check_set(results)
        num_written = sum(publish_index(result) for result in results)
    finally:
        if config.write_index:
            for shard in shards:
                partial_index(shard).unlink(missing_ok=True)
    findings = [finding for result in results for finding in (*result.findings, *result.index_findings)]
    findings += dict.fromkeys(finding for folder in folders for finding in check_folder(folder))
    report = VerificationReport(
        len(shards), sum(r.num_samples for r in results), sum(r.seconds for r in results), num_written, findings
    )
    show_findings(report, console)
    if config.report is not None:
        listed = [finding._asdict() for finding in findings]
        write_json(config.report, vars(report) | {"seconds": round(report.seconds, 3), "findings": listed})
    if findings:
        raise DataError(summary(report, config.report))
    return report


def _prepare(config: VerifyConfig) -> tuple[list[Path], list[Path]]:
    """Refuse what cannot work; shards, and folders that are to be checked as a whole."""
    check(config)
    if not config.shards:
        raise ConfigError("shards is empty; name shard files, folders of shards, or globs")
    shards, folders = find_all(config.shards)
    if config.report is not None:
        sets = {place.resolve() for shard in shards for place in (shard.parent, shard.parent.parent)}
        if config.report.name == REPORT_FILE and config.report.parent.resolve() in sets:
            raise ConfigError(f"report: {config.report} is where the set's own report lies; choose another name")
        if config.report.suffix in (".tar", ".index"):
            raise ConfigError(f"report: {config.report} would be taken for a shard or its index; give a name as x.json")
        check_output_file(config.report, has_json("num_shards", "findings"), what="findings", key="report")
    for folder in sorted({shard.parent for shard in shards}) if config.write_index else ():
        check_output_folder(folder, key="write_index: the folder of the shards")
    return shards, folders
