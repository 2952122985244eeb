"""The contract between users, operator and agents: what crds/*.yaml say, as frozen dataclasses."""
