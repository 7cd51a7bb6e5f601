"""A Keras 3 model as a `Trainee`, on TensorFlow. Only its child process imports this."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from converter.errors import ConversionError
from converter.training.channels import Channels, nothing_to_spare
from converter.training.keras_channels import CONVOLUTIONS, DEPTHWISE, rebuilt, trace
from converter.training.trainee import Inputs, Kernel, Objective, Real

_PREDICTED_TOGETHER = 256
_SEED = 0  # of dropout: layers without a seed of their own draw one when they are made


class KerasTrainee:
    suffix = ".keras"

    def __init__(self, path: Path) -> None:
        keras.utils.set_random_seed(_SEED)
        try:
            self._model = keras.models.load_model(str(path), compile=False)
        except (ValueError, TypeError, OSError) as error:
            raise ConversionError(
                f"Keras {keras.__version__} cannot load {path.name} to train it: {str(error).splitlines()[0]}",
                hint="save it again with Keras 3, without Lambda layers: models of Keras 2, and code in a file, "
                "can be converted, not trained",
            ) from error
        if len(self._model.inputs) != 1 or len(self._model.outputs) != 1:
            raise ConversionError("only models with one input and one output can be trained here")
        self._optimizer: Any = None
        self._set_up()

    def _set_up(self) -> None:
        self._variables = {}
        self._kernels: dict[str, Kernel] = {}
        for layer in self._model._flatten_layers(include_self=False):  # noqa: SLF001  # nested ones too
            kind = type(layer).__name__
            kernel = getattr(layer, "kernel", None)
            if kernel is not None and kind in (*CONVOLUTIONS, *DEPTHWISE, "Dense"):
                axis = len(kernel.shape) - (2 if kind in DEPTHWISE else 1)
                self._kernels[kernel.path] = Kernel(kind in DEPTHWISE, axis)
                self._variables[kernel.path] = kernel
        self._step = tf.function(self._train, reduce_retracing=True)

    @property
    def input_shape(self) -> tuple[int | None, ...]:
        return tuple(self._model.inputs[0].shape[1:])

    @property
    def kernels(self) -> Mapping[str, Kernel]:
        return self._kernels

    def read(self, name: str) -> Real:
        weights: Real = np.array(self._variables[name].value)
        return weights

    def write(self, name: str, weights: Real) -> None:
        self._variables[name].assign(weights)

    def begin(self, learning_rate: float) -> None:
        self._optimizer = keras.optimizers.Adam(learning_rate)
        self._optimizer.build(self._model.trainable_variables)
        self._step = tf.function(self._train, reduce_retracing=True)

    def train(self, x: Real, y: NDArray[Any], teacher: Real | None, objective: Objective) -> float:
        word = np.zeros((len(x), 1), np.float32) if teacher is None else teacher
        return float(self._step(tf.constant(x), tf.constant(y), tf.constant(word), objective))

    def _train(self, x: Any, y: Any, teacher: Any, objective: Objective) -> Any:
        with tf.GradientTape() as tape:
            found = self._model(x, training=True)
            loss = _loss(found, y, objective)
            if objective.teacher_weight:
                loss = (1 - objective.teacher_weight) * loss + objective.teacher_weight * _teacher_loss(
                    found, teacher, objective
                )
        variables = self._model.trainable_variables
        self._optimizer.apply_gradients(
            zip(tape.gradient(loss, [variable.value for variable in variables]), variables, strict=True)
        )
        return loss

    def predict(self, x: Inputs) -> Real:
        parts = [
            np.asarray(self._model(x[start : start + _PREDICTED_TOGETHER], training=False))
            for start in range(0, len(x), _PREDICTED_TOGETHER)
        ]
        return np.concatenate(parts)

    def state(self) -> Sequence[NDArray[Any]]:
        return [np.array(variable) for variable in (*self._model.variables, *self._optimizer.variables)]

    def load_state(self, state: Sequence[NDArray[Any]]) -> None:
        for variable, value in zip((*self._model.variables, *self._optimizer.variables), state, strict=True):
            variable.assign(value)

    def save(self, path: Path) -> None:
        self._model.save(str(path))

    # --- structured pruning -----------------------------------------------------------------------------------

    def narrow(self, share: float, multiple: int) -> int:
        channels = Channels()
        made = trace(self._model, channels)
        kept = channels.keep(share, multiple)
        gone = int((~kept).sum())
        if not gone:
            raise nothing_to_spare(share, multiple)
        self._model = rebuilt(self._model, {name: (kept[a], kept[b]) for name, (a, b) in made.items()})
        self._set_up()
        return gone


# --- losses ---------------------------------------------------------------------------------------------------------


def _loss(found: Any, y: Any, objective: Objective) -> Any:
    losses = keras.losses
    match objective.loss:
        case "crossentropy":
            classes = found.shape[-1]
            return tf.reduce_mean(
                losses.sparse_categorical_crossentropy(
                    tf.reshape(y, [-1]), tf.reshape(found, [-1, classes]), from_logits=not objective.probabilities
                )
            )
        case "binary_crossentropy":
            target = tf.cast(tf.reshape(y, tf.shape(found)), found.dtype)
            return tf.reduce_mean(losses.binary_crossentropy(target, found, from_logits=not objective.probabilities))
        case "mse":
            return tf.reduce_mean(tf.square(found - tf.cast(tf.reshape(y, tf.shape(found)), found.dtype)))


def _teacher_loss(found: Any, teacher: Any, objective: Objective) -> Any:
    teacher = tf.reshape(teacher, tf.shape(found))
    alike = objective.probabilities == objective.teacher_probabilities
    if objective.loss != "crossentropy":
        if objective.loss == "binary_crossentropy" and not alike:
            found, teacher = (
                values if probabilities else tf.sigmoid(values)
                for values, probabilities in (
                    (found, objective.probabilities),
                    (teacher, objective.teacher_probabilities),
                )
            )
        return tf.reduce_mean(tf.square(found - teacher))
    warm = objective.temperature
    student = tf.nn.log_softmax(_logits(found, probabilities=objective.probabilities) / warm)
    word = tf.nn.log_softmax(_logits(teacher, probabilities=objective.teacher_probabilities) / warm)
    return warm**2 * tf.reduce_mean(tf.reduce_sum(tf.exp(word) * (word - student), axis=-1))


def _logits(values: Any, *, probabilities: bool) -> Any:
    return tf.math.log(tf.clip_by_value(values, 1e-7, 1.0)) if probabilities else values
