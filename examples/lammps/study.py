"""The study of ensemble.yaml in Python: `python examples/lammps/study.py`."""

from ensemble import Ensemble

study = Ensemble("melt", seed=20261120, limits={"jobs": 40, "walltime": "10m"})

melt = study.group(
    "melt",
    "lmp -in in.melt -log log.lammps -var T {T} -var seed {seed}",
    parameters={"T": [0.8, 1.1, 1.4]},
    count=3,
    tasks=2,
    walltime="2m",
    inputs=["in.melt"],
    outputs={"pressure": {"from": "log.lammps", "pattern": r"^PRESSURE ([-+.\deE]+)"}},
    valid="pressure > -10 and pressure < 50",
    retries={"limit": 1, "reasons": ["signal"]},
)

# one more run of a temperature whose mean pressure is not known within 2 %
study.rule(
    "metric",
    when="count.melt.active == 0 and rel_ci95.melt.pressure > 0.02",
    for_each="T",
    repetitions=15,
    action=melt.submit(1),
)

if __name__ == "__main__":
    for row in study.run().results(by="point"):
        print(
            f"T = {row['T']}: pressure {row['pressure.mean']:.3f} ± {row['pressure.ci95']:.3f} ({row['success']} runs)"
        )
