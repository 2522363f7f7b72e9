"""Studies: containers with known applications, their measurements, models fitted to them, and plans made of these."""
