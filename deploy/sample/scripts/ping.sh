#!/bin/sh
# One ping with a second's time: ping.sh ADDRESS
exec ping -c 1 -W 1 "$1"
