"""An evolution of 200 evaluations, two at a time: whenever one ends, a child of a good one takes its place.

Kill this script at any time, also with `kill -9`, and start it again by the same line: it goes on where it was.
"""

import random

from ensemble import Ensemble

EVALUATIONS, AT_ONCE, SURVIVORS = 200, 2, 10

study = Ensemble("evolution")
work = study.group(
    "work",
    "python3 height.py {x} {y}",
    parameters={"x": [], "y": []},
    inputs=["height.py"],
    outputs={"height": r"height ([-+.\de]+)"},
)

if __name__ == "__main__":
    draw = random.Random(1)
    population = []
    with study.start(resume=True) as run:
        first = [{"x": draw.uniform(-4, 4), "y": draw.uniform(-4, 4)} for _ in range(AT_ONCE)]
        run.submit(work, points=first, key="first")
        asked = AT_ONCE
        for job in run.completed():
            if job.outcome == "success":
                population = sorted([*population, job], key=lambda one: one.figures["height"])[:SURVIVORS]
            if asked < EVALUATIONS:
                parent = draw.choice(population).parameters
                child = {axis: value + draw.gauss(0, 0.5) for axis, value in parent.items()}
                run.submit(work, points=[child], key=f"child {asked}")
                asked += 1
        best = run.best(work, "height")
    print(f"{len(run.results())} evaluations; the best is {best.figures['height']:.3g} at {best.parameters}")
