"""Is all ready? What a report of a problem needs: weights, machine, memory, codecs, places."""

from dataclasses import replace
from typing import Any

from huggingface_hub.constants import HF_HUB_CACHE

from src.common.counting import counted
from src.common.errors import UserError
from src.common.system import devices, execution_providers, quick_precision, video_codecs, writable
from src.models.checkup import check_weights
from src.models.image_model import check_sides
from src.models.memory import Workload, count_memory, settings_that_fit
from src.pose.extractors.checkup import check_poses
from src.pose.extractors.settings import ExtractorSettings
from src.runs.provenance import environment, git_revision
from src.runs.settings import LearningSettings


def doctor(settings: LearningSettings, pose: ExtractorSettings, *, multiple: int) -> dict[str, Any]:
    """Everything that a report of a problem needs: weights, machine, memory against what the settings need, places.

    Args:
        pose: the extractor of a clip that is prepared.
        multiple: of the model, `resolution_multiple`.

    Returns:
        `problems`, lines that say what would fail and how to mend it, and what they were found from.
    """
    weights, machine, runtime = check_weights(settings.model), devices(), execution_providers()
    poses = check_poses(pose)
    codecs, places = video_codecs(), [writable(place) for place in ("outputs", "data", HF_HUB_CACHE)]
    work = Workload(
        batch_frames=settings.data.batch_frames,
        # The least of what `auto` may choose, as with the chunk.
        gradient_checkpointing=settings.model.gradient_checkpointing is not False,
        offload=settings.model.offload is not False and bool(machine["cuda"]),
        dtype=settings.model.dtype,
        frame_chunk=1 if settings.sampling.frame_chunk == "auto" else settings.sampling.frame_chunk,
        num_frames=min(settings.data.num_test_frames, settings.sampling.window_frames or settings.data.num_test_frames)
        + int(settings.method.reference_insertion),
    )
    # Parts that do not belong together run on empty tensors as little as on others: what would fit is counted.
    model = settings.model if weights["fits"] else replace(settings.model, random_seed=0, vae=None)
    count = count_memory(model, resolution=settings.data.resolution, precision=settings.trainer.precision)
    needed = count.stages(work)
    # What fits a card is asked most where there is none, and there another precision may be the quick one.
    of_cards = quick_precision("gpu", settings.model.dtype)
    on_cards = (
        count
        if settings.trainer.precision == of_cards or machine["cuda"]
        else count_memory(model, resolution=settings.data.resolution, precision=of_cards)
    )
    problems = [
        *weights["problems"],
        *poses["problems"],
        *_resolution_problems(settings, multiple),
        *_machine_problems(settings, machine, runtime, max(needed.values())),
    ]
    problems += [f"FFmpeg here cannot write {name}: pip install av" for name, can in codecs["write"].items() if not can]
    problems += [f"{place['folder']} cannot be written: {place['why']}" for place in places if not place["writable"]]
    return {
        "problems": problems,
        "weights": weights,
        "poses": poses,
        "devices": machine,
        "onnxruntime": runtime,
        "memory_gib": needed,
        "settings_that_fit": settings_that_fit(on_cards, work),
        "codecs": codecs,
        "places": places,
        "versions": environment(),
        "git": git_revision(),
    }


def _resolution_problems(settings: LearningSettings, multiple: int) -> list[str]:
    try:
        check_sides(multiple, settings.data.resolution)
    except UserError as error:
        return [str(error)]
    return []


def _machine_problems(settings: LearningSettings, machine: dict, runtime: dict, needed_gib: float) -> list[str]:
    accelerator, problems = settings.trainer.accelerator, []
    card = max((gpu["memory_gib"] for gpu in machine["cuda"]), default=None)
    if accelerator in ("gpu", "cuda") and card is None and not (accelerator == "gpu" and machine["mps"]):
        problems.append(f"trainer.accelerator={accelerator}: PyTorch sees none; give trainer.accelerator=auto")
    there = machine["memory_gib"] if card is None or accelerator == "cpu" else card
    if there is not None and needed_gib > there:
        problems.append(f"memory: {needed_gib} GiB are needed, {there} GiB are there; see settings_that_fit")
    if card is not None and "CUDAExecutionProvider" not in runtime["providers"]:
        problems.append(
            "DWPose would run on the CPU, ONNX Runtime is its CPU build: pip install '.[gpu]', then "
            "pip install --force-reinstall --no-deps onnxruntime-gpu"
        )
    return problems


def readable(report: dict[str, Any]) -> str:
    """The report in a few lines, for people."""
    machine, weights = report["devices"], report["weights"]
    cards = [f"{gpu['name']} ({gpu['memory_gib']} GiB)" for gpu in machine["cuda"]] or ["no CUDA or ROCm card"]
    stages = ", ".join(f"{stage} {gib:g}" for stage, gib in report["memory_gib"].items())
    lines = [
        *(
            f"{file['option']}: {file['name']}: {'missing' if file['missing'] else 'there'}"
            for file in (*weights["files"], *report["poses"]["files"])
        ),
        f"weights fit: {weights['why']}",
        f"devices: {', '.join(cards)}{', Apple MPS' if machine['mps'] else ''}; {machine['cpu_cores']} CPU cores, "
        f"{machine['memory_gib']} GiB",
        f"ONNX Runtime: {', '.join(report['onnxruntime']['providers'])}",
        f"memory needed in GiB: {stages}",
    ]
    for card, fitting in report["settings_that_fit"].items():
        values = (
            "nothing fits"
            if fitting is None
            else " ".join(f"{key}={str(value).lower()}" for key, value in fitting.items() if key != "frames_at_once")
        )
        frames = "" if fitting is None else f" ({counted(fitting['frames_at_once'], 'frame')} at once)"
        lines.append(f"fits {card}: {values}{frames}")
    problems = [f"PROBLEM: {line}" for line in report["problems"]] or ["nothing is wrong"]
    return "\n".join([*lines, *problems])
