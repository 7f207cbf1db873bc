"""The charts of a search's report: Optuna's own, of the proposals."""

import optuna
from optuna.trial import FrozenTrial, TrialState
from optuna.visualization import plot_intermediate_values, plot_optimization_history, plot_slice

from train.report.figures import LINE, NOTE, Figure, plain
from tune import labels
from tune.results import Tuning

SCORE = "validation score (naive = 1)"


def proposals(study: optuna.Study) -> optuna.Study:
    """Return a study of the proposals that finished or were stopped early, without comparison trials.

    They are numbered anew; their number in the search is the user attribute ``number``.
    """
    copy = optuna.create_study(study_name=study.study_name)
    for trial in study.get_trials(states=(TrialState.COMPLETE, TrialState.PRUNED)):
        if "origin" not in trial.user_attrs:
            trial.set_user_attr("number", trial.number)
            copy.add_trial(trial)
    return copy


def finished(study: optuna.Study) -> list[FrozenTrial]:
    return study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))


def figures(tuning: Tuning, study: optuna.Study) -> dict[str, Figure | None]:
    """Return the charts of a study of `proposals` by name; None where there are too few trials to draw."""
    names = {f"slice_{name}": name for name in tuning.parameters}
    charts: dict[str, Figure | None] = dict.fromkeys(("history", *names, "curves"))
    if study.trials:
        curves, reached = plot_intermediate_values(study), [t for t in study.trials if t.intermediate_values]
        for curve, trial in zip(curves.data, reached, strict=True):
            curve.name = f"trial {trial.user_attrs['number']}"
        charts["curves"] = plain(
            curves, title=None, xaxis_title_text="epoch, over all folds", yaxis_title_text=SCORE
        )
    if len(finished(study)) < 2:
        return charts
    history = plot_optimization_history(study, target_name=SCORE)
    if (default := tuning.default_score) is not None:
        history.add_hline(default, **LINE, annotation_text="default", annotation_font=NOTE)
    charts["history"] = plain(history, title=None, xaxis_title_text="proposal")
    for chart, name in names.items():
        points = plot_slice(study, [name], target_name=SCORE).update_traces(marker_showscale=False)
        points.update_xaxes(title_text=labels.label(name), automargin=False, tickangle=0)
        charts[chart] = plain(points, title=None)
    return charts
