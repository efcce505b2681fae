"""The command line: `slt-grok run`, `study`, `measure`, `calibrate`, `extract`, `import`, `report`, `show`, ..."""

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from slt_grok import __version__
from slt_grok.errors import SltGrokError
from slt_grok.progress import console

app = typer.Typer(
    name="slt-grok",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Measure the local learning coefficient, the loss landscape and the Fourier circuit of networks that learn "
    "modular arithmetic, along training. Start with: slt-grok run configs/quickstart.yaml",
)

RunFolder = Annotated[Path, typer.Argument(help="A run directory, such as runs/quickstart.", metavar="RUN")]


@app.callback(invoke_without_command=True)
def _version(version: Annotated[bool, typer.Option("--version", help="Print the version and stop.")] = False) -> None:
    if version:
        print(__version__)
        raise typer.Exit


@app.command()
def run(
    config: Annotated[Path, typer.Argument(help="A YAML configuration, such as configs/quickstart.yaml.")],
    out: Annotated[Path | None, typer.Option(help="The run directory; runs/NAME where left out.")] = None,
) -> None:
    """Train a network, measure it along training and write the report.

    The same command goes on where a killed run stopped, and does only what is missing.
    """
    from slt_grok.config import load_config
    from slt_grok.studies import execute_run

    loaded = load_config(config)
    if loaded.training is None:
        raise SltGrokError(f"{config}: training: expected settings, since there is nothing to measure without them")
    print(execute_run(loaded, out or Path("runs") / loaded.name))


@app.command()
def study(
    file: Annotated[Path, typer.Argument(help="A study's YAML file, such as configs/studies/seeds.yaml.")],
    out: Annotated[Path | None, typer.Option(help="The study's directory; runs/NAME where left out.")] = None,
    workers: Annotated[
        int | None, typer.Option(help="Runs at a time, each in a process of its own; one a core if left out.", min=1)
    ] = None,
    plan: Annotated[bool, typer.Option("--plan", help="Say what is to be done and what it costs, and stop.")] = False,
) -> None:
    """Make the missing runs of a grid of settings and seeds, and one table of all their summaries.

    The same command goes on where a killed study stopped. It ends with exit code 1 where a run failed or was refused;
    those stand in the table with the reason, and the others are made all the same.
    """
    from slt_grok.studies.study import run_study

    table, well = run_study(file, out, workers, plan)
    if not plan:
        print(table)
    if not well:
        raise typer.Exit(1)


@app.command()
def measure(
    run: RunFolder,
    only: Annotated[
        str | None,
        typer.Option(
            help="Some of circuits, landscape, llc, refined, confound, topology, causal, interventions, program, "
            "curvature, connectivity, shape, by commas; where left out those of the first four that have settings."
        ),
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="Take the measurements' settings from this configuration file.")
    ] = None,
    label: Annotated[
        str | None, typer.Option(help="Keep what is measured as MEASUREMENT@LABEL, beside what there is.")
    ] = None,
) -> None:
    """Make the missing measurements of an existing or imported run and write the report anew."""
    from slt_grok.config import load_config
    from slt_grok.studies import MEASUREMENTS, measure_run

    chosen = [name.strip() for name in only.split(",")] if only is not None else None
    for name in chosen or []:
        if name not in MEASUREMENTS:
            raise SltGrokError(f"--only: expected some of {', '.join(MEASUREMENTS)}, got {name!r}")
    if label is not None and not label.replace("-", "").replace("_", "").replace(".", "").isalnum():
        raise SltGrokError(f"--label: expected letters, digits, '.', '_' and '-' alone, got {label!r}")
    print(measure_run(run, chosen, load_config(config) if config else None, label))


@app.command()
def calibrate(
    run: RunFolder,
    updates: Annotated[
        int, typer.Option(help="Updates of each chain, burn-in included: more of them allow a larger n_beta.")
    ] = 300,
    batch_size: Annotated[
        int | None, typer.Option(help="Samples of a minibatch; chosen by what it changes where left out.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the chains.", min=0)] = 0,
) -> None:
    """Choose the LLC's settings for a run by rule, check them, and print them as a section of a configuration.

    A run whose configuration has no llc section is measured with them: slt-grok measure RUN --only llc
    """
    from slt_grok.studies.calibrate import calibrate_run, settings_block

    content = calibrate_run(run, updates, batch_size, seed)
    for reason in content["reasons"]:
        console.print(reason, soft_wrap=True, markup=False)
    print(settings_block(content), end="")


@app.command()
def extract(
    run: RunFolder,
    out: Annotated[Path, typer.Option("--out", "-o", help="The Python file to write.")] = Path("program.py"),
    step: Annotated[int | None, typer.Option(help="The checkpoint's step; the last one where left out.")] = None,
    seed: Annotated[int | None, typer.Option(help="The seed; the first one where left out.")] = None,
    level: Annotated[
        str, typer.Option(help="clock, pizza or neurons; shortest takes the one of least length.")
    ] = "shortest",
) -> None:
    """Read the program that a network runs out of its weights, and write it as a Python file of its own.

    A network that no program explains gets none: the command says so and ends with exit code 2.
    """
    from slt_grok import program
    from slt_grok.trajectories import Trajectory

    networks = Trajectory.from_run(run)
    chosen = {}
    for dim, wanted in (("step", step), ("seed", seed)):
        values = networks.coords[dim].tolist()
        if wanted is not None and wanted not in values:
            raise SltGrokError(f"--{dim}: expected one of {', '.join(map(str, values))}, got {wanted}")
        chosen[dim] = [values.index(wanted) if wanted is not None else -1 if dim == "step" else 0]
    found = program.extract(program.read(networks.isel(**chosen)), level)
    program.write(found, out)
    for name, bits in found.bits.items():
        console.print(f"{name}: {bits:.0f} bits", markup=False)
    if not found.explained:
        console.print("not explained without a table: the file lists what the network has by heart", markup=False)
    print(out)


@app.command("import")
def import_(
    files: Annotated[
        list[Path],
        typer.Argument(help="Checkpoint files of one network, or a folder of them; their numbers are the steps."),
    ],
    out: Annotated[Path, typer.Option(help="The run directory to make.")],
    format: Annotated[
        str | None,
        typer.Option(
            help="progress_measures, clock_pizza, transformer_lens or devinterp_mlp; recognized where left out."
        ),
    ] = None,
) -> None:
    """Bring checkpoints from elsewhere into a run directory, which `slt-grok measure` then works on."""
    from slt_grok.store import importers

    for note in importers.import_run(files, out, format):
        console.print(note, soft_wrap=True, markup=False)
    print(out)


@app.command()
def rewrite(
    program: Annotated[Path, typer.Argument(help="What slt-grok extract wrote; it is read, not run.")],
    config: Annotated[Path, typer.Argument(help="A configuration whose architecture and split are taken.")],
    modulus: Annotated[int, typer.Option(help="The new modulus, an odd prime.")],
    out: Annotated[Path, typer.Option(help="The run directory to make.")],
) -> None:
    """Write a program's frequencies as weights for another modulus, without training.

    The network is a run with one checkpoint, for slt-grok measure RUN --config CONFIG.
    """
    from slt_grok.config import load_config
    from slt_grok.program.rewriting import write_rewritten

    like = load_config(config)
    for note in write_rewritten(program, like.name, like.model.model_dump(), like.task.model_dump(), modulus, out):
        console.print(note, soft_wrap=True, markup=False)
    print(out)


@app.command()
def report(run: RunFolder) -> None:
    """Draw the figures and write the page of a run anew from its measurements."""
    from slt_grok.report import write

    print(write(run))


@app.command()
def show(run: RunFolder) -> None:
    """Print what was found in a run."""
    import json

    from slt_grok.store import RunDirectory
    from slt_grok.store.files import read_json

    directory = RunDirectory(run)
    name = directory.manifest["config"]["name"]
    summary = read_json(run / "summary.json")
    table = Table(title=name, show_header=False)
    for key, value in summary.items():
        if not isinstance(value, dict | list) or key == "key_frequencies":
            table.add_row(key, f"{value:.4g}" if isinstance(value, float) else json.dumps(value))
    Console().print(table)


@app.command()
def validate(
    case: Annotated[
        list[str] | None,
        typer.Option(help='A case such as "dln 8,12,10 rank 3"; may be given again. The whole zoo where left out.'),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(help="Seed of problems and chains; where left out, 0, and 0 to 4 for the whole zoo.", min=0),
    ] = None,
    json: Annotated[Path | None, typer.Option(help="Write the summary and all cases to this file.")] = None,
) -> None:
    """Estimate the LLC where it is known, with the settings that a user gets, and print truth beside estimate."""
    from slt_grok.zoo import command

    command.run(case or [], seed, json, shlex.join(["slt-grok", *sys.argv[1:]]))


def main() -> None:
    """Run the command line; what a person did wrong becomes one sentence and exit code 2."""
    from slt_grok.memory import keep_freed_memory

    keep_freed_memory()
    try:
        app(standalone_mode=True)
    except SltGrokError as error:
        console.print(f"slt-grok: {error}", style="red", soft_wrap=True, markup=False)
        sys.exit(2)
    except KeyboardInterrupt:
        console.print("slt-grok: stopped; the same command goes on from here", soft_wrap=True)
        sys.exit(130)
