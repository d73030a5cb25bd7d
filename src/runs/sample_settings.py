"""Settings of filming a person in other poses."""

from dataclasses import dataclass
from typing import Literal

from src.common.typed import FileName, Raw, check_range, setting
from src.data.pose_sources import PoseSourceSettings
from src.data.subject import check_prompt


@dataclass(frozen=True, kw_only=True)
class SampleSettings(PoseSourceSettings):
    """What `conf/sample.yaml` describes, but for what it leaves as it is in the run, and for the groups.

    Attributes:
        run: folder of a fine-tuned run; null: the person is `subject`.
        subject: of a method that learns no one: an image, or what `src.train` takes, of which the first frame counts.
        condition: DensePose of the poses, for a method that follows it; of a run whose ControlNets beside the pose one
            follow images that are given, those of the poses.
        mask: of the person in the picture, for a method that takes it; null: by MediaPipe.
        prompt: target prompt p_t; null: the prompt of the fine-tune.
        seed: null: the run's, or the public code's of another method.
        output: null: `<run>/samples/<name of the poses>`, of a picture `outputs/<subject>_<method>_<name of the
            poses>`, with a number behind it where another video is there.
        audio: of a driver that is a video file: its sound under the videos, or none.
    """

    run: FileName | None = None
    subject: FileName | None = None
    condition: FileName | None = None
    mask: FileName | None = None
    prompt: Raw | None = None
    seed: int | None = None
    output: FileName | None = None
    audio: Literal["driver", "none"] = setting("driver", counts="nothing")

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("seed", self.seed, least=0, most=2**31 - 1)
        check_prompt(self.prompt)
