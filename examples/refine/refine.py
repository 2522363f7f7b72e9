"""Asks for the middle of every interval over which y changes by more than a fifth of its range."""

from itertools import pairwise


def refine(points):
    """Return a submit action with new points, or nothing when the curve is known well enough."""
    known = sorted((point.parameters.x, point.mean.y) for point in points.sample if "y" in point.mean)
    values = [y for _, y in known]
    steep = (max(values) - min(values)) / 5
    new = [round((a + b) / 2, 6) for (a, ya), (b, yb) in pairwise(known) if abs(yb - ya) > steep]
    if not new:
        return None
    return {"name": "submit", "label": "sample", "parameters": {"x": new}}
