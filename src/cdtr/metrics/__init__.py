"""Localization metrics; the definitions are those of the public WSOL evaluator (Choe et al. 2020)."""

from cdtr.metrics.baselines import CentredBoxes
from cdtr.metrics.loc_accuracy import LOC_IOU, ImageRow, LocAccuracy
from cdtr.metrics.max_box_acc import MaxBoxAcc
from cdtr.metrics.pxap import PxAP, average_precisions

__all__ = ["LOC_IOU", "CentredBoxes", "ImageRow", "LocAccuracy", "MaxBoxAcc", "PxAP", "average_precisions"]
