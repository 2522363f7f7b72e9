"""A fixed amount of waiting, shared out to N workers: it scales perfectly but for a serial tenth."""

import sys
import time
from concurrent.futures import ThreadPoolExecutor

WORK, SERIAL = 0.36, 0.04

workers = int(sys.argv[1])
began = time.perf_counter()
time.sleep(SERIAL)
with ThreadPoolExecutor(workers) as pool:
    list(pool.map(time.sleep, [WORK / workers] * workers))
print(f"elapsed {time.perf_counter() - began:.4f}")
