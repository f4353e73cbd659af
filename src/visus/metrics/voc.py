"""Pascal VOC's own matching of detections: each looks only at the object it overlaps most.

Source:
    Everingham et al., The Pascal visual object classes challenge, IJCV 2010, section 4.4; ``VOCevaldet.m`` of the VOC
    development kit.
"""

from __future__ import annotations

import numpy as np

from visus.metrics.average_precision import Ranked, objects_of
from visus.metrics.matching import Found, Truth, iou, pairs

THRESHOLD = 0.5


def ranked(truth: Truth, found: Found, n_classes: int, n: int) -> Ranked:
    """Return the detections of n pictures as VOC judges them.

    A detection is right where it overlaps by half the object of its class that it overlaps most, and no surer one did
    so before; a second one on that object is wrong, whatever lies beside it.  On a crowd, VOC's difficult object, it
    does not count.  No detection is left out for being one of many.
    """
    found = found.take(found.order())
    wide = 1 + max(int(truth.image.max(initial=0)), int(found.image.max(initial=0)))
    best, which = np.zeros(len(found)), np.full(len(found), -1)
    for row, at in pairs(found.label * wide + found.image, truth.label * wide + truth.image):
        overlap = iou(found.box[row], truth.box[at])
        first = np.flatnonzero(np.diff(row, prepend=-1))
        most = np.maximum.reduceat(overlap, first)
        best[row[first]] = most
        top = np.flatnonzero(overlap == np.repeat(most, np.diff(first, append=len(row))))
        which[row[top[::-1]]] = at[top[::-1]]  # of equals the first
    on = best >= THRESHOLD
    counted = np.ones(len(found), np.bool_)
    counted[on] = ~truth.crowd[which[on]]
    rows = np.flatnonzero(on & counted)
    right = np.zeros(len(found), np.bool_)
    right[rows[np.unique(which[rows], return_index=True)[1]]] = True
    held = ~truth.crowd
    objects = objects_of(truth.label[held], truth.image[held], n_classes, n)
    return Ranked(found.label, found.image, right[:, None], counted[:, None], objects)
