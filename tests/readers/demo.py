"""Holds a run of the demo against the kernel's counters, and looks at what it showed.

Arguments: the daemon's status (JSON), the interfaces' counters when it had begun and at the end
(`NETNS NAME packets_in packets_out bytes_in bytes_out dropped_in` a line), the sums of the files
(`interfaces.py`), the screen.
"""

import json
import re
import sys

with open(sys.argv[1]) as file:
    hooks = {hook["interface"]: hook for hook in json.load(file)["source"]["hooks"]}
with open(sys.argv[4]) as file:
    stored = json.load(file)
with open(sys.argv[5], errors="replace") as file:
    screen = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", file.read())

COUNTERS = ["packets_in", "packets_out", "bytes_in", "bytes_out"]
wrong, exact = [], 0


def lines_of(path):
    with open(path) as file:
        return [line.split() for line in file]


# The program at egress sees what the driver then drops, as it does while a pod's side is not up.
dropped_first = {(netns, name): int(rest[-1]) for netns, name, *rest in lines_of(sys.argv[2])}
lines = lines_of(sys.argv[3])
for netns, name, *values, dropped in lines:
    values[0] = int(values[0]) + int(dropped) - dropped_first[netns, name]
    hook = hooks[f"{netns}/{name}"]
    rows = stored[f"{netns} {name}"]
    for counter, value in zip(COUNTERS, map(int, values)):
        what, way = counter.split("_")
        seen = hook["egress" if way == "in" else "ingress"]
        if seen["overflow_packets"]:
            wrong.append(f"{netns} {name}: {seen['overflow_packets']} packets overflowed")
        # What passed while the hook was being attached may have been counted or not.
        least = value - seen[f"before_{what}"] - seen[f"during_{what}"]
        most = value - seen[f"before_{what}"]
        exact += least == rows[counter] == most
        if not least <= rows[counter] <= most:
            wrong.append(f"{netns} {name}: {counter} is {rows[counter]}, not {least} to {most}")

LOOKS = {
    "a denial with its nearest rule": r"denied by \S+: ingress selects .*no rule matches; nearest: \S+ rule \d",
    "an allowing rule": r"allowed by \S+",
    "a drop that no policy explains": r"no policy says so",
    "a denial that was delivered": r"policy denies, but it was delivered",
    "a denial at egress": r"denied by payments/\S+.*egress selects",
    "an IPv6 address outside": r"2001:db8:",
    "a service": r"\bkube-dns\b",
}
wrong += [f"the screen does not show {what}" for what, how in LOOKS.items() if not re.search(how, screen)]
if wrong:
    print(*wrong, sep="\n")
    sys.exit(1)
print(f"{exact} of {4 * len(lines)} counters of {len(lines)} interfaces are exact, the rest within what passed while attaching")
