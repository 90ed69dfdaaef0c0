"""Says how far a run has come, while it goes on and afterwards, from its folder alone.

    inr-xai status RUN                  images planned, done, failed, in flight and left; who works; the time left
    inr-xai status RUN --watch          the same anew every 10 s, until the run is finished or nobody works on it
    inr-xai status RUN --watch 60       the same every minute
    inr-xai status RUN --json           the same for a program, with all images in flight

It needs neither data nor classifier, and changes nothing. A worker gives a sign of life every 10 s.

Exit status: 0 finished and nothing failed, 3 finished with images that failed, 4 images are left and somebody works on
the run, 5 something is left and nobody works on it, 2 the folder holds no run, 130 a watch was ended by Ctrl-C.
"""

import argparse
import json
import math
import os
import shutil
import sys
import time
from collections.abc import Sequence

from inr_xai.config.programs import Interruption, run_program
from inr_xai.errors import INTERRUPTED
from inr_xai.runs.progress import DEAD, FINISHED, RECENT, RUNNING, STOPPED, RunProgress, Worker, duration, progress_of

REASONS, NAMED = 3, 2
"""How many reasons of failures are shown, and of each worker how many images."""
BACK = "\x1b[{}F\x1b[J"
"""What moves a terminal up by some lines, and clears it from there on."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line, and returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="inr-xai status", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", help="the folder of a run")
    parser.add_argument("--watch", nargs="?", type=_seconds, const=10.0, metavar="SECONDS", help="look again and again")
    parser.add_argument("--json", action="store_true", help="print JSON (with --watch, one line for each look)")
    args = parser.parse_args(arguments)
    if args.watch is None:
        return run_program(lambda: show(args.run, as_json=args.json))
    return run_program(lambda: watch(args.run, args.watch, as_json=args.json))


def show(run: str, *, as_json: bool) -> int:
    """Prints how far a run has come, and returns the exit status. Raises UserError if the folder holds no run."""
    progress = progress_of(run)
    sys.stdout.write(f"{json.dumps(progress.plain(), indent=2)}\n" if as_json else _text(_lines(run, progress)))
    return progress.exit_status


def watch(run: str, seconds: float, *, as_json: bool) -> int:
    """Prints again and again how far a run has come, until it is finished or nobody works, and returns the exit status.

    On a terminal, a text takes the place of the one before.

    Args:
        seconds: the pause between two looks.

    Raises:
        UserError: the folder holds no run.
    """
    in_place, above = not as_json and sys.stdout.isatty() and os.environ.get("TERM") != "dumb", 0
    try:
        while True:
            progress = progress_of(run)
            lines = [json.dumps(progress.plain())] if as_json else _lines(run, progress)
            if in_place:
                lines = lines[: max(shutil.get_terminal_size().lines - 1, 1)]  # what has left a terminal stays there
            elif not as_json:
                lines.append("")
            sys.stdout.write((BACK.format(above) if above else "") + _text(lines))
            sys.stdout.flush()
            if progress.state != RUNNING:
                return progress.exit_status
            above = len(lines) if in_place else 0
            time.sleep(seconds)
    except (Interruption, KeyboardInterrupt) as error:  # which is how a watch ends; nothing was interrupted
        return error.status if isinstance(error, Interruption) else INTERRUPTED


def _seconds(text: str) -> float:
    """Returns the pause that a text gives, in seconds."""
    try:
        seconds = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds; name the run first: RUN --watch") from None
    if not (seconds > 0 and math.isfinite(seconds)):
        raise argparse.ArgumentTypeError(f"seconds must be positive; got {text}")
    return seconds


def _text(lines: Sequence[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def _lines(run: str, progress: RunProgress) -> list[str]:
    """Returns what is printed, as lines that are no wider than the terminal, or 80 columns if there is none."""
    width = shutil.get_terminal_size((80, 24)).columns
    lines = [run if len(run) <= width else f"...{run[3 - width :]}", f"  state     {_state(progress)}"]
    for name, number in (("planned", progress.planned), ("done", progress.done), ("failed", progress.failed)):
        share = f"  {100 * progress.done / progress.planned:.1f} %" if name == "done" and progress.planned else ""
        lines.append(f"  {name:10}{'unknown' if number is None else number:>8}{share}")
    if progress.in_flight:
        lines.append(f"  in flight {progress.in_flight:8}")
    lines.append(f"  left      {'unknown' if progress.left is None else progress.left:>8}")
    lines += _speed(progress)
    if progress.reasons:
        lines.append("why images failed")
        lines += [f"  {images:6}  {reason}" for reason, images in progress.reasons[:REASONS]]
        rest = progress.reasons[REASONS:]
        if rest:
            lines.append(f"  {sum(images for _, images in rest):6}  for {len(rest)} other reasons (failures.csv)")
    workers = [worker for worker in progress.workers if worker.lives or progress.state != FINISHED]
    if workers:
        lines.append("workers")
        lines += [line for worker in workers for line in _about(worker)]
    return [line if len(line) <= width else f"{line[: max(width - 3, 0)]}..." for line in lines]


def _state(progress: RunProgress) -> str:
    """Says what the run is."""
    if progress.state == RUNNING:
        done = "; all images are done" if progress.left == 0 else ""
        return f"running, {progress.living} worker{'s' * (progress.living > 1)} alive{done}"
    if progress.state == STOPPED:
        what = "images are left" if progress.left else "the tables are not made"
        return f"stopped: {what}, and the same command continues"
    return "finished" if progress.planned is not None else "finished, as far as an old run shows it"


def _speed(progress: RunProgress) -> list[str]:
    """Returns the lines about how fast the run is, and when it will be done."""
    lines = []
    if progress.session is not None and progress.session_seconds is not None:
        if progress.session_seconds > RECENT and progress.recent is not None:
            lines.append(f"  rate      {progress.recent:8.1f} images/min in the last {RECENT / 60:.0f} minutes")
        whole = f"in this session, which began {duration(progress.session_seconds)} ago"
        lines.append(f"  {'' if lines else 'rate':10}{progress.session:8.1f} images/min {whole}")
    if progress.idle is not None:
        lines.append(f"  last one  {duration(progress.idle):>8} ago")
    if progress.seconds_left:
        until = time.strftime("%Y-%m-%d %H:%M", time.localtime(time.time() + progress.seconds_left))
        lines.append(f"  time left {duration(progress.seconds_left):>8}, until {until}")
    return lines


def _about(worker: Worker) -> list[str]:
    """Returns the lines about a worker: who it is, and the images that it has in hand."""
    sign = "" if worker.silent_for is None else f" {duration(worker.silent_for)} ago"
    stopped = worker.state != DEAD and not worker.lives
    state = "stopped" if stopped else worker.state
    who = f"since {worker.since[5:16]}  pid {worker.pid} of {worker.host}"
    lines = [f"  {worker.work:14} {state:7} {sign:>9}  {who}"]
    if worker.images:
        names = sorted(worker.images)
        more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
        lines.append(f"      {duration(max(worker.images.values())):>8}  {', '.join(names[:NAMED])}{more}")
    return lines


if __name__ == "__main__":
    sys.exit(main())
