"""Search for hyperparameters with Optuna: ask and tell, with a pruner.

A trial trains for 2, 4, 8 and 16 epochs, one job each. After each job the pruner decides whether the trial continues,
so a hopeless trial costs 2 epochs and not 30. Kill this script at any time, also with `kill -9`, and start it again by
the same line: it asks Optuna the same questions, is given the jobs that it had submitted before, and goes on.
"""

import optuna
from optuna.distributions import FloatDistribution
from optuna.trial import Trial, TrialState

from ensemble import Ensemble, Run

TRIALS, AT_ONCE, EPOCHS = 20, 3, (2, 4, 8, 16)
SPACE = {"rate": FloatDistribution(0.01, 1.5, log=True), "momentum": FloatDistribution(0.0, 0.95)}

study = Ensemble("optuna")
train = study.group(
    "train",
    "python3 train.py {rate} {momentum} {epochs}",
    parameters={"trial": [], "epochs": [], "rate": [], "momentum": []},
    inputs=["train.py"],
    outputs={"loss": r"loss ([-+.\de]+)"},
)


def submit(run: Run, trial: Trial, epochs: int) -> None:
    """Train a trial for so many epochs."""
    point = {"trial": trial.number, "epochs": epochs, **trial.params}
    run.submit(train, points=[point], key=f"trial {trial.number}, {epochs} epochs")


if __name__ == "__main__":
    pruner = optuna.pruners.MedianPruner(n_startup_trials=4)
    search = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=1), pruner=pruner)
    trials = [search.ask(SPACE) for _ in range(AT_ONCE)]
    with study.start(resume=True) as run:
        for trial in trials:
            submit(run, trial, EPOCHS[0])
        for job in run.completed():
            trial, epochs, loss = trials[job.parameters["trial"]], job.parameters["epochs"], job.figures.get("loss")
            if loss is not None:
                trial.report(loss, epochs)
            if loss is None:
                search.tell(trial, state=TrialState.FAIL)
            elif trial.should_prune():
                search.tell(trial, state=TrialState.PRUNED)
            elif epochs < EPOCHS[-1]:
                submit(run, trial, epochs * 2)
                continue
            else:
                search.tell(trial, loss)
            if len(trials) < TRIALS:
                trials.append(search.ask(SPACE))
                submit(run, trials[-1], EPOCHS[0])
    pruned = len(search.get_trials(states=[TrialState.PRUNED]))
    print(f"{len(trials)} trials, {pruned} pruned, {len(run.results())} jobs; the best loss is {search.best_value:.3g}")
