"""Whether a source can feed a model, before the first frame tells.

What cannot be known without opening the source (a sensor's columns, say) is left to the frames.
"""

from contextlib import suppress

from edge_agent.config.row_sources import CsvSource
from edge_agent.config.sources import SourceConfig, columns_of, given_by, pace_hz
from edge_agent.errors import ModelError, Reason, SourceError, counted
from edge_agent.inference.model import Model
from edge_agent.release.inputs import AudioInput, ImageInput, InputSpec, SignalInput
from edge_agent.transform.rows import parse_rows

_SAME_RATE = 0.02  # as a share: what clocks differ by is no other rate
_NAMES = {"pictures": "pictures", "rows": "rows of numbers", "audio": "sound"}


def check_input(model: Model, source: SourceConfig, feeding: Model | None = None) -> SourceError | None:
    """Whether this source can feed this model; gives what is wrong with the source where it cannot now.

    Columns that do not fit are the release's fault only where the source feeds another one (`feeding`) well: a word
    misspelled in the configuration must not get a good release refused for ever.

    Raises:
        ModelError: INCOMPATIBLE.
    """
    takes = _takes(model.manifest.input)
    if takes != given_by(source):
        raise ModelError(
            f"release {model.manifest.name} {model.manifest.version} takes {_NAMES[takes]}; "
            f"the source is a {source.kind}",
            reason=Reason.INCOMPATIBLE,
            hint="let this pipeline follow a model for its source, or change the source",
        )
    misfit = _misfit(model, source)
    if misfit is not None and feeding is not None and _misfit(feeding, source) is None:
        raise ModelError(str(misfit), reason=Reason.INCOMPATIBLE, hint=misfit.hint) from misfit
    return misfit


def other_rate(model: Model, source: SourceConfig) -> str | None:
    """What to say where rows come at another rate than the model was trained on."""
    spec, pace = model.manifest.input, pace_hz(source)
    if not isinstance(spec, SignalInput) or spec.sample_rate_hz is None or pace is None:
        return None
    if abs(pace - spec.sample_rate_hz) <= _SAME_RATE * spec.sample_rate_hz:
        return None
    return (
        f"the source gives {pace:g} rows a second; release {model.manifest.name} {model.manifest.version} was trained "
        f"on {spec.sample_rate_hz:g}, and rows are not resampled: set rate_hz = {spec.sample_rate_hz:g}"
    )


def _takes(spec: InputSpec) -> str:
    if isinstance(spec, ImageInput):
        return "pictures"
    return "audio" if isinstance(spec, AudioInput) else "rows"


def _misfit(model: Model, source: SourceConfig) -> SourceError | None:
    """What keeps the columns of this source from being those of the model; a file that cannot be read now may fit."""
    spec = model.manifest.input
    if not isinstance(spec, SignalInput):
        return None
    columns = columns_of(source)
    title = f"release {model.manifest.name} {model.manifest.version} takes {model.channels}"
    if columns and len(columns) != model.channels:
        return SourceError(
            f"the source gives {counted(len(columns), 'column')} ({', '.join(columns)}); {title}",
            hint="leave `columns` of the source out to have the model's own",
        )
    if not isinstance(source, CsvSource):
        return None
    with suppress(OSError, UnicodeDecodeError, SourceError), source.path.open(encoding="utf-8-sig") as lines:
        first = next(parse_rows(lines, time_column=source.time_column), None)
        lines.seek(0)
        try:
            wanted = columns or spec.channels
            next(parse_rows(lines, wanted, time_column=source.time_column, name=source.path.name), None)
        except SourceError as error:
            return error
        found = len(first.values) if first is not None and first.values is not None else model.channels
        if not (columns or spec.channels) and found != model.channels:
            return SourceError(
                f"{source.path.name} has {counted(found, 'column')}; {title}", hint="name them with `columns`"
            )
    return None
