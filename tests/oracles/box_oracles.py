"""The evaluator's boxes and counts straight from its definition: every threshold afresh, one box at a time."""

import cv2
import numpy as np


def boxes_at(score_map, threshold, multi):
    grey = (score_map * 255).astype(np.uint8)
    level = int(threshold * grey.max())
    height, width = grey.shape
    mask = np.where(grey > level, 255, 0).astype(np.uint8)
    contours = cv2.findContours(mask, cv2.RETR_TREE, cv2.CHAIN_APPROX_SIMPLE)[0]
    if len(contours) == 0:
        return [[0, 0, 0, 0]]
    if not multi:
        areas = [cv2.contourArea(contour) for contour in contours]
        contours = [contours[areas.index(max(areas))]]
    boxes = []
    for contour in contours:
        x, y, w, h = cv2.boundingRect(contour)
        boxes.append([x, y, min(x + w, width - 1), min(y + h, height - 1)])
    return boxes


def iou_inclusive(a, b):
    width = min(a[2], b[2]) - max(a[0], b[0]) + 1
    height = min(a[3], b[3]) - max(a[1], b[1]) + 1
    shared = max(width, 0) * max(height, 0)
    area_a, area_b = ((box[2] - box[0] + 1) * (box[3] - box[1] + 1) for box in (a, b))
    return shared / (area_a + area_b - shared)


def hits(score_map, gt_boxes, thresholds, iou_percents, multi):
    counts = np.zeros((len(iou_percents), len(thresholds)), dtype=int)
    for column, threshold in enumerate(thresholds):
        best = max(iou_inclusive(a, b) for a in boxes_at(score_map, threshold, multi) for b in gt_boxes)
        for row, percent in enumerate(iou_percents):
            counts[row, column] = best >= percent / 100
    return counts


def pxap(score_maps, masks, thresholds):
    """Average precision with numpy's own histogram over all pixels at once."""
    scores = np.concatenate([score_map.ravel() for score_map in score_maps])
    truth = np.concatenate([mask.ravel() for mask in masks])
    edges = np.append(thresholds, [1.0, 2.0, 3.0])
    objects = np.histogram(scores[truth == 1], bins=edges)[0][::-1]
    background = np.histogram(scores[truth == 0], bins=edges)[0][::-1]
    area, found, wrong, recall_before = 0.0, 0, 0, None
    for object_count, background_count in zip(objects, background, strict=True):
        found += object_count
        wrong += background_count
        recall = found / objects.sum()
        if recall_before is not None and found + wrong:
            area += found / (found + wrong) * (recall - recall_before)
        recall_before = recall
    return 100 * area
