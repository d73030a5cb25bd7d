"""A run of ours as a clip to be scored: which of its files are what."""

from pathlib import Path
from typing import Any

from eval.scoring.clips import ClipPaths
from eval.scoring.protocol import Protocol
from src.common.errors import UserError
from src.models.settings import stand_in
from src.runs.run_folder import HELD_OUT, SUMMARY, RunFolder


def clip_of_run(run: Path, protocol: Protocol, *, name: str | None = None, sampled: Path | None = None) -> ClipPaths:
    """The generated frames, the held-out true ones with their poses, and the protocol's reference image.

    Args:
        run: folder of the fine-tune.
        name: of the clip; None: the folder's.
        sampled: folder of the generated frames, where that is another one.

    Raises:
        UserError: there are none in it.
    """
    sampled = run if sampled is None else sampled
    if not (sampled / "frames").is_dir() or not (run / HELD_OUT / "frames").is_dir():
        raise UserError(f"run={run} holds no generated held-out poses: give a run folder of src.train")
    index = 0
    if protocol.reference_frame == "selected":
        match RunFolder(sampled).summary():
            case {"sampling": {"reference_frame": int(index)}}:
                pass
            case _:
                raise UserError(
                    f"{sampled / SUMMARY} does not say which training frame was the reference: give the command that "
                    "generated it again"
                )
    return ClipPaths(
        name=run.name if name is None else name,
        generated=sampled / "frames",
        real=run / HELD_OUT / "frames",
        reference=run / "training" / "frames" / f"{index:05d}.png",
        poses=run / HELD_OUT / "poses.npz",
    )


def made_by(run: Path) -> dict[str, Any]:
    """The `setup` of a result: why no published number is of a run like this one, as far as its settings say."""
    model = RunFolder(run).settings().model
    beside = f"{len(model.controlnets)} ControlNets beside the pose one" if model.controlnets else None
    return {"stand_in": stand_in(model) or beside}
