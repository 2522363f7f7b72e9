"""Rastrigin's function, which has a hundred local minima around the one at (0, 0)."""

import math
import sys

x, y = map(float, sys.argv[1:])
with open("history", "a") as history:
    print(x, y, file=history)
print("height", 20 + sum(one * one - 10 * math.cos(2 * math.pi * one) for one in (x, y)))
