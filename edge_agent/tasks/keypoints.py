"""Names of keypoints in the order models give them, and the lines that make a body of them. No numpy here."""

Skeleton = tuple[tuple[int, int], ...]

# COCO keypoints (cocodataset.org, person_keypoints): MoveNet, PoseNet, HRNet, YOLO pose
COCO_KEYPOINTS = (
    "nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder", "left_elbow",
    "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle",
    "right_ankle",
)  # fmt: skip
COCO_SKELETON: Skeleton = (
    (0, 1), (0, 2), (1, 3), (2, 4), (5, 6), (5, 7), (7, 9), (6, 8), (8, 10), (5, 11), (6, 12), (11, 12), (11, 13),
    (13, 15), (12, 14), (14, 16),
)  # fmt: skip

# BlazePose: mediapipe/python/solutions/pose.py, PoseLandmark, and pose_connections.py
BLAZEPOSE_KEYPOINTS = (
    "nose", "left_eye_inner", "left_eye", "left_eye_outer", "right_eye_inner", "right_eye", "right_eye_outer",
    "left_ear", "right_ear", "mouth_left", "mouth_right", "left_shoulder", "right_shoulder", "left_elbow",
    "right_elbow", "left_wrist", "right_wrist", "left_pinky", "right_pinky", "left_index", "right_index",
    "left_thumb", "right_thumb", "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle", "right_ankle",
    "left_heel", "right_heel", "left_foot_index", "right_foot_index",
)  # fmt: skip
BLAZEPOSE_SKELETON: Skeleton = (
    (0, 1), (1, 2), (2, 3), (3, 7), (0, 4), (4, 5), (5, 6), (6, 8), (9, 10), (11, 12), (11, 13), (13, 15), (15, 17),
    (15, 19), (15, 21), (17, 19), (12, 14), (14, 16), (16, 18), (16, 20), (16, 22), (18, 20), (11, 23), (12, 24),
    (23, 24), (23, 25), (25, 27), (27, 29), (27, 31), (29, 31), (24, 26), (26, 28), (28, 30), (28, 32), (30, 32),
)  # fmt: skip

# BlazeFace: mediapipe/python/solutions/face_detection.py, FaceKeyPoint
FACE_KEYPOINTS = ("right_eye", "left_eye", "nose_tip", "mouth_center", "right_ear_tragion", "left_ear_tragion")

_USUAL: dict[int, tuple[tuple[str, ...], Skeleton]] = {
    17: (COCO_KEYPOINTS, COCO_SKELETON),
    33: (BLAZEPOSE_KEYPOINTS, BLAZEPOSE_SKELETON),
    6: (FACE_KEYPOINTS, ()),
}


def usual_names(count: int) -> tuple[str, ...]:
    """Of so many keypoints, where the manifest names none; empty: there are no usual ones."""
    return _USUAL.get(count, ((), ()))[0]


def usual_skeleton(count: int) -> Skeleton:
    """Pairs of positions that a line is drawn between, where the manifest states none."""
    return _USUAL.get(count, ((), ()))[1]
