"""Tools of a workshop with four 3D printers: jobs, filament, estimates."""

from typing import Literal, TypeAlias

from pydantic import BaseModel, Field

from alpha_umi import declare_effects

Printer: TypeAlias = Literal["Ada", "Bolt", "Cobra", "Dot"]
Material: TypeAlias = Literal["PLA", "PETG", "TPU", "ABS"]
JobState: TypeAlias = Literal["queued", "printing", "failed", "done"]

STATUS = {
    "Ada": "printing job 71, 40 minutes left",
    "Bolt": "idle",
    "Cobra": "out of filament",
    "Dot": "printing job 74, 3 hours left",
}
JOBS = {"queued": [75, 76], "printing": [71, 74], "failed": [68], "done": [69, 70, 72, 73]}
SPOOLS = {"PLA": 14, "PETG": 6, "TPU": 2, "ABS": 9}
MODELS = {"bracket.stl": (2, 34), "vase.stl": (7, 180), "gear.stl": (1, 12), "helmet.stl": (19, 610)}


class PrintSettings(BaseModel):
    """How something is printed."""

    material: Material = Field(description="The filament.")
    layer_mm: float = Field(description="Height of a layer in millimetres.", gt=0, le=0.6)
    infill_percent: int = Field(description="How full the inside is.", ge=0, le=100)


class SpoolOrder(BaseModel):
    """Spools of one material and colour."""

    material: Material = Field(description="The filament.")
    colour: str = Field(description="The colour, one word.")
    amount: int = Field(description="How many spools.", ge=1)


@declare_effects("none")
def get_printer_status(printer: Printer) -> str:
    """Tell what a printer is doing.

    Args:
        printer: Name of the printer.
    """
    return f"{printer} is {STATUS[printer]}."


@declare_effects("none")
def list_jobs(state: JobState) -> dict[str, object]:
    """List the print jobs that are in a state.

    Args:
        state: The state of the jobs.
    """
    return {"state": state, "jobs": JOBS[state]}


@declare_effects("none")
def estimate_print(model_file: str, copies: int = 1) -> str:
    """Estimate how long a print takes and how much filament it needs.

    Args:
        model_file: Name of the file, such as cube.stl.
        copies: How many of it.
    """
    if model_file not in MODELS:
        raise ValueError(f"there is no file {model_file}")
    hours, grams = MODELS[model_file]
    return f"It takes {hours * copies} hours and {grams * copies} g of filament."


@declare_effects("once")
def queue_print(model_file: str, printer: Printer, settings: PrintSettings) -> str:
    """Put a print into the queue of a printer.

    Args:
        model_file: Name of the file, such as cube.stl.
        printer: Name of the printer.
        settings: How it is printed.
    """
    return f"{model_file} is in the queue of {printer}."


@declare_effects("once")
def cancel_job(job: int) -> str:
    """Stop a job and take it out of the queue.

    Args:
        job: Number of the job.
    """
    return f"Job {job} is cancelled."


@declare_effects("none")
def count_spools(material: Material) -> str:
    """Count the spools of a material on the shelf.

    Args:
        material: The filament.
    """
    return f"There are {SPOOLS[material]} spools of {material} on the shelf."


@declare_effects("once")
def order_spools(spools: list[SpoolOrder]) -> str:
    """Order new spools of filament.

    Args:
        spools: What to order, one entry for each material and colour.
    """
    return f"{sum(each.amount for each in spools)} spools are ordered."


@declare_effects("idempotent")
def set_temperature(printer: Printer, nozzle_c: int | None = None, bed_c: int | None = None) -> str:
    """Set the temperatures of a printer.

    Args:
        printer: Name of the printer.
        nozzle_c: Of the nozzle, in degrees Celsius.
        bed_c: Of the bed, in degrees Celsius.
    """
    return f"The temperatures of {printer} are set."


TOOLS = [
    get_printer_status,
    list_jobs,
    estimate_print,
    queue_print,
    cancel_job,
    count_spools,
    order_spools,
    set_temperature,
]
