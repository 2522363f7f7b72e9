"""Stands for a training: gradient descent with momentum on Rosenbrock's function; prints the loss at its end."""

import sys

rate, momentum, epochs = float(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])
x, y, vx, vy = -1.2, 1.0, 0.0, 0.0
for epoch in range(epochs):
    for _ in range(50):
        gx = -2 * (1 - x) - 400 * x * (y - x * x)
        gy = 200 * (y - x * x)
        length = max(1.0, (gx * gx + gy * gy) ** 0.5)
        vx, vy = momentum * vx - rate / 100 * gx / length, momentum * vy - rate / 100 * gy / length
        x, y = x + vx, y + vy
    with open("history", "a") as history:
        print(epoch, (1 - x) ** 2 + 100 * (y - x * x) ** 2, file=history)
print("loss", (1 - x) ** 2 + 100 * (y - x * x) ** 2)
