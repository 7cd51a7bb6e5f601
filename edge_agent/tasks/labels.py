"""Label files: one label a line, the line's number being the class index; and whether they fit a model's classes."""

import re

from edge_agent.errors import ModelError, Reason, counted

_NUMBERED = re.compile(r"(\d+)[ \t:,]+(\S.*)")


def parse_labels(content: bytes) -> tuple[str, ...]:
    """The labels by class index. Numbered lines (`17  dog`, as Coral and Teachable Machine write them) may leave out
    indices; these have the label "".

    Raises:
        ValueError: not UTF-8 text.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"the label file is not UTF-8 text (byte {error.start})") from error
    if "\0" in text:
        raise ValueError("the label file is not text")
    lines = [line.strip() for line in text.splitlines()]
    while lines and not lines[-1]:
        lines.pop()
    numbered = [_NUMBERED.fullmatch(line) for line in lines]
    if not lines or not all(numbered):
        return tuple(lines)
    pairs = {int(match[1]): match[2] for match in numbered if match}
    ascending = list(pairs) == sorted(pairs) and len(pairs) == len(lines)
    if not ascending or max(pairs) >= 100_000:
        return tuple(lines)
    return tuple(pairs.get(index, "") for index in range(max(pairs) + 1))


def format_labels(labels: tuple[str, ...]) -> bytes:
    return "".join(f"{label}\n" for label in labels).encode()


def check_detection_labels(labels: tuple[str, ...], classes: int | None) -> None:
    """At most one for each class (None: nobody knows how many): label files of sparse data sets often end early.

    Raises:
        ModelError: LABELS_MISMATCH, with both numbers.
    """
    if classes is None or len(labels) <= classes:
        return
    hint = "use the label file this model was trained with: one label a line"
    if len(labels) == classes + 1:
        hint = (
            "one label more than classes: most likely the first line stands for the background, which this model does "
            "not count. Take that line out"
        )
    has = counted(classes, "class", "classes")
    raise ModelError(f"the model has {has}; {there_are(labels)}", reason=Reason.LABELS_MISMATCH, hint=hint)


def there_are(labels: tuple[str, ...]) -> str:
    """`there is 1 label`, `there are 5 labels`."""
    return f"there {'is' if len(labels) == 1 else 'are'} {counted(len(labels), 'label')}"


def check_labels(labels: tuple[str, ...], classes: int) -> None:
    """No labels at all, or one for each class.

    Raises:
        ModelError: LABELS_MISMATCH, with both numbers.
    """
    if not labels or len(labels) == classes:
        return
    hint = "use the label file this model was trained with: one label a line, a background class too"
    if classes == 1:
        hint = "a model with one score takes one label: that of a score near 1"
    elif len(labels) == classes - 1:
        hint = (
            "one class more than labels: the model most likely has a background class. Put a line for it where the "
            "model has it (mostly first), and state output.background_class"
        )
    elif len(labels) == classes + 1:
        hint = (
            "one label more than classes: most likely the label of a background class (mostly the first line) that "
            "this model does not have. Take that line out"
        )
    has = f"{classes} classes" if classes != 1 else "one score"
    raise ModelError(f"the model has {has}; {there_are(labels)}", reason=Reason.LABELS_MISMATCH, hint=hint)
