#!/bin/sh
# Says who it is, and that all is well.
exec id -un
