"""The ``speechssl`` command: one verb per job, each parses its configuration and calls one function.

A verb's module is imported only when the verb runs, so that help and mistakes answer at once, without torch.
"""

import errno
import importlib
import inspect
import logging
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn, TextIO

from speechssl import __version__, config
from speechssl.config.help import help_text
from speechssl.config.reading import build, to_yaml
from speechssl.config.schema import nearest
from speechssl.config.sources import read_arguments
from speechssl.errors import ConfigError, DataError, LaunchError, RunStopped, UserError
from speechssl.installation import check_installation
from speechssl.outputs import escape_what_does_not_fit
from speechssl.training.ranks import is_first_rank


@dataclass(frozen=True)
class Verb:
    """One job of the toolkit."""

    config: type
    """Its configuration; the class docstring is the verb's help."""
    module: str
    """Module whose ``run(config)`` does it."""
    positionals: tuple[str, ...] = ()
    """Keys that may be given by position."""
    when_interrupted: str = "nothing was finished"
    """What a person who pressed Ctrl-C should know."""
    ends_at_once: bool = False
    """Whether nothing is left to be done by Python at its end: no processes, no temporary files."""
    trains: bool = False
    """Whether several processes may do it together, of which one speaks; others heed no launcher's variables."""


_GOES_ON = "the same command goes on from the last checkpoint, or anew if there is none"

VERBS = {
    "shard": Verb(
        config.ShardConfig,
        "speechssl.verbs.shard",
        positionals=("sources", "output"),
        when_interrupted="the same command goes on from the shards that are whole",
    ),
    "verify": Verb(
        config.VerifyConfig,
        "speechssl.verbs.verify",
        positionals=("shards",),
        when_interrupted="no index was written",
    ),
    "plan": Verb(config.PlanConfig, "speechssl.verbs.plan", positionals=("pretraining", "shards")),
    "pretrain": Verb(config.PretrainConfig, "speechssl.verbs.pretrain", when_interrupted=_GOES_ON, trains=True),
    "finetune": Verb(config.FinetuneConfig, "speechssl.verbs.finetune", when_interrupted=_GOES_ON, trains=True),
    "evaluate": Verb(config.EvaluateConfig, "speechssl.verbs.evaluate", positionals=("checkpoint",)),
    "score": Verb(config.ScoreConfig, "speechssl.verbs.score", positionals=("reference", "hypothesis", "other")),
    "transcribe": Verb(
        config.TranscribeConfig,
        "speechssl.verbs.transcribe",
        positionals=("checkpoint", "audio"),
        when_interrupted="what was transcribed is above, or with --output in .partial_ and its name",
        ends_at_once=True,
    ),
    "align": Verb(config.AlignConfig, "speechssl.verbs.align", positionals=("checkpoint", "sources", "output")),
    "calibrate": Verb(config.CalibrateConfig, "speechssl.verbs.calibrate", positionals=("checkpoint",)),
    "lm": Verb(config.LanguageModelConfig, "speechssl.verbs.lm", positionals=("text", "output")),
    "tune": Verb(config.TuneConfig, "speechssl.verbs.tune", positionals=("checkpoint", "output")),
    "probe": Verb(config.ProbeConfig, "speechssl.verbs.probe", positionals=("checkpoint",)),
    "embed": Verb(
        config.EmbedConfig,
        "speechssl.verbs.embed",
        positionals=("checkpoint", "output"),
        when_interrupted="the same command goes on from the parts that are whole",
    ),
    "import": Verb(config.ImportConfig, "speechssl.verbs.import_", positionals=("checkpoint", "output")),
    "export": Verb(config.ExportConfig, "speechssl.verbs.export", positionals=("checkpoint", "output")),
    "report": Verb(config.ReportConfig, "speechssl.verbs.report", positionals=("experiment",)),
}


def command() -> NoReturn:
    """Run the command line of this process, and end it.

    Unloaded at Python's end, PyTorch's libraries for GPUs take 125 MiB more memory than they had, and a quarter of a
    second, whether there is a GPU or not.
    """
    escape_what_does_not_fit(sys.stdout)
    status = main()
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            try:
                stream.flush()
            except OSError:
                _let_go(stream)
    verb = VERBS.get(sys.argv[1]) if len(sys.argv) > 1 else None
    if verb is not None and verb.ends_at_once:
        os._exit(status)
    sys.exit(status)


def _let_go(stream: TextIO) -> None:
    """Point a stream whose disk is full, or whose reader has gone, elsewhere: Python would fail on it at its end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit status.

    0: done. 2: something the user can mend, said on standard error. 3: an unhealthy training run. 130: interrupted;
    143 and others above 128: a training run that another signal has stopped. Any other exception is a bug in speechssl
    and shows its traceback.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        status = _run(arguments)
        if sys.stdout is not None:  # closed by who began the process
            sys.stdout.flush()
        return status
    except UserError as error:
        # What comes up on every rank is said by the first; its own streams' data only a rank itself can speak of.
        if not _speaks(arguments) and not isinstance(error, (DataError, LaunchError)):
            return error.exit_status
        return _complain(str(error), error.exit_status)
    except RunStopped as stopped:
        return stopped.exit_status
    except KeyboardInterrupt:
        if not _speaks(arguments):
            return 130
        verb = VERBS.get(arguments[0]) if arguments else None
        print(f"\nspeechssl: interrupted; {verb.when_interrupted if verb else 'nothing was done'}", file=sys.stderr)
        return 130
    except BrokenPipeError:
        return 141  # the reader of our output (such as head) has seen enough; what a shell reports for SIGPIPE
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        if error.errno == errno.ENAMETOOLONG:
            return _complain(f"{where}no file can have so long a name", 2)
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        return _complain(f"{where}the disk is full; free some space and give the same command again", 2)
    except (MemoryError, RuntimeError) as error:
        if not _is_out_of_memory(error):
            raise
        told = f" ({str(error).strip().splitlines()[0][:200]})" if str(error).strip() else ""
        return _complain(f"memory ran out{told}; give smaller batches (max_batch_seconds), or fewer workers", 2)


def _speaks(arguments: list[str]) -> bool:
    """Whether this process speaks for all that may do the same."""
    verb = VERBS.get(arguments[0]) if arguments else None
    return verb is None or not verb.trains or is_first_rank()


def _run(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(_overview())
        return 0 if arguments else 2
    if arguments[0] == "--version":
        print(f"speechssl {__version__}")
        return 0
    name, *rest = arguments
    if name not in VERBS:
        raise ConfigError(f"unknown verb {name!r}; the nearest is {nearest(name, VERBS)} (all: {', '.join(VERBS)})")
    verb = VERBS[name]
    sources = read_arguments(verb.config, rest, positionals=verb.positionals)
    if sources.help:
        print(help_text(verb.config, command=f"speechssl {name}", positionals=verb.positionals), end="")
        return 0
    if sources.print_config:
        print(to_yaml(_as_it_runs(build(verb.config, sources, partial=True))), end="")
        return 0
    resolved: object = build(verb.config, sources)
    _log_to_terminal(logging.INFO if _speaks(arguments) else logging.ERROR)
    check_installation()
    importlib.import_module(verb.module).run(resolved)
    return 0


def _as_it_runs(asked: object) -> object:
    """A configuration with the model that --init brings: reading that takes torch."""
    if getattr(asked, "init", None) is not None:
        return importlib.import_module("speechssl.tasks.initial").resolve(asked)
    return asked.with_min_seconds() if isinstance(asked, config.PretrainConfig) else asked


def _overview() -> str:
    width = max(map(len, VERBS)) + 2
    verbs = "\n".join(f"  {name:<{width}}{inspect.getdoc(verb.config)}" for name, verb in VERBS.items())
    return (
        "usage: speechssl VERB [ARGUMENT ...] [--config FILE ...] [--KEY VALUE ...]\n\n"
        "Self-supervised learning of speech representations.\n\n"
        f"verbs:\n{verbs}\n\n"
        "`speechssl VERB --help` explains every key; `speechssl VERB --print_config` prints them as YAML for --config."
    )


def _is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, that of a GPU or, which PyTorch tells in words only, of the machine."""
    return (
        isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError" or "allocate memory" in str(error)
    )


def _complain(message: str, status: int) -> int:
    print(f"speechssl: error: {message}", file=sys.stderr)
    return status


class _TerminalHandler(logging.StreamHandler):
    """Writes to whatever standard error is at the time: the progress bar takes its place while it is shown."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:
        return sys.stderr

    def format(self, record: logging.LogRecord) -> str:
        prefix = f"speechssl: {record.levelname.lower()}: " if record.levelno >= logging.WARNING else ""
        return prefix + super().format(record)


def _log_to_terminal(level: int) -> None:
    logger = logging.getLogger("speechssl")
    if not logger.handlers:
        logger.addHandler(_TerminalHandler())
        logger.setLevel(level)
