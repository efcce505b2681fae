"""The command line: `slt-grok run`, `study`, `measure`, `calibrate`, `extract`, `import`, `report`, `show`, ..."""

import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from typer.core import TyperArgument, TyperCommand, TyperOption

from slt_grok import __version__
from slt_grok.errors import SltGrokError
from slt_grok.progress import console

if TYPE_CHECKING:
    from slt_grok.studies import Run

app = typer.Typer(
    name="slt-grok",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Measure the local learning coefficient, loss landscape and circuit of networks that learn an "
    "algorithm, over training. Start with: slt-grok run configs/quickstart.yaml",
)


@contextmanager
def _locked_run(path: Path) -> "Iterator[Run]":
    """Open an existing run while no other process writes there."""
    from slt_grok.store import RunDirectory
    from slt_grok.studies.lock import locked
    from slt_grok.studies.run import open_run

    _ = RunDirectory(path).manifest  # nothing is written where there is no run
    with locked(path):
        yield open_run(path)


RunFolder = Annotated[Path, typer.Argument(help="A run directory, such as runs/quickstart.", metavar="RUN")]


class RegistryHelp(TyperCommand):
    """A command whose help lists registered names; they are looked up only when needed, since that takes seconds."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Print the help with MEASUREMENTS, FORMATS and LEVELS filled in."""
        from slt_grok.measurement import Measurement
        from slt_grok.program.extraction import LEVELS
        from slt_grok.store.importers import Importer

        names = {
            "MEASUREMENTS": [m.name for m in Measurement.ordered()],
            "FORMATS": [i.name for i in Importer.all()],
            "LEVELS": list(LEVELS),
        }
        for parameter in self.params:
            assert isinstance(parameter, TyperOption | TyperArgument)
            for word, known in names.items():
                parameter.help = (parameter.help or "").replace(word, ", ".join(known))
        super().format_help(ctx, formatter)


@app.callback(invoke_without_command=True)
def _version(version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False) -> None:
    if version:
        print(__version__)
        raise typer.Exit


@app.command()
def run(
    config: Annotated[Path, typer.Argument(help="A YAML configuration, such as configs/quickstart.yaml.")],
    out: Annotated[Path | None, typer.Option(help="The run directory; runs/NAME by default.")] = None,
) -> None:
    """Train a network, measure it over training and write the report.

    The same command resumes a killed run, and does only what is missing.
    """
    from slt_grok.config import load_config
    from slt_grok.studies import execute_run
    from slt_grok.studies.lock import locked

    loaded = load_config(config)
    if loaded.training is None:
        raise SltGrokError(f"{config}: training: expected settings; without them there is nothing to measure")
    folder = out or Path("runs") / loaded.name
    with locked(folder):
        print(execute_run(loaded, folder))


@app.command()
def study(
    file: Annotated[Path, typer.Argument(help="A study's YAML file, such as configs/studies/seeds.yaml.")],
    out: Annotated[Path | None, typer.Option(help="The study's directory; runs/NAME by default.")] = None,
    workers: Annotated[
        int | None, typer.Option(help="Number of concurrent runs, one process each; one per core by default.", min=1)
    ] = None,
    plan: Annotated[bool, typer.Option("--plan", help="Print the planned work and its cost, and exit.")] = False,
) -> None:
    """Execute the missing runs of a grid of settings and seeds, and tabulate all their summaries.

    The same command resumes a killed study. The exit code is 1 if a run failed or its settings were rejected; such runs
    are in the table with the reason, and do not stop the others.
    """
    from slt_grok.studies.study import run_study

    table, ok = run_study(file, out, workers, plan)
    if not plan:
        print(table)
    if not ok:
        raise typer.Exit(1)


@app.command(cls=RegistryHelp)
def measure(
    run: RunFolder,
    only: Annotated[
        str | None, typer.Option(help="Comma-separated names among MEASUREMENTS; by default, all that are configured.")
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(help="Take the measurements' settings from this file: a configuration, or some sections of one."),
    ] = None,
    label: Annotated[
        str | None, typer.Option(help="Store the results as MEASUREMENT@LABEL, alongside existing ones.")
    ] = None,
) -> None:
    """Make the missing measurements of an existing or imported run and rewrite the report."""
    from slt_grok.measurement import Measurement
    from slt_grok.studies import measure_run, settings_for

    with _locked_run(run) as loaded:
        chosen = [name.strip() for name in only.split(",")] if only is not None else None
        settings = settings_for(loaded, config, chosen) if config else None
        known = [measurement.name for measurement in Measurement.ordered()]
        for name in chosen or []:
            if name not in known:
                raise SltGrokError(f"--only: expected some of {', '.join(known)}, got {name!r}")
        if label is not None and not label.replace("-", "").replace("_", "").replace(".", "").isalnum():
            raise SltGrokError(f"--label: expected only letters, digits, '.', '_' and '-', got {label!r}")
        print(measure_run(loaded, chosen, settings, label))


@app.command("list")
def list_(
    plugin: Annotated[list[str] | None, typer.Option(help="A module that adds more; may be repeated.")] = None,
) -> None:
    """Print the available measurements, samplers, tasks, models and formats with their settings."""
    from slt_grok.listing import listing
    from slt_grok.registry import load_plugins

    load_plugins(plugin or [], "--plugin", named=True)
    print(*listing(), sep="\n")


@app.command()
def calibrate(
    run: RunFolder,
    n_beta: Annotated[float | None, typer.Option(help="n times the inverse temperature; n by default.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the chains.", min=0)] = 0,
) -> None:
    """Choose the LLC's settings for a run by rule, check them, and print them as a section of a configuration.

    A run whose configuration has no llc section is then measured with them: slt-grok measure RUN --only llc
    """
    from slt_grok.studies.calibrate import calibrate_run, settings_block

    with _locked_run(run) as loaded:
        content = calibrate_run(loaded, n_beta, seed)
    for reason in content["reasons"]:
        console.print(reason, soft_wrap=True, markup=False)
    print(settings_block(content), end="")


@app.command(cls=RegistryHelp)
def extract(
    run: RunFolder,
    out: Annotated[Path, typer.Option("--out", "-o", help="The Python file to write.")] = Path("program.py"),
    step: Annotated[int | None, typer.Option(help="The checkpoint's step; the last one by default.")] = None,
    seed: Annotated[int | None, typer.Option(help="The seed; the first one by default.")] = None,
    level: Annotated[str, typer.Option(help="LEVELS; or shortest, the one with the fewest bits.")] = "shortest",
) -> None:
    """Extract the program that a network implements from its weights, and write it as a standalone Python file.

    If no program explains the network, the command reports this and exits with code 2.
    """
    from slt_grok import program
    from slt_grok.studies.run import open_run

    networks = open_run(run).trajectory
    chosen = {}
    for dim, wanted in (("step", step), ("seed", seed)):
        values = networks.coords[dim].tolist()
        if wanted is not None and wanted not in values:
            raise SltGrokError(f"--{dim}: expected one of {', '.join(map(str, values))}, got {wanted}")
        chosen[dim] = [values.index(wanted) if wanted is not None else -1 if dim == "step" else 0]
    extraction = program.extract(program.read(networks.isel(**chosen)), level)
    program.write(extraction, out)
    for name, bits in extraction.bits.items():
        console.print(f"{name}: {bits:.0f} bits", markup=False)
    if not extraction.explained:
        console.print("not explained without a table: the file lists what the network has memorized", markup=False)
    print(out)


@app.command("import", cls=RegistryHelp)
def import_(
    files: Annotated[list[Path], typer.Argument(help="Checkpoints of one network: files, or folders of them.")],
    out: Annotated[Path, typer.Option(help="The run directory to create.")],
    format: Annotated[str | None, typer.Option(help="One of FORMATS; recognized by default.")] = None,
    step_from: Annotated[
        str | None,
        typer.Option(help="What states the training step: an entry of the file, or the word before it in the name."),
    ] = None,
    train_indices: Annotated[
        Path | None,
        typer.Option(help="The train set: a JSON, text, .npy or .pt file with the numbers a p + b of pairs."),
    ] = None,
    module: Annotated[
        str | None, typer.Option(help="Your own network: a function that builds it, such as my_net.py:build.")
    ] = None,
    data: Annotated[
        str | None, typer.Option(help="With --module: a function that returns the data, such as my_net.py:data.")
    ] = None,
    loss: Annotated[
        str | None, typer.Option(help="With --data: a function of outputs and targets; cross-entropy by default.")
    ] = None,
    task: Annotated[
        Path | None, typer.Option(help="With --module, instead of --data: a YAML file with a built-in task.")
    ] = None,
    sites: Annotated[
        Path | None, typer.Option(help="With --module: a YAML file with its sites and roles, to measure circuits.")
    ] = None,
) -> None:
    """Import external checkpoints as a run directory for `slt-grok measure`.

    The code that --module, --data and --loss name, and what it imports, is executed, now and by later commands on this
    run. No other code is.
    """
    from slt_grok.studies.imports import import_custom, import_published

    if module is None:
        for name, value in {"data": data, "loss": loss, "task": task, "sites": sites}.items():
            if value is not None:
                raise SltGrokError(f"--{name}: expected --module too")
        notes = import_published(files, out, format, step_from, train_indices)
    elif format is not None or train_indices is not None:
        raise SltGrokError("import: expected no --format or --train-indices together with --module")
    else:
        notes = import_custom(files, out, module, data, loss, task, sites, step_from)
    for note in notes:
        console.print(note, soft_wrap=True, markup=False)
    print(out)


@app.command()
def rewrite(
    program: Annotated[Path, typer.Argument(help="A file written by slt-grok extract; it is read, not executed.")],
    config: Annotated[Path, typer.Argument(help="A configuration with the architecture and the split.")],
    modulus: Annotated[int, typer.Option(help="The new modulus, an odd prime.")],
    out: Annotated[Path, typer.Option(help="The run directory to create.")],
) -> None:
    """Write a program's frequencies as weights for another modulus, without training.

    The network is stored as a run with one checkpoint, for slt-grok measure RUN --config CONFIG.
    """
    from slt_grok.config import load_config
    from slt_grok.program.rewriting import write_rewritten

    like = load_config(config)
    for note in write_rewritten(program, like.name, like.content["model"], like.content["task"], modulus, out):
        console.print(note, soft_wrap=True, markup=False)
    print(out)


@app.command()
def report(run: RunFolder) -> None:
    """Redraw the figures and rewrite the page of a run from its measurements."""
    from slt_grok.report import write

    with _locked_run(run) as loaded:
        print(write(loaded))


@app.command()
def show(run: RunFolder) -> None:
    """Print the key numbers of a run, and the setting of its LLC."""
    from slt_grok.report import summary
    from slt_grok.store import RunDirectory
    from slt_grok.studies.run import SUMMARY

    directory = RunDirectory(run)
    name, content = directory.manifest["config"]["name"], directory.read_result(SUMMARY)
    llc = directory.read_measurement("llc") if "llc" in directory.labels else None
    seeds = summary.by_seed(content)
    rows = [summary.key_numbers(s) | {"LLC estimates by status": summary.statuses(s)} for s in seeds.values()]
    table = Table("", *(f"Seed {seed}" for seed in seeds), show_header=len(seeds) > 1)
    for cells in zip(*(each.items() for each in rows), strict=True):
        table.add_row(cells[0][0], *(value for _, value in cells))
    screen = Console(markup=False, highlight=False)
    screen.print(f"{name}: {summary.headline(content)}", table)
    if setting := summary.llc_setting(llc):
        screen.print(f"* {setting}")


@app.command()
def validate(
    case: Annotated[
        list[str] | None,
        typer.Option(help='A case such as "dln 8,12,10 rank 3"; may be repeated. The entire zoo by default.'),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Seed of problems and chains; default: 0, or 0 to 2 for the entire zoo.", min=0)
    ] = None,
    json: Annotated[Path | None, typer.Option(help="Write the summary and all cases to this file.")] = None,
) -> None:
    """Estimate known LLCs with the default settings, and print truth and estimate."""
    from slt_grok.zoo import command

    command.run(case or [], seed, json, shlex.join(["slt-grok", *sys.argv[1:]]))


def main() -> None:
    """Run the command line; a user error is reported in one sentence with exit code 2."""
    from slt_grok.memory import keep_freed_memory

    keep_freed_memory()
    try:
        app(standalone_mode=True)
    except SltGrokError as error:
        sentence = str(error)
    except OSError as error:  # of files without a sentence of their own, such as logs
        sentence = f"{error.filename or 'files'}: cannot be read or written ({error.strerror or error})"
    else:
        return
    console.print(f"slt-grok: {sentence}", style="red", soft_wrap=True, markup=False)
    sys.exit(2)
