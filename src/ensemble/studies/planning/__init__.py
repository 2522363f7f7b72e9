"""Planning: from a plan (targets, a mix, arrivals, a structure, a seed) to an ordinary ensemble file.

`plan` is the file of a plan, `draws` makes its jobs, `kinds` knows how long they take, `structures` how they depend on
each other, `planner` meets the targets, and `experiment` writes what came of it.
"""
