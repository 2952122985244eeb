"""Our image, and pause, built without a registry and without a container engine.

Three layers, each kept by what it was made from: Debian's Python (base), the locked requirements (dependencies), our
own packages (application). A change of our code makes the last one anew, in less than a second.
"""

from barecluster.image.archive import Image, copy_without, image_id
from barecluster.image.build import TAG, build
from barecluster.image.pause import PAUSE_TAG, write_pause

__all__ = ["PAUSE_TAG", "TAG", "Image", "build", "copy_without", "image_id", "write_pause"]
