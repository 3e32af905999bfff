r"""Do the libraries of the tools read the same boxes that `cdtr localize` wrote?

    cdtr localize RUN PHOTOS --out OUT --val-share 0 \
        --format coco,coco-results,coco-rle,csv,cvat,fiftyone,label-studio,masks,voc,voc-zero,yolo
    pip install pycocotools supervision ultralytics globox datumaro label-studio-sdk fiftyone   # in another environment
    python benchmarks/read_back.py OUT

Nothing of cdtr is imported, because these libraries and it want different versions of OpenCV. Of every library and
format: the images and boxes that it read, and the largest distance in pixels of a corner to that in ``boxes.csv``; for
masks, of the sides of each object's tight box, which needs regions that do not overlap, so no --top-k. A library that
is not installed is named as such. FiftyOne's own importer and parser are run, without its database, which a data set
inside FiftyOne would need.
"""

from __future__ import annotations

import contextlib
import csv
import importlib.metadata
import io
import json
import shutil
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

Boxes = dict[str, list[tuple[str, np.ndarray]]]  # by image: (class, half-open corners)


def read_csv(out: Path) -> Boxes:
    found: Boxes = defaultdict(list)
    with (out / "boxes.csv").open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            corners = [row[name] for name in ("x_min", "y_min", "x_max", "y_max")]
            found[row["image"]].extend([(row["label"], np.array(corners, dtype=float))] if row["label"] else [])
    return found


def coco_boxes(coco: Any) -> Boxes:
    found: Boxes = {image["file_name"]: [] for image in coco.imgs.values()}
    for one in coco.anns.values():
        x, y, w, h = one["bbox"]
        name = coco.imgs[one["image_id"]]["file_name"]
        found[name].append((coco.cats[one["category_id"]]["name"], np.array([x, y, x + w, y + h])))
    return found


def pycocotools_coco(out: Path) -> Boxes:
    from pycocotools.coco import COCO

    return coco_boxes(COCO(str(out / "coco.json")))


def pycocotools_results(out: Path) -> Boxes:
    from pycocotools.coco import COCO

    return coco_boxes(COCO(str(out / "coco.json")).loadRes(str(out / "coco_results.json")))


def pycocotools_rle(out: Path) -> Boxes:
    from pycocotools.coco import COCO

    coco = COCO(str(out / "coco_rle.json"))
    found: Boxes = {image["file_name"]: [] for image in coco.imgs.values()}
    for one in coco.anns.values():
        name = coco.imgs[one["image_id"]]["file_name"]
        found[name].append((coco.cats[one["category_id"]]["name"], tight_box(coco.annToMask(one) == 1)))
    return found


def tight_box(mask: np.ndarray) -> np.ndarray:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], dtype=float)


def supervision_coco(out: Path) -> Boxes:
    import supervision as sv

    images = photos(out)
    data = sv.DetectionDataset.from_coco(str(images), str(out / "coco.json"))
    return {
        Path(path).relative_to(images).as_posix(): named(data.classes, detections)
        for path, detections in data.annotations.items()
    }


def photos(out: Path) -> Path:
    """The folder that was localized, as the paths for FiftyOne tell."""
    paths = json.loads((out / "fiftyone" / "data.json").read_text(encoding="utf-8")).values()
    image = min(read_csv(out), key=lambda name: name.count("/"))
    place = next(path for path in paths if path.endswith("/" + image))
    return Path(place.removesuffix("/" + image))


def supervision_folders(out: Path, load: Callable[[Path], Any]) -> Boxes:
    """supervision reads one folder at a time, without those in it."""
    root, found = out / "yolo" / "images" / "train", {}
    for folder in [root, *(path for path in root.rglob("*") if path.is_dir())]:
        if any(path.is_file() for path in folder.iterdir()):
            data = load(folder.relative_to(root))
            for path, detections in data.annotations.items():
                found[original(out, Path(path).relative_to(root).as_posix())] = named(data.classes, detections)
    return found


def original(out: Path, name: str) -> str:
    """The image that a link of the folder yolo stands for, of whose name only one of two suffixes is left."""
    target = (out / "yolo" / "images" / "train" / name).readlink().as_posix()
    return max((image for image in read_csv(out) if target.endswith("/" + image)), key=len)


def named(classes: list[str], detections: Any) -> list[tuple[str, np.ndarray]]:
    return [(classes[index], box) for box, index in zip(detections.xyxy, detections.class_id, strict=True)]


def supervision_yolo(out: Path) -> Boxes:
    import supervision as sv

    yolo = out / "yolo"

    def load(folder: Path) -> Any:
        places = (str(yolo / kind / "train" / folder) for kind in ("images", "labels"))
        return sv.DetectionDataset.from_yolo(*places, str(yolo / "data.yaml"))

    return supervision_folders(out, load)


def ultralytics_yolo(out: Path) -> Boxes:
    """The labels as they reach a training; its checks run on a copy, as it writes a cache beside them."""
    from ultralytics.data.dataset import YOLODataset
    from ultralytics.data.utils import check_det_dataset

    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "yolo"
        shutil.copytree(out / "yolo", copy)
        data = check_det_dataset(str(copy / "data.yaml"), autodownload=False)
        found: Boxes = {}
        for label in YOLODataset(img_path=data["train"], data=data, task="detect", augment=False).labels:
            (height, width), shares = label["shape"], label["bboxes"]
            corners = np.hstack([shares[:, :2] - shares[:, 2:] / 2, shares[:, :2] + shares[:, 2:] / 2])
            boxes = corners * np.tile([width, height], 2)
            names = [data["names"][int(number)] for number in label["cls"].ravel()]
            name = Path(label["im_file"]).relative_to(copy.resolve() / "images" / "train").as_posix()
            found[original(out, name)] = list(zip(names, boxes, strict=True))
    return found


def supervision_voc(out: Path) -> Boxes:
    import supervision as sv

    images, annotations = out / "yolo" / "images" / "train", out / "voc" / "Annotations"
    return supervision_folders(
        out, lambda folder: sv.DetectionDataset.from_pascal_voc(str(images / folder), str(annotations / folder))
    )


def globox_boxes(annotations: Any) -> Boxes:
    return {
        one.image_id: [(box.label, np.array([box.xmin, box.ymin, box.xmax, box.ymax])) for box in one.boxes]
        for one in annotations
    }


def globox_coco(out: Path) -> Boxes:
    import globox

    return globox_boxes(globox.AnnotationSet.from_coco(out / "coco.json"))


def globox_cvat(out: Path) -> Boxes:
    import globox

    return globox_boxes(globox.AnnotationSet.from_cvat(out / "cvat.xml"))


def globox_voc(out: Path) -> Boxes:
    import globox

    found = globox_boxes(globox.AnnotationSet.from_pascal_voc(out / "voc" / "Annotations", recursive=True))
    # It takes VOC's corners as they are, counted from 1 and the last pixel included.
    return {name: [(label, box - [1, 1, 0, 0]) for label, box in boxes] for name, boxes in found.items()}


def datumaro_boxes(data: Any, known: Boxes, masks: bool = False) -> Boxes:
    from datumaro.components.annotation import AnnotationType

    categories = data.categories()[AnnotationType.label]
    stems: dict[str, list[str]] = defaultdict(list)
    for name in known:
        stems[str(Path(name).with_suffix(""))].append(name)
    found: Boxes = {}
    for item in data:
        boxes = []
        for one in item.annotations:
            if masks and one.type == AnnotationType.mask:
                boxes.append((categories[one.label].name, tight_box(one.image == 1)))
            elif not masks and one.type == AnnotationType.bbox:
                x, y, w, h = one.get_bbox()
                boxes.append((categories[one.label].name, np.array([x, y, x + w, y + h])))
        # Its ids have no suffix, but where that was needed to tell two images apart.
        found[item.id if item.id in known else stems[item.id][0]] = boxes
    return found


def datumaro(folder: str, kind: str, masks: bool = False, **settings: Any) -> Callable[[Path], Boxes]:
    def read(out: Path) -> Boxes:
        from datumaro import Dataset

        return datumaro_boxes(Dataset.import_from(str(out / folder), kind, **settings), read_csv(out), masks)

    return read


def datumaro_cvat(out: Path) -> Boxes:
    """It wants the images in a folder beside the file."""
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(out / "cvat.xml", folder)
        shutil.copytree(photos(out), Path(folder) / "images")
        return datumaro(folder, "cvat")(out)


def label_studio(out: Path) -> Boxes:
    """The SDK's checks of the configuration and of each prediction, then its converter to COCO, which knows pixels."""
    from label_studio_sdk.converter import Converter
    from label_studio_sdk.label_interface import LabelInterface

    config = (out / "label_studio" / "labeling_config.xml").read_text(encoding="utf-8")
    tasks = json.loads((out / "label_studio" / "tasks.json").read_text(encoding="utf-8"))
    interface = LabelInterface(config)
    interface.validate()
    for task in tasks:
        errors = interface.validate_prediction(task["predictions"][0], return_errors=True)
        if errors:
            raise ValueError(f"{task['data']}: {errors}")
    # What Label Studio exports after a reviewer accepted every prediction.
    exported = [
        {
            "id": number,
            "data": task["data"],
            "annotations": [{"id": number, "result": task["predictions"][0]["result"]}],
        }
        for number, task in enumerate(tasks)
    ]
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "export.json"
        source.write_text(json.dumps(exported), encoding="utf-8")
        converter = Converter(config, project_dir=folder, download_resources=False)
        converter.convert_to_coco(str(source), folder, output_image_dir=folder, is_dir=False)
        tree = json.loads((Path(folder) / "result.json").read_text(encoding="utf-8"))
    names = {category["id"]: category["name"] for category in tree["categories"]}
    images = {image["id"]: tasks[number]["data"]["image_id"] for number, image in enumerate(tree["images"])}
    found: Boxes = {name: [] for name in images.values()}
    for one in tree["annotations"]:
        x, y, w, h = one["bbox"]
        found[images[one["image_id"]]].append((names[one["category_id"]], np.array([x, y, x + w, y + h])))
    return found


def fiftyone(out: Path) -> Boxes:
    from fiftyone.utils.data.importers import FiftyOneImageDetectionDatasetImporter

    folder, sizes = str(out / "fiftyone"), {}
    with (out / "boxes.csv").open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            sizes[row["image"]] = float(row["width"]), float(row["height"])
    found: Boxes = {}
    importer = FiftyOneImageDetectionDatasetImporter(dataset_dir=folder, data_path="data.json")
    with importer:
        for path, _, detections in importer:
            if not Path(path).is_file():
                raise ValueError(f"{path} is no file")
            name = max((image for image in sizes if path.endswith("/" + image)), key=len)
            boxes = []
            for one in detections.detections:
                left, top, width, height = one.bounding_box
                shares = np.array([left, top, left + width, top + height])
                boxes.append((one.label, shares * np.tile(sizes[name], 2)))
            found[name] = boxes
    return found


READERS: dict[str, tuple[str, Callable[[Path], Boxes]]] = {
    "coco": ("pycocotools", pycocotools_coco),
    "coco ": ("supervision", supervision_coco),
    "coco  ": ("globox", globox_coco),
    "coco-results": ("pycocotools", pycocotools_results),
    "coco-rle": ("pycocotools", pycocotools_rle),
    "cvat": ("globox", globox_cvat),
    "cvat ": ("datumaro", datumaro_cvat),
    "fiftyone": ("fiftyone", fiftyone),
    "label-studio": ("label-studio-sdk", label_studio),
    "masks": ("datumaro", datumaro("masks", "voc_instance_segmentation", masks=True)),
    "voc": ("supervision", supervision_voc),
    "voc ": ("globox", globox_voc),
    "voc  ": ("datumaro", datumaro("voc", "voc_detection", coordinate_mode="voc-one-based")),
    "voc-zero": ("datumaro", datumaro("voc_zero", "voc_detection")),
    "yolo": ("supervision", supervision_yolo),
    "yolo ": ("ultralytics", ultralytics_yolo),
}


def compare(expected: Boxes, found: Boxes) -> dict[str, Any]:
    """Boxes are matched within image and class, each to the nearest."""
    largest, wrong = 0.0, []
    for name, boxes in expected.items():
        ours = Counter(label for label, _ in boxes)
        theirs = Counter(label for label, _ in found.get(name, []))
        if ours != theirs:
            wrong.append(f"{name}: {dict(ours)}, read {dict(theirs)}")
        for label, box in found.get(name, []):
            same = [np.abs(box - other).max() for kind, other in boxes if kind == label]
            largest = max([largest, *([min(same)] if same else [])])
    return {
        "images": len(found),
        "boxes": sum(map(len, found.values())),
        "largest_distance_px": round(float(largest), 4),
        "differences": wrong + sorted(set(found) - set(expected)),
    }


def main() -> None:
    out = Path(sys.argv[1])
    expected = read_csv(out)
    rows = [{"images": len(expected), "boxes": sum(map(len, expected.values())), "written_to": "boxes.csv"}]
    for name, (library, read) in READERS.items():
        row: dict[str, Any] = {"format": name.strip(), "library": library}
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                row |= {"version": importlib.metadata.version(library), **compare(expected, read(out))}
        except importlib.metadata.PackageNotFoundError:
            row["differences"] = ["not installed"]
        except Exception as error:
            row["differences"] = [f"{type(error).__name__}: {error}"]
        rows.append(row)
    print(json.dumps(rows, indent=1, ensure_ascii=False))


if __name__ == "__main__":
    main()
