"""Every path under data/ and models/, with the step that writes it."""

from dataclasses import dataclass
from pathlib import Path

from boneage.errors import InputError
from boneage.ids import RadiographId, is_id, parse_id, sort_ids

PACKAGE = Path(__file__).resolve().parent

REPOSITORY = PACKAGE.parent
"""The checkout, where the package is used from one."""

IS_CHECKOUT = (REPOSITORY / "al_segmentation").is_dir()

HOME = REPOSITORY if IS_CHECKOUT else Path()
"""Where data and models lie by default: the checkout, else the working folder."""

PRETRAINED = HOME / "models" / "pretrained" if IS_CHECKOUT else PACKAGE / "pretrained"
"""Models that come with the package."""
IMAGENET = PRETRAINED / "imagenet"
"""ImageNet weights of backbones that Keras does not have."""

# names within the folders below, for functions that are given such a folder
MASK_ENDING = "_bin.png"
HAND_ENDING = "_seg.png"
ORIGINAL_ENDING = "_ori.png"
QUALITY_CSV = "quality.csv"
STATE_JSON = "state.json"
HISTORY_CSV = "history.csv"


def mask_in(folder: Path, radiograph_id: RadiographId) -> Path:
    """`<id>_bin.png` of a folder: a mask, whoever drew it."""
    return folder / f"{radiograph_id}{MASK_ENDING}"


def ids_in(folder: Path, ending: str) -> dict[RadiographId, Path]:
    """Files `<id><ending>` of a folder by their id; other names do not count."""
    paths = {path.name.removesuffix(ending): path for path in folder.glob(f"*{ending}")}
    return {parse_id(name): path for name, path in paths.items() if is_id(name)}


@dataclass(frozen=True)
class Layout:
    """The files of one cohort (`data`) and what was trained on it (`models`)."""

    data: Path = HOME / "data"
    models: Path = HOME / "models"

    @property
    def radiographs(self) -> Path:
        """Radiographs `<id>.png`: the user, or step0_prepare_cohort.py."""
        return self.data / "boneage-training-dataset"

    def radiograph(self, radiograph_id: RadiographId) -> Path:
        """One radiograph as acquired."""
        return self.radiographs / f"{radiograph_id}.png"

    @property
    def dicom_queue(self) -> Path:
        """What a DICOM node has taken, until it is delivered: predict.py."""
        return self.data / "dicom_queue"

    @property
    def train_csv(self) -> Path:
        """Columns `id,boneage,male`: the user, or step0_prepare_cohort.py."""
        return self.data / "csv" / "train.csv"

    @property
    def test_csv(self) -> Path:
        """An official test set, optional: the user, or step0_prepare_cohort.py."""
        return self.data / "csv" / "test.csv"

    @property
    def split_csv(self) -> Path:
        """Columns `id,split`: whichever script needs it first."""
        return self.data / "csv" / "split.csv"

    @property
    def truth(self) -> Path:
        """Exact masks `<id>_bin.png`, facts `<id>.json`: step0, of phantoms only."""
        return self.data / "truth"

    def true_mask(self, radiograph_id: RadiographId) -> Path:
        """The exact mask of a phantom."""
        return mask_in(self.truth, radiograph_id)

    def phantom_facts(self, radiograph_id: RadiographId) -> Path:
        """Age, sex, growth plates and carpals of a phantom."""
        return self.truth / f"{radiograph_id}.json"

    @property
    def coarse(self) -> Path:
        """Coarse masks and hands, `quality.csv`: step1_corase_segment.py."""
        return self.data / "segmented_hand_al"

    def coarse_mask(self, radiograph_id: RadiographId) -> Path:
        """Otsu's mask of one radiograph."""
        return mask_in(self.coarse, radiograph_id)

    def coarse_hand(self, radiograph_id: RadiographId) -> Path:
        """The radiograph under its coarse mask."""
        return self.coarse / f"{radiograph_id}{HAND_ENDING}"

    @property
    def coarse_quality(self) -> Path:
        """A row for every coarse mask: step1_corase_segment.py."""
        return self.coarse / QUALITY_CSV

    @property
    def annotated(self) -> Path:
        """The first annotated pairs `<id>_ori.png`, `<id>_bin.png`: the oracle."""
        return self.data / "gt" / "annotated"

    def annotated_mask(self, radiograph_id: RadiographId) -> Path:
        """The mask of one of these pairs."""
        return mask_in(self.annotated, radiograph_id)

    def annotated_original(self, radiograph_id: RadiographId) -> Path:
        """The radiograph of one of these pairs."""
        return self.annotated / f"{radiograph_id}{ORIGINAL_ENDING}"

    @property
    def new(self) -> Path:
        """Pairs `<id>.png`, `<id>_bin.png`: step2 asks, the oracle answers.

        Beside them `<id>_proposal.png`, `<id>_disagreement.png`, for the oracle to look
        at: step2_interactive_segmentation.py.
        """
        return self.data / "gt" / "new"

    def query(self, radiograph_id: RadiographId) -> Path:
        """The radiograph of a query."""
        return self.new / f"{radiograph_id}.png"

    def proposal(self, radiograph_id: RadiographId) -> Path:
        """The committee's own mask of it."""
        return self.new / f"{radiograph_id}_proposal.png"

    def disagreement(self, radiograph_id: RadiographId) -> Path:
        """Where the members disagree: 0 nowhere, 255 between a sure yes and no."""
        return self.new / f"{radiograph_id}_disagreement.png"

    def answer(self, radiograph_id: RadiographId) -> Path:
        """The mask that the oracle drew."""
        return mask_in(self.new, radiograph_id)

    @property
    def agreement(self) -> Path:
        """A folder for each annotator, with masks of the radiographs that all draw."""
        return self.data / "gt" / "agreement"

    def shared_mask(self, annotator: str, radiograph_id: RadiographId) -> Path:
        """One annotator's mask of a radiograph that all of them draw."""
        return mask_in(self.agreement / annotator, radiograph_id)

    @property
    def agreement_csv(self) -> Path:
        """A row for every two annotators: step2_interactive_segmentation.py."""
        return self.data / "gt" / "agreement.csv"

    @property
    def unusable(self) -> Path:
        """Columns `id,time`: step2_interactive_segmentation.py, in the browser."""
        return self.data / "gt" / "unusable.csv"

    @property
    def confirmed_masks(self) -> Path:
        """Columns `id,mask_hash`: step2_image_2_h5.py --confirm, or the browser."""
        return self.data / "gt" / "confirmed_masks.csv"

    @property
    def queries(self) -> Path:
        """Log of queries and decisions: step2_interactive_segmentation.py appends."""
        return self.data / "gt" / "queries.jsonl"

    @property
    def annotated_h5(self) -> Path:
        """All annotated pairs, packed: step2_image_2_h5.py."""
        return self.data / "gt" / "annotated.h5"

    @property
    def unannotated_h5(self) -> Path:
        """The pool, packed: step2_image_2_h5.py."""
        return self.data / "gt" / "unannotated.h5"

    @property
    def committee(self) -> Path:
        """Members, `state.json`, `history.csv`: step2_interactive_segmentation.py."""
        return self.models / "committee"

    @property
    def committee_state(self) -> Path:
        """The newest epoch and its facts: step2_interactive_segmentation.py."""
        return self.committee / STATE_JSON

    @property
    def segmentation(self) -> Path:
        """Final masks and `quality.csv`: step3_gen_segmentation_result.py."""
        return self.data / "segmentation"

    def mask(self, radiograph_id: RadiographId) -> Path:
        """The final mask of one radiograph, at its own size."""
        return mask_in(self.segmentation, radiograph_id)

    @property
    def mask_quality(self) -> Path:
        """A row for every final mask: step3_gen_segmentation_result.py."""
        return self.segmentation / QUALITY_CSV

    @property
    def hands(self) -> Path:
        """Enhanced hands, 512 x 512: step3_gen_segmentation_with_enhance.py."""
        return self.data / "segment_all"

    def hand(self, radiograph_id: RadiographId) -> Path:
        """One enhanced hand."""
        return self.hands / f"{radiograph_id}{HAND_ENDING}"

    @property
    def hands_facts(self) -> Path:
        """How these are made: step3_gen_segmentation_with_enhance.py."""
        return self.hands / "preprocessing.json"

    @property
    def hands_h5(self) -> Path:
        """All enhanced hands, packed: step3_gen_segmentation_with_enhance.py."""
        return self.data / "segment_all.h5"

    @property
    def regression(self) -> Path:
        """A folder per training run: the step4 scripts."""
        return self.models / "regression"

    @property
    def paced(self) -> Path:
        """A folder per run with one per stage: paced_transfer/step1_ptl_gen.py."""
        return self.models / "paced"

    @property
    def conventional(self) -> Path:
        """A folder per run: paced_transfer/step2_conventional_transfer.py."""
        return self.models / "conventional"

    @property
    def transfer(self) -> Path:
        """Paced against conventional, tables and figures: step6_visualize.py."""
        return self.models / "transfer"

    @property
    def statistics(self) -> Path:
        """Tables and figures of all runs: step5_statiscal_data.py."""
        return self.models / "statistics"

    @property
    def pretrained(self) -> Path:
        """A committee and runs to ship, in the folders of `models`: ship.py."""
        return self.models / "pretrained"

    @property
    def calibration(self) -> Path:
        """A calibration on local radiographs: calibrate.py."""
        return self.models / "calibration.json"

    def ids_on_disk(self) -> list[RadiographId]:
        """Ids of the radiographs, ascending.

        Raises:
            InputError: the folder is missing, holds no `<id>.png`, `007.png`, or a
                name that no id has.
        """
        if not self.radiographs.is_dir():
            raise InputError(
                f"{self.radiographs} cannot be found; put the radiographs there, or "
                "run al_segmentation/step0_prepare_cohort.py first"
            )
        ids = []
        # a dot before it hides a file, from people too
        for path in self.radiographs.glob("[!.]*.png"):
            try:
                radiograph_id = parse_id(path.stem)
            except ValueError as error:
                raise InputError(f"{path}: {error}; rename it") from None
            if isinstance(radiograph_id, int) and path.stem != str(radiograph_id):
                raise InputError(
                    f"{path} must be named {radiograph_id}.png, without zeros before "
                    "it; rename it"
                )
            ids.append(radiograph_id)
        if not ids:
            raise InputError(
                f"{self.radiographs} must contain radiographs <id>.png (got none); run "
                "al_segmentation/step0_prepare_cohort.py --source folder first"
            )
        return sort_ids(ids)

    def annotation_path(self, radiograph_id: RadiographId) -> Path | None:
        """The mask that a person drew, or None; the one the committee trains on.

        If there are two, the one in gt/new: it was drawn again.
        """
        for folder in (self.new, self.annotated):
            path = mask_in(folder, radiograph_id)
            if path.exists():
                return path
        return None
