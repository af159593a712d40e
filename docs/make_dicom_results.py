"""Make the picture of what predict.py --dicom-out writes, for one simulated radiograph.

Reads   models/pretrained; needs the extra `dicom`
Writes  docs/pictures/dicom_results.png

    python -m docs.make_dicom_results
"""

import tempfile
from dataclasses import dataclass
from pathlib import Path

import highdicom
import numpy as np
import pydicom
from matplotlib.figure import Figure
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ComputedRadiographyImageStorage, ExplicitVRLittleEndian

from boneage import cli
from boneage.layout import PRETRAINED, REPOSITORY, Layout
from boneage.phantoms import radiograph as phantoms_radiograph
from boneage.plotting import save
from boneage.prediction.inputs import resolve_input
from boneage.prediction.predictor import Predictor
from boneage.reporting import dicom_output

AGE_MONTHS, SEED, RADIOGRAPH_PX = 60, 2, 1400
HEADER = {
    "PatientName": "Simulated^Hand",
    "PatientID": "none",
    "PatientSex": "M",
    "StudyDate": "20261127",
    "Modality": "CR",
    "BodyPartExamined": "HAND",
    "Laterality": "L",
    "StudyInstanceUID": "2.25.1",
    "SeriesInstanceUID": "2.25.2",
    "SOPInstanceUID": "2.25.3",
    "SOPClassUID": ComputedRadiographyImageStorage,
    "SamplesPerPixel": 1,
    "PhotometricInterpretation": "MONOCHROME2",
    "PixelRepresentation": 0,
}


@dataclass(frozen=True)
class Options:
    """Where the picture goes."""

    out: Path = REPOSITORY / "docs" / "pictures" / "dicom_results.png"
    """File to write."""


def main(options: Options) -> None:
    """Simulate a boy of five, read his hand, and draw what his results contain."""
    with tempfile.TemporaryDirectory() as folder:
        radiograph = write_radiograph(Path(folder) / "hand.dcm")
        predictor = Predictor(Layout(models=PRETRAINED))
        prediction = predictor.predict(resolve_input(radiograph, None))
        source = dicom_output.read_source(radiograph)
        result = dicom_output.build(source, prediction, predictor)
        capture, report = result.write(Path(folder))
        page = pydicom.dcmread(capture).pixel_array
        lines = outline(highdicom.sr.srread(report))
    figure = Figure((11, 6.2))
    figure.text(0.01, 0.96, "Structured report", size=11, weight="bold", va="top")
    figure.text(0.01, 0.91, "\n".join(lines), size=8.5, va="top", linespacing=1.5)
    axes = figure.add_axes((0.63, 0.01, 0.36, 0.9))
    axes.imshow(page)
    axes.set_axis_off()
    figure.text(0.65, 0.96, "Secondary Capture", size=11, weight="bold", va="top")
    save(figure, options.out)
    cli.summary(wrote=options.out)


def write_radiograph(path: Path) -> Path:
    """The simulated hand as a DICOM file."""
    rng = np.random.default_rng(SEED)
    made = phantoms_radiograph.simulate(rng, AGE_MONTHS, True, RADIOGRAPH_PX)
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = pydicom.Dataset()
    dataset.file_meta = meta
    for keyword, value in HEADER.items():
        setattr(dataset, keyword, value)
    image = made.radiograph
    dataset.Rows, dataset.Columns = image.shape
    dataset.BitsAllocated = dataset.BitsStored = 8 * image.dtype.itemsize
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelData = image.tobytes()
    dataset.save_as(path, enforce_file_format=True)
    return path


def outline(item: pydicom.Dataset, depth: int = 0) -> list[str]:
    """A line per item of a report's content, indented by its depth."""
    words = item.ConceptNameCodeSequence[0].CodeMeaning
    if item.ValueType == "NUM":
        measured = item.MeasuredValueSequence[0]
        unit = measured.MeasurementUnitsCodeSequence[0].CodeValue
        words += f": {measured.NumericValue} {unit}"
        code = item.ConceptNameCodeSequence[0]
        words += f"   ({code.CodeValue}, {code.CodingSchemeDesignator})"
    elif item.ValueType == "TEXT":
        text = item.TextValue
        words += f": {text if len(text) < 70 else f'{text[:67]}...'}"
    elif item.ValueType == "CODE":
        words += f": {item.ConceptCodeSequence[0].CodeMeaning}"
    elif item.ValueType == "UIDREF":
        words += ": 2.25..."
    lines = ["    " * depth + words]
    for child in item.get("ContentSequence", []):
        lines += outline(child, depth + 1)
    return lines


if __name__ == "__main__":
    cli.run(main, Options)
