#!/bin/sh
# One line for each transition: notify.sh FILE, then what every notify is told: INSTANCE|GROUP, name, state, priority.
echo "$2 $3 has transitioned to the $4 state with a priority of $5" >> "$1"
