"""The metrics beside the paper's: entries of the registry."""

from typing import TYPE_CHECKING, Any

from eval.metrics.spec import KEYPOINTS_FOUND, MetricSpec, distances, frames, frechet, pairs, windows

if TYPE_CHECKING:
    from eval.scoring.features import ClipFeatures


def _video(metric: Any, features: "ClipFeatures", judge: Any) -> None:
    metric.update(features.frames("generated"))


def _flows(metric: Any, features: "ClipFeatures", judge: Any) -> None:
    metric.update(features.flows(judge))


def _sized_poses(metric: Any, features: "ClipFeatures", judge: Any) -> None:
    metric.update(*features.poses(judge), size=features.clip.generated.shape[1:3])


def _identity(metric: Any, features: "ClipFeatures", judge: Any) -> None:
    reference_D = features.reference_face(judge)
    embeddings_BD = features.faces(judge)
    if reference_D is not None and not len(embeddings_BD):
        # Where the network saw no face, it did not say how long an embedding is.
        embeddings_BD = embeddings_BD.reshape(0, 1).expand(0, len(reference_D))
    metric.update(embeddings_BD, reference_D, frames=len(features.clip.generated))


def _face_quality(metric: Any, features: "ClipFeatures", judge: Any) -> None:
    metric.update(features.faces(judge).flatten(), frames=len(features.clip.generated))


def _pose_accuracy(kind: str, group: str) -> MetricSpec:
    return MetricSpec(
        key=f"{kind}-{group}",
        title=f"{kind.upper()}{'@0.1' if kind == 'pck' else ''} {group}",
        group="Pose",
        format=".3f",
        higher_is_better=True,
        implementation=f"pose_accuracy:{kind.upper()}",
        options=lambda protocol, judge: {"group": group},
        network=lambda networks, protocol: networks.extractor,
        update=_sized_poses,
        seen=KEYPOINTS_FOUND,
        weighs="some",
        # Each hand is a part of its own.
        values_a_frame=2 if group == "hands" else 1,
    )


MODERN_SPECS = (
    MetricSpec(
        key="l1",
        title="L1",
        group="Image-GT",
        format=".2e",
        higher_is_better=False,
        implementation="l1:L1",
        update=pairs,
    ),
    MetricSpec(
        key="dreamsim",
        title="DreamSim",
        group="Image-GT",
        format=".3f",
        higher_is_better=False,
        implementation="dreamsim:DreamSim",
        network=lambda networks, protocol: networks.dreamsim(),
        update=distances,
    ),
    *(_pose_accuracy(kind, group) for kind in ("pck", "oks") for group in ("body", "face", "hands")),
    MetricSpec(
        key="kid",
        title="KID",
        group="Image",
        format=".2e",
        higher_is_better=False,
        implementation="kid:KID",
        network=lambda networks, protocol: networks.inception(protocol.fid.network),
        update=frechet(frames),
        of_all_clips=True,
    ),
    MetricSpec(
        key="fd-dinov2",
        title="FD-DINOv2",
        group="Image",
        format=".1f",
        higher_is_better=False,
        implementation="frechet_variants:FDDINOv2",
        network=lambda networks, protocol: networks.dinov2(),
        options=lambda protocol, judge: {"num_features": judge.num_features},
        update=frechet(frames),
        of_all_clips=True,
    ),
    MetricSpec(
        key="identity",
        title="CSIM",
        group="Face",
        format=".3f",
        higher_is_better=True,
        implementation="face:Identity",
        network=lambda networks, protocol: networks.face("arcface-w600k-r50"),
        update=_identity,
        needs_real=False,
        needs_reference=True,
        seen="of the frames show a face",
    ),
    MetricSpec(
        key="face-quality",
        title="eDifFIQA(T)",
        group="Face",
        format=".3f",
        higher_is_better=True,
        implementation="face:FaceQuality",
        network=lambda networks, protocol: networks.face("ediffiqa-tiny"),
        update=_face_quality,
        needs_real=False,
        seen="of the frames show a face",
    ),
    MetricSpec(
        key="fvd-videomae",
        title="FVD-VideoMAE",
        group="Video",
        format=".2f",
        higher_is_better=False,
        implementation="frechet_variants:VideoMAEFVD",
        network=lambda networks, protocol: networks.videomae(),
        options=lambda protocol, judge: {"num_features": judge.num_features},
        update=frechet(windows),
        of_all_clips=True,
    ),
    MetricSpec(
        key="fid-vid",
        title="FID-VID",
        group="Video",
        format=".2f",
        higher_is_better=False,
        implementation="frechet_variants:FIDVID",
        network=lambda networks, protocol: networks.resnet3d(),
        options=lambda protocol, judge: {"num_features": judge.num_features},
        update=frechet(windows),
        of_all_clips=True,
    ),
    MetricSpec(
        key="flicker",
        title="Flickering",
        group="Video",
        format=".4f",
        higher_is_better=True,
        implementation="flicker:Flicker",
        update=_video,
        needs_real=False,
        weighs="videos",
    ),
    MetricSpec(
        key="warping-error",
        title="Warping error",
        group="Video",
        format=".2e",
        higher_is_better=False,
        implementation="warping:WarpingError",
        network=lambda networks, protocol: networks.raft(),
        update=_flows,
        needs_real=False,
        weighs="videos",
    ),
)
