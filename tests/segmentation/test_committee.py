"""Members that differ, batches that lose nothing, epochs that survive a kill."""

import json
from types import SimpleNamespace

import keras
import numpy as np
import pytest

from boneage import augmentation
from boneage.active_learning import acquisition
from boneage.errors import InputError
from boneage.segmentation import committee as committees
from boneage.segmentation.committee import Committee, EpochPlan
from boneage.segmentation.committee_folder import commit_epoch
from boneage.segmentation.compiled_committee import mask_probabilities
from tests.conftest import quick_networks

PLAN = EpochPlan(2, 2, 1e-3, anneal=True)


@pytest.fixture(scope="module")
def committee():
    with quick_networks():
        yield Committee.new(2, 16, 2, seed=3, clip_limit=0.03)


def images(count: int) -> np.ndarray:
    rng = np.random.default_rng(count)
    return rng.integers(0, 256, (count, 16, 16), dtype=np.uint8)


def weights(member: keras.Model) -> list[np.ndarray]:
    return [np.array(one) for one in member.get_weights()]


def test_members_begin_differently(committee):
    first, second = (member.get_layer("down0_conv1") for member in committee.members)
    assert not np.allclose(first.kernel, second.kernel)


def test_same_seed_gives_the_same_members(committee):
    again = Committee.new(2, 16, 2, seed=3, clip_limit=0.03)
    for one, other in zip(committee.members, again.members, strict=True):
        for first, second in zip(weights(one), weights(other), strict=True):
            np.testing.assert_array_equal(first, second)


def test_hash_names_the_weights(committee):
    again = Committee.new(2, 16, 2, seed=3, clip_limit=0.03)
    assert again.hash_weights() == committee.hash_weights()
    other = Committee.new(2, 16, 2, seed=4, clip_limit=0.03)
    assert other.hash_weights() != committee.hash_weights()


def test_probabilities_are_between_0_and_1(committee):
    probabilities = committee.probabilities(images(3), batch_size=2)
    assert probabilities.shape == (2, 3, 16, 16)
    assert probabilities.dtype == np.float32
    assert 0 <= probabilities.min() < probabilities.max() <= 1


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5])
def test_last_partial_batch_is_predicted(committee, count):
    at_once = committee.probabilities(images(count), batch_size=8)
    in_batches = committee.probabilities(images(count), batch_size=2)
    assert len(in_batches[0]) == count
    np.testing.assert_allclose(in_batches, at_once, atol=1e-5)


@pytest.mark.filterwarnings("error")
def test_sure_members_are_sure_without_a_warning():
    logits = np.array([-1e4, -100, 0, 100, 1e4], np.float32)
    expected = [0, 0, 0.5, 1, 1]
    np.testing.assert_allclose(mask_probabilities(logits), expected, atol=1e-30)


@pytest.mark.parametrize(
    "measure",
    [*acquisition.ACQUISITION_FUNCTIONS, *acquisition.FEATURE_ACQUISITION_FUNCTIONS],
)
def test_every_image_of_the_pool_is_scored(committee, measure):
    pool, rows = images(7), np.array([6, 0, 2, 3, 5])
    batches = list(
        acquisition.pool_scores(committee, pool, rows, measure, batch_size=2)
    )
    assert [len(batch) for batch in batches] == [2, 2, 1]
    one_by_one = [
        next(iter(acquisition.pool_scores(committee, pool, rows[i : i + 1], measure)))
        for i in range(5)
    ]
    expected = np.concatenate(one_by_one)
    np.testing.assert_allclose(np.concatenate(batches), expected, atol=1e-4)


def test_augmented_mask_moves_with_its_image():
    image = np.zeros((32, 32), np.uint8)
    image[8:20, 10:24] = 255
    rng = np.random.default_rng(0)
    moved = 0
    for _ in range(20):
        seen, mask = augmentation.augment_pair(image, image, rng)
        assert np.unique(mask).tolist() == [0, 255]
        # the outline alone may differ: grey in the image, decided in the mask
        assert np.count_nonzero((seen > 60) != (mask > 0)) < 40
        moved += not np.array_equal(mask, image)
    assert moved == 20


def test_augmented_mask_keeps_the_size_and_place_of_its_image():
    """A mask scaled by 0.97 would teach the committee hands without their skin."""
    image = np.zeros((256, 256), np.uint8)
    image[70:190, 60:180] = 255
    rng = np.random.default_rng(0)
    for _ in range(20):
        seen, mask = augmentation.augment_pair(image, image, rng)
        # half of the brightest grey, whatever gamma and gain, lies on the outline
        inside = seen > seen.max() / 2
        assert np.count_nonzero(mask) == pytest.approx(inside.sum(), rel=0.02)
        for axis in (0, 1):
            places = [np.nonzero(shape)[axis].mean() for shape in (mask, inside)]
            assert places[0] == pytest.approx(places[1], abs=0.5)


def test_augmentation_depends_on_its_generator_alone():
    image = images(1)[0]
    pairs = [
        augmentation.augment_pair(image, image, np.random.default_rng(5))
        for _ in range(2)
    ]
    np.testing.assert_array_equal(pairs[0], pairs[1])


def test_annealed_rate_falls_within_the_epoch():
    plan = EpochPlan(10, 4, 1e-3, anneal=True)
    rates = [plan.rate(step) for step in range(10)]
    assert rates[0] == pytest.approx(1e-3)
    assert rates == sorted(rates, reverse=True)
    assert 1e-5 < rates[-1] < 1e-4
    assert EpochPlan(10, 4, 1e-3, anneal=False).rate(9) == 1e-3


class Listener:
    """Stands in for a network: keeps what it is trained with."""

    def __init__(self):
        self.batches, self.rates = [], []
        self.optimizer = SimpleNamespace(
            learning_rate=SimpleNamespace(assign=self.rates.append)
        )

    def train_on_batch(self, x, y):
        self.batches.append((x, y))
        return 1.0 + len(self.batches)


@pytest.fixture
def listen(monkeypatch):
    """Train two listeners on five images whose grey is their row, without moving."""
    monkeypatch.setattr(
        committees, "augment_pair", lambda image, mask, rng: (image, mask)
    )
    pixels = np.full((5, 16, 16), np.arange(5)[:, None, None], np.uint8)
    masks = np.where(pixels > 2, 255, 0).astype(np.uint8)

    def train(rows, seeds=(0, 1), plan=PLAN):
        both = Committee([Listener(), Listener()], 0.03)
        yielded = list(both.train_epoch(pixels, masks, np.array(rows), seeds, plan))
        return both.members, yielded

    return train


def seen_by(member: Listener) -> list[int]:
    return [int(row) for x, _ in member.batches for row in x[:, 0, 0, 0]]


def test_every_pair_is_seen_once_before_any_is_seen_twice(listen):
    members, _ = listen([0, 2, 3, 4], plan=EpochPlan(3, 2, 1e-3, anneal=True))
    for member in members:
        assert sorted(seen_by(member)[:4]) == [0, 2, 3, 4]
        assert len(seen_by(member)) == 6


def test_members_see_different_batches_and_each_the_same_again(listen):
    first, second = (listen(range(5))[0] for _ in range(2))
    assert [seen_by(m) for m in first] == [seen_by(m) for m in second]
    orders = {
        tuple(seen_by(m)) for seed in range(3) for m in listen([*range(5)], [seed])[0]
    }
    assert len(orders) > 3


def test_networks_are_fed_images_and_masks_of_0_and_1(listen):
    x, y = listen(range(5))[0][0].batches[0]
    assert x.shape == y.shape == (2, 16, 16, 1)
    assert x.dtype == y.dtype == np.float32
    np.testing.assert_array_equal(y, x > 2)


def test_each_step_has_its_rate_and_the_mean_loss_is_told(listen):
    members, yielded = listen(range(5))
    assert members[0].rates == [PLAN.rate(0), PLAN.rate(1)]
    assert yielded == [(0, 2.0), (0, 2.5), (1, 2.0), (1, 2.5)]


@pytest.mark.filterwarnings("ignore:Skipping variable loading")
def test_saved_and_loaded_members_predict_the_same(committee, tmp_path):
    expected = committee.probabilities(images(2))
    committee.save_epoch(tmp_path, 1)
    commit_epoch(
        tmp_path,
        {"epoch": 1, "members": 2, "clip_limit": 0.03, "committee_hash": "1a2b"},
    )
    loaded = Committee.load(tmp_path)
    assert (loaded.size, loaded.clip_limit) == (16, 0.03)
    assert loaded.committee_hash == "1a2b"
    assert loaded.hash_weights() == committee.hash_weights()
    np.testing.assert_allclose(loaded.probabilities(images(2)), expected, atol=1e-6)


def test_members_that_wait_for_their_names_are_those_of_the_epoch(committee, tmp_path):
    """As a process that is killed then leaves them, or one beside sees them."""
    other = Committee.new(2, 16, 2, 77, 0.03)
    other.save_epoch(tmp_path, 1)
    commit_epoch(
        tmp_path,
        {"epoch": 1, "members": 2, "clip_limit": 0.03, "committee_hash": "1a2b"},
    )
    committee.save_epoch(tmp_path, 2)
    state = {"epoch": 2, "members": 2, "clip_limit": 0.03, "committee_hash": "1a2b"}
    (tmp_path / "state.json").write_text(json.dumps(state))
    found = Committee.load(tmp_path).probabilities(images(2))
    np.testing.assert_allclose(found, committee.probabilities(images(2)), atol=1e-6)


def test_committee_that_is_not_there_names_the_step(tmp_path):
    with pytest.raises(InputError, match=r"state\.json cannot be found; run al_segm"):
        Committee.load(tmp_path)


@pytest.mark.parametrize("content", [None, b"", b"PK\x03\x04 half a zip file"])
def test_damaged_member_is_named(tmp_path, content):
    commit_epoch(
        tmp_path,
        {"epoch": 1, "members": 1, "clip_limit": 0.03, "committee_hash": "1a2b"},
    )
    if content is not None:
        (tmp_path / "member_0.keras").write_bytes(content)
    with pytest.raises(
        InputError, match=r"member_0\.keras cannot be (found|read as a network)"
    ):
        Committee.load(tmp_path)


# the journal: files are their names and what epoch they hold


def write_members(folder, **members: str) -> None:
    for name, content in members.items():
        name = name.replace("__", ".")
        (folder / f"{name}.keras").write_text(content)


def found(folder) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.glob("*.keras")}


FINISHED = {"member_0.keras": "2", "member_1.keras": "2"}


def test_commit_gives_the_members_their_names(tmp_path):
    write_members(tmp_path, member_0="1", member_1="1")
    write_members(tmp_path, member_0__epoch_2="2", member_1__epoch_2="2")
    state = commit_epoch(tmp_path, {"epoch": 2})
    assert state == {"epoch": 2}
    assert found(tmp_path) == FINISHED


def test_killed_between_members_and_state_the_epoch_did_not_happen(tmp_path):
    (tmp_path / "state.json").write_text('{"epoch": 2}')
    write_members(tmp_path, member_0="2", member_1="2")
    write_members(tmp_path, member_0__epoch_3="3")
    assert commit_epoch(tmp_path) == {"epoch": 2}
    assert found(tmp_path) == FINISHED


def test_killed_between_state_and_names_the_epoch_is_completed(tmp_path):
    (tmp_path / "state.json").write_text(json.dumps({"epoch": 2}))
    write_members(tmp_path, member_0="2", member_1="1", member_1__epoch_2="2")
    assert commit_epoch(tmp_path) == {"epoch": 2}
    assert found(tmp_path) == FINISHED


def test_killed_in_the_first_epoch_nothing_is_left(tmp_path):
    write_members(tmp_path, member_0__epoch_1="1")
    assert commit_epoch(tmp_path) is None
    assert found(tmp_path) == {}


def test_nothing_there_yet(tmp_path):
    assert commit_epoch(tmp_path / "committee") is None


def test_epoch_1_is_not_taken_for_epoch_10(tmp_path):
    (tmp_path / "state.json").write_text('{"epoch": 1}')
    write_members(tmp_path, member_0="1", member_0__epoch_10="10")
    commit_epoch(tmp_path)
    assert found(tmp_path) == {"member_0.keras": "1"}
