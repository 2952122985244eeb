"""The long run."""

import argparse
import time

from fuzz.run import fuzz

parser = argparse.ArgumentParser(prog="fuzz")
parser.add_argument("--packets", type=int, default=1_000_000)
parser.add_argument("--seed", type=int, default=1)
options = parser.parse_args()
began = time.process_time()
print(fuzz(options.packets, options.seed))
print(f"{time.process_time() - began:.1f} CPU seconds, seed {options.seed}")
