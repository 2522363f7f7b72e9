"""Crashes one time in ten, gives a useless result one time in five, and a good one otherwise."""

import os
import random
import sys

draw = random.Random(f"{sys.argv[1]}/{os.environ['ENSEMBLE_ATTEMPT']}")
if draw.random() < 0.1:
    sys.exit("crashed")
print("result", -1 if draw.random() < 0.2 else round(draw.uniform(1, 2), 3))
