"""What KerasTuner's oracles need to be resumed, and to live with trials that are rejected."""

import datetime
import functools
import os

import keras_tuner

from keras_msrnn.tuning.files import is_locked, write_json


class ResumableOracle:
    """What `create_tuner` adds to an oracle: the state survives, rejected trials do no harm."""

    @keras_tuner.synchronized
    def end_trial(self, trial):
        super().end_trial(trial)
        trial = self.trials[trial.trial_id]
        if trial.status in ("COMPLETED", "FAILED"):  # reported to a chief that was restarted
            self._retry_queue = [i for i in self._retry_queue if i != trial.trial_id]
        if trial.status == "FAILED":
            self._count_rejected()
            for bracket in getattr(self, "_brackets", ()):  # Hyperband draws another one
                first = bracket["rounds"][0]
                first[:] = [entry for entry in first if entry["id"] != trial.trial_id]
        self.save()  # without the trial among those under way

    def _count_rejected(self):
        if self.max_trained is not None:
            rejected = [t for t in self.trials.values() if is_rejected(self.hypermodel, t)]
            self.max_trials = self.max_trained + len(rejected)

    def _vectorize_trials(self):
        """Bayesian optimization: failed trials are as bad as the worst, not unknown."""
        trials = list(self.trials.values())
        failed = [trial for trial in trials if trial.status == "FAILED"]
        worst = max if self.objective.direction == "min" else min
        score = worst(trial.score for trial in trials if trial.status == "COMPLETED")
        try:
            for trial in failed:
                trial.status, trial.score = "COMPLETED", score
            return super()._vectorize_trials()
        finally:
            for trial in failed:
                trial.status, trial.score = "FAILED", None

    def save(self):
        write_json(self._get_oracle_fname(), self.get_state())

    def _save_trial(self, trial):
        path = os.path.join(self._get_trial_dir(trial.trial_id), "trial.json")
        write_json(path, trial.get_state())

    def reload(self):
        self.trials = {}
        super().reload()
        self.trials = dict(sorted(self.trials.items(), key=lambda item: int(item[0])))
        # KerasTuner forgets trials whose creation was cut off, and repeats some that are done.
        self._retry_queue = [
            trial_id
            for trial_id, trial in self.trials.items()
            if trial.status not in ("COMPLETED", "FAILED")
        ]
        self._count_rejected()
        display, now = self._display, datetime.datetime.now()
        display.search_start = display.search_start or now
        for number, trial_id in enumerate(self.trials, 1):  # saved only with the next trial
            display.trial_start.setdefault(trial_id, now)
            display.trial_number.setdefault(trial_id, number)
        if isinstance(self, keras_tuner.oracles.GridSearchOracle):  # keeps no order of its own
            self._ordered_ids = type(self._ordered_ids)()
            values = {i: trial.hyperparameters.values for i, trial in self.trials.items()}
            compare = functools.cmp_to_key(lambda a, b: self._compare(values[a], values[b]))
            for trial_id in sorted(values, key=compare):
                self._ordered_ids.insert(trial_id)
            self._populate_next = list(values)


def is_rejected(hypermodel, trial) -> bool:
    """Whether a trial failed since the hypermodel rejects it. Messages do not reach the chief."""
    return trial.status == "FAILED" and hypermodel.rejection(trial.hyperparameters) is not None


def give_up_dead_workers(oracle, folder, done):
    """Ends the trials of workers whose process has died, so that the search can end."""
    while not done.wait(2):
        for tuner_id in {*oracle.ongoing_trials, *oracle.tuner_ids}:
            path = folder / f"{tuner_id}.lock"
            if not path.exists() or is_locked(path):
                continue
            trial = oracle.ongoing_trials.get(tuner_id)
            if trial is not None:
                trial.status, trial.message = "INVALID", f"The worker {tuner_id} was killed."
                oracle.end_trial(trial)
            oracle.tuner_ids.discard(tuner_id)
