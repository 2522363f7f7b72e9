"""What rules, functions and people can ask for: one file for each action, or for a few that are alike.

A file registers its actions when it is imported. To add one, write its file and add its import below; another package
calls `register_action`, or has an entry point `ensemble.actions` that names an `Action`.
"""

# isort: off  (the order of the imports is that of the reference)
from ensemble.engine.actions import add_rule as add_rule
from ensemble.engine.actions import algorithm as algorithm
from ensemble.engine.actions import avoid as avoid
from ensemble.engine.actions import cancel as cancel
from ensemble.engine.actions import custom as custom
from ensemble.engine.actions import ending as ending
from ensemble.engine.actions import resize as resize
from ensemble.engine.actions import submit as submit

# isort: on
from ensemble.engine.actions.algorithm import switch
from ensemble.engine.actions.context import Action, Cause, Context, perform
from ensemble.spec.actions import register_action

__all__ = ["Action", "Cause", "Context", "perform", "register_action", "switch"]
