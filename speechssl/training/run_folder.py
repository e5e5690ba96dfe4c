"""The folder of a training run, tried before anything is read."""

from pathlib import Path

from speechssl.outputs import check_output_folder, has_json, has_json_lines
from speechssl.training.checkpoints import BEST_FILE, parse_best
from speechssl.training.ranks import is_first_rank
from speechssl.training.run_log import LOG_FILE, SUMMARY_FILE


def check_run_folder(run: Path) -> None:
    """Try whether a run can be written in a folder, which may hold other things; the first rank does it for all.

    Raises:
        ConfigError: it cannot, or would replace a file of another origin.
    """
    if not is_first_rank():
        return
    check_output_folder(
        run,
        ours={
            LOG_FILE: has_json_lines("kind", "update", "wall_seconds"),
            SUMMARY_FILE: has_json("updates", "wall_seconds"),
            BEST_FILE: lambda path: parse_best(path) is not None,
        },
    )
    for name in ("checkpoints", "tensorboard"):
        check_output_folder(run / name)
