"""`create_tuner`: KerasTuner's tuners for searches that are killed, resumed and shared."""

import functools
import json
import os
import pathlib
import threading

import keras
import keras_tuner
from keras_tuner.src.distribute.utils import is_chief_oracle

from keras_msrnn import checks
from keras_msrnn.tuning.files import lock, write_json
from keras_msrnn.tuning.hypermodel import ForecasterHyperModel
from keras_msrnn.tuning.oracle import ResumableOracle, give_up_dead_workers, is_rejected
from keras_msrnn.tuning.results import Results, collect

TUNERS = {
    "random": keras_tuner.RandomSearch,
    "hyperband": keras_tuner.Hyperband,
    "bayesian": keras_tuner.BayesianOptimization,
    "grid": keras_tuner.GridSearch,
}
MAX_REJECTED = 200  # in a row
STATE, LOCK = "search.json", "search.lock"


def create_tuner(
    hypermodel: ForecasterHyperModel,
    folder: str | os.PathLike,
    tuner: str | type[keras_tuner.Tuner] = "random",
    *,
    objective="val_loss",
    max_consecutive_failed_trials: int = 3,
    **options,
) -> keras_tuner.Tuner:
    """Makes a tuner of KerasTuner for searches that run for long.

    Over what KerasTuner does:

    - Trials which the hypermodel rejects fail before they cost anything. They do not count in
      `max_trials` nor as consecutive failures; Hyperband replaces them, and Bayesian optimization
      takes them for as bad as the worst trial.
    - A search that was killed goes on where it was when it is made and started again, with every
      tuner. The trial that was under way starts anew. A larger `max_trials` extends a search.
    - A folder belongs to one search, with one space, one objective and one length of training, and
      to one process at a time. In a distributed search the chief gives up the trial of a worker
      that was killed.
    - `results()` returns the trials as a `Results` table, `best_model()` the model with the best
      score with its weights. In a distributed search these are for the chief: `is_worker` tells
      whether this process is another one.

    Args:
        hypermodel: A `ForecasterHyperModel`.
        folder: Folder of the search, with its state, trials and weights. One that does not exist
            is made; an unfinished search in it is continued.
        tuner: `"random"`, `"hyperband"`, `"bayesian"`, `"grid"`, or a class of tuners.
        objective: Name of a metric, an objective of KerasTuner, or an `ErrorMemoryObjective`.
        max_consecutive_failed_trials: Integer, number of trials in a row that raise errors after
            which the search stops.
        **options: Arguments of the tuner, such as `max_trials` and `seed`.

    Returns:
        The tuner. `tuner.search` takes the arguments of `keras.Model.fit`.

    Raises:
        ValueError: for a space or a budget which no configuration meets, and for a folder of
            another search.
        RuntimeError: from `search`, if another process searches in the folder, or if trials in a
            row fail or are rejected.

    Example:

    >>> import tempfile
    >>> hypermodel = ForecasterHyperModel((3, 16, 16, 1), 2, model="convlstm", filters=[4, 8])
    >>> folder = tempfile.mkdtemp() + "/search"
    >>> tuner = create_tuner(hypermodel, folder, "bayesian", max_trials=20)
    >>> print(tuner.results())
    no trials

    Reference:
        KerasTuner, https://keras.io/keras_tuner.
    """
    if not isinstance(hypermodel, ForecasterHyperModel):
        raise TypeError(
            f"`hypermodel` must be a ForecasterHyperModel. Received: hypermodel={hypermodel!r}."
        )
    if isinstance(tuner, str) and tuner not in TUNERS:
        raise ValueError(
            f"`tuner` must be one of {', '.join(map(repr, TUNERS))}, or a class of tuners. "
            f"Received: tuner={tuner!r}."
        )
    if "overwrite" in options:
        raise TypeError(
            "`overwrite` is not an option. Received: "
            f"overwrite={options['overwrite']}. Delete the folder, or take another one."
        )
    folder = pathlib.Path(folder).absolute()
    _check_folder(folder)
    base = TUNERS[tuner] if isinstance(tuner, str) else tuner
    made = type(base.__name__, (_Search, base), {})(
        hypermodel,
        objective=objective,
        directory=str(folder.parent),
        project_name=folder.name,
        max_consecutive_failed_trials=None,  # counted here
        **options,
    )
    made._max_failed = max_consecutive_failed_trials
    made._prepare_oracle()
    return made


def _check_folder(folder):
    if folder.is_dir():
        names = {path.name for path in folder.iterdir()}
        # Workers may have made the folder.
        own = names & {STATE, LOCK} or all(name.endswith(".lock") for name in names)
    else:
        own = not folder.exists()
    if not own:
        raise ValueError(
            "`folder` must be new or empty, or hold a search of `create_tuner`. "
            f"Received: folder={folder}, which holds something else. Take another folder."
        )


class _Search:
    """What `create_tuner` adds to a tuner."""

    _failed = _rejected = 0
    _training = None

    def results(self) -> Results:
        """Returns the trials so far as a table."""
        return collect(self)

    def best_model(self):
        """Returns the model with the best score, with its weights."""
        trials = self.oracle.get_best_trials(1)
        if not trials or trials[0].status != "COMPLETED":
            raise ValueError(
                "`best_model` needs a completed trial. "
                f"Received: none in {self.project_dir}. `results()` tells why trials failed."
            )
        return self.load_model(trials[0])

    @property
    def is_worker(self) -> bool:
        """Whether this process is a worker of a distributed search, which has no results."""
        return self._is_worker()

    # The state in the folder

    @property
    def _folder(self):
        return pathlib.Path(self.directory) / self.project_name

    def _get_tuner_fname(self):
        return str(self._folder / STATE)

    def get_state(self):
        """What makes the search another one; kept in the folder."""
        hp = keras_tuner.HyperParameters()
        space = {k: _plain(v) for k, v in self.hypermodel.arguments(hp).items()}
        for parameter in hp.space:
            config = parameter.get_config()
            space[config.pop("name")] = config
        state = {
            "tuner": type(self).__name__,
            "objective": str(self.oracle.objective),
            "input_shape": self.hypermodel.input_shape,
            "horizon": self.hypermodel.horizon,
            "batch_size": self.hypermodel.batch_size,
            "budget": self.hypermodel.budget,
            "space": space,
        }
        if self._training is not None:
            state["training"] = self._training
        return json.loads(json.dumps(state))

    def set_state(self, state):
        for name, here in self.get_state().items():
            there = state.get(name)
            if there == here:
                continue
            if name == "space" and there is not None:
                parts = [k for k in {**there, **here} if there.get(k) != here.get(k)]
                there, here = ({k: x.get(k) for k in parts} for x in (there, here))
            raise ValueError(
                f"`folder` holds a search with another {name.replace('_', ' ')}. Received: "
                f"folder={self._folder}, with {name}={_short(there)} there and {_short(here)} "
                f"here. Take another folder, or the same {name.replace('_', ' ')}."
            )

    def save(self):
        if not self.is_worker:
            self.oracle.save()
            write_json(self._get_tuner_fname(), self.get_state())

    def reload(self):
        with open(self._get_tuner_fname(), encoding="utf-8") as file:
            self.set_state(json.load(file))
        if not self.is_worker:
            self._prepare_oracle()
            self.oracle.reload()

    def _prepare_oracle(self):
        """Gives the oracle, where it is in this process, the methods of `ResumableOracle`."""
        oracle = self.oracle
        if isinstance(oracle, keras_tuner.Oracle) and not isinstance(oracle, ResumableOracle):
            kind = type(oracle)
            oracle.__class__ = type(kind.__name__, (ResumableOracle, kind), {})
            oracle.hypermodel = self.hypermodel
            oracle.max_trained = oracle.max_trials

    # The search

    def search(self, *args, **kwargs):
        arguments = checks.bind_arguments(functools.partial(keras.Model.fit, None), args, kwargs)
        metric = getattr(self.oracle.objective, "error", self.oracle.objective.name)
        validated = arguments["validation_data"] is not None or arguments["validation_split"]
        if metric.startswith("val_") and not validated:
            raise ValueError(
                f"The objective {metric!r} needs validation data. Received: none. Pass "
                "`validation_data=(context, future)` to `search`."
            )
        arguments["batch_size"] = arguments["batch_size"] or self.hypermodel.batch_size
        batches = checks.count_batches(arguments)
        self._training = {"epochs": arguments["epochs"], "batches": batches}
        self._folder.mkdir(parents=True, exist_ok=True)
        with lock(self._folder / (f"{self.tuner_id}.lock" if self.is_worker else LOCK)):
            if os.path.exists(self._get_tuner_fname()):
                self.reload()
            self.save()
            done = threading.Event()
            if is_chief_oracle():
                watch = functools.partial(give_up_dead_workers, self.oracle, self._folder, done)
                threading.Thread(target=watch, daemon=True).start()
            try:
                super().search(*args, **kwargs)
            finally:
                done.set()

    def _try_run_and_update_trial(self, trial, *args, **kwargs):
        if self.is_worker:  # elsewhere KerasTuner shows it
            print(f"Trial {trial.trial_id}: {trial.hyperparameters.values}")
        reason = self.hypermodel.rejection(trial.hyperparameters)
        if reason is None:
            super()._try_run_and_update_trial(trial, *args, **kwargs)
        else:
            trial.status, trial.message = "FAILED", reason
            print(f"Not trained, {reason}.")

    def _configure_tensorboard_dir(self, callbacks, trial, execution=0):
        """KerasTuner needs TensorBoard on TensorFlow even if nothing uses it."""
        if any(type(callback).__name__ == "TensorBoard" for callback in callbacks):
            super()._configure_tensorboard_dir(callbacks, trial, execution)

    def on_trial_end(self, trial):
        message, status = trial.message, trial.status
        super().on_trial_end(trial)
        if status == "COMPLETED":
            self._failed = self._rejected = 0
        elif is_rejected(self.hypermodel, trial):
            self._rejected += 1
        else:
            self._failed += 1
        if self._failed == self._max_failed:
            raise RuntimeError(f"{self._failed} trials in a row have failed, the last one with\n"
                               f"{message}")  # fmt: skip
        if self._rejected == MAX_REJECTED:
            raise RuntimeError(
                f"{self._rejected} configurations in a row were rejected, the last one as "
                f"{message.rstrip('.')}. Offer other values, or raise the limits."
            )


def _short(value):
    text = json.dumps(value)
    return text if len(text) < 200 else f"{text[:197]}..."


def _plain(value):
    if hasattr(value, "get_config"):  # a sampling schedule
        return {type(value).__name__: value.get_config()}
    plain = value is None or isinstance(value, (bool, int, float, str, tuple, list, dict))
    return value if plain else type(value).__name__
