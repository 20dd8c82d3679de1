"""The command line: one module a group of commands; all but `serve` and `doctor` talk to the server's API."""

from __future__ import annotations

__all__ = ["main"]


def main() -> None:
    """The entry point of the `muniment` command; errors leave with the exit codes of `errors.EXIT_CODE`."""
    import os
    import signal
    import sys

    from muniment.cli.commands import app, report
    from muniment.errors import EXIT_CODE, AuditError, StorageError

    try:
        app()
    except AuditError as error:
        report(error)
        sys.exit(next(EXIT_CODE[kind] for kind in type(error).__mro__ if kind in EXIT_CODE))
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        # Whoever read us has enough; what is left in the buffer has nowhere to go.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        report(StorageError(f"{error.strerror}", path=str(error.filename or "")))
        sys.exit(EXIT_CODE[StorageError])
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl+C has nothing left to end
