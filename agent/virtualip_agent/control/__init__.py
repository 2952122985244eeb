"""The control process: files, trackers and frames in, the node's state out. Nothing here can delay the wire."""
