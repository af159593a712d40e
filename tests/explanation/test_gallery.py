"""The gallery of a run: pictures, page in a real browser, and video."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from boneage.cohort.table import Cohort
from boneage.explanation import (
    captions,
    evolution_video,
    gallery_page,
    overlays,
    saliency,
)
from boneage.explanation import gallery as galleries
from boneage.explanation.activation_maps import Grid
from boneage.explanation.panel import Panel
from boneage.explanation.saliency import SaliencyMaps
from boneage.ids import id_array
from boneage.io.hdf5 import PackedImages
from boneage.parallel import Workers
from boneage.regression.dataset import HandDataset

CHROMIUM = Path("/usr/bin/chromium")
IDS = np.array([10, 20, 30, 40])
TRUE = np.array([30.0, 200, 90, 120])
PREDICTED = np.array([31.0, 190, 93, 100], np.float32)
GRID = Grid(7, 32, 96)


@pytest.fixture
def gallery():
    """Four hands with a map of 3 x 3 cells each."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (4, 512, 512), dtype=np.uint8)
    maps = rng.normal(0, 10, (4, 3, 3)).astype(np.float32)
    packed = PackedImages(images, None, IDS, 512, "none")
    cohort = Cohort(IDS, TRUE, np.array([True, False, True, False]))
    return galleries.Gallery(
        HandDataset(packed, np.arange(4), cohort),
        SaliencyMaps(maps, PREDICTED, GRID),
    )


@pytest.fixture
def page(gallery, tmp_path):
    """The gallery's page in a browser, from disk, with the network cut off."""
    playwright = pytest.importorskip("playwright.sync_api")
    if not CHROMIUM.exists():
        pytest.skip(f"{CHROMIUM} is missing: apt-get install chromium")
    galleries.write(tmp_path, "a_run", gallery)
    with playwright.sync_playwright() as starter:
        browser = starter.chromium.launch(
            executable_path=CHROMIUM,
            args=["--headless=new", "--no-sandbox", "--disable-gpu"],
        )
        page = browser.new_page(viewport={"width": 1200, "height": 900})
        page.faults = []
        page.on("console", lambda message: page.faults.append(message.text))
        page.on("pageerror", lambda error: page.faults.append(str(error)))
        page.on("request", lambda request: page.requested.append(request.url))
        page.requested = []
        page.goto((tmp_path / "index.html").as_uri())
        yield page
        browser.close()


def shown(page) -> list[str]:
    """Ids of the hands seen on the page, in their order."""
    figures = page.locator("#hands figure:visible")
    return figures.evaluate_all("all => all.map(one => one.dataset.id)")


def test_page_begins_with_the_worst_hand(page):
    assert shown(page) == ["40", "20", "30", "10"]
    assert page.faults == []


@pytest.mark.parametrize(
    ("order", "ids"),
    [
        ("id", ["10", "20", "30", "40"]),
        ("error, least first", ["10", "30", "20", "40"]),
        ("true age, youngest first", ["10", "30", "40", "20"]),
        ("true age, oldest first", ["20", "40", "30", "10"]),
    ],
)
def test_page_sorts(page, order, ids):
    page.get_by_label("Sort by").select_option(label=order)
    assert shown(page) == ids


def test_page_filters_and_shows_all_again(page):
    page.get_by_label("Sex").select_option("male")
    assert shown(page) == ["30", "10"]
    page.locator("[name=youngest]").fill("7.5")
    assert shown(page) == ["30"]
    assert page.locator("output").text_content() == "1 of 4 hands"
    page.get_by_text("Show all").click()
    page.locator("[name=least]").fill("2")
    page.locator("[name=greatest]").fill("10")
    assert shown(page) == ["20", "30"]
    page.locator("[name=oldest]").fill("16")
    assert shown(page) == ["30"]


def test_page_loads_its_pictures_from_disk_alone(page):
    images = page.locator("#hands img")
    for number in range(4):
        images.nth(number).scroll_into_view_if_needed()
    page.wait_for_function(
        "Array.from(document.images).every(one => one.complete && one.naturalWidth > 0)"
    )
    assert all(url.startswith("file://") for url in page.requested)
    assert len([url for url in page.requested if url.endswith(".png")]) == 4


def test_page_is_used_by_keyboard(page):
    focused = "document.activeElement.name || document.activeElement.tagName"
    reached = []
    for _ in range(8):
        page.keyboard.press("Tab")
        reached.append(page.evaluate(focused))
    assert reached == [
        *["order", "sex", "youngest", "oldest", "least", "greatest"],
        *["BUTTON", "A"],
    ]


def test_every_picture_is_described(page):
    text = page.locator("#hands img").first.get_attribute("alt")
    assert text == (
        "Hand 40 under its activation map, female, true 10 y 0 m, predicted 8 y 4 m"
    )


def test_pictures_show_hand_and_caption(gallery, tmp_path):
    galleries.write(tmp_path, "a_run", gallery)
    overlay = cv2.imread(str(tmp_path / "10.png"))
    assert overlay.shape == (512 + captions.CAPTION_PX, 512, 3)
    assert cv2.imread(str(tmp_path / "contact_sheet.png")).shape[1] > 600
    caption = overlay[512:]
    assert (caption == 255).mean() > 0.5
    assert (caption < 100).any()


def test_overlays_of_an_earlier_call_go(gallery, tmp_path):
    (tmp_path / "99.png").write_bytes(b"stale")
    (tmp_path / "notes.png").write_bytes(b"the user's")
    galleries.write(tmp_path, "a_run", gallery)
    names = {path.name for path in tmp_path.iterdir()}
    overlays = {f"{i}.png" for i in IDS}
    assert names == overlays | {"notes.png", "contact_sheet.png", "index.html"}
    assert "99" not in (tmp_path / "index.html").read_text().split("<figure")[0]


def test_overlays_of_names_go_with_their_page(gallery, tmp_path):
    names = [f"P{i} left" for i in IDS]
    cohort = replace(gallery.hands.cohort, ids=id_array(names))
    named = replace(gallery, hands=replace(gallery.hands, cohort=cohort))
    galleries.write(tmp_path, "a_run", named)
    assert {path.stem for path in tmp_path.glob("P*.png")} == set(names)
    galleries.write(tmp_path, "a_run", gallery)
    assert not list(tmp_path.glob("P*.png"))


@pytest.mark.parametrize("kind", saliency.MAPS)
def test_page_says_what_its_maps_mean(kind, gallery, tmp_path):
    galleries.write(tmp_path, "a_run", replace(gallery, kind=kind))
    text = (tmp_path / "index.html").read_text()
    assert [k for k in saliency.MAPS if gallery_page.LEGENDS[k] in text] == [kind]


def test_title_is_escaped(gallery, tmp_path):
    galleries.write(tmp_path, "<b>&", gallery)
    assert "&lt;b&gt;&amp;</title>" in (tmp_path / "index.html").read_text()


def test_neutral_regions_stay_as_they_are():
    hand = np.full((2, 3), 90, np.uint8)
    deviation = np.array([[0, 10, -10], [0, 99, -99]], np.float32)
    shown = overlays.overlay(hand, deviation, 10.0)
    assert shown[0, 0].tolist() == [90, 90, 90]
    older, younger = shown[0, 1].astype(int), shown[0, 2].astype(int)
    assert older[0] > older[2] + 50
    assert younger[2] > younger[0] + 50
    # beyond the scale nothing grows
    assert shown[1].tolist() == shown[0].tolist()


def test_scale_is_round_and_covers_the_maps():
    assert overlays.colour_limit(np.full((1, 2, 2), 13.0)) == 15
    assert overlays.colour_limit(np.full((1, 2, 2), -5.0)) == 5
    assert overlays.colour_limit(np.full((1, 2, 2), 100.0)) == 100
    assert overlays.colour_limit(np.zeros((1, 2, 2))) == pytest.approx(0.1)


def test_error_is_positive_where_the_prediction_is_too_old(gallery):
    for number, predicted in enumerate(gallery.maps.predicted_months):
        facts = galleries._facts(gallery, number)
        error = predicted - gallery.hands.cohort.bone_age_months[number]
        assert facts["error_months"] == pytest.approx(error)
        assert facts["error"].startswith("+" if round(error) >= 0 else "\u2212")


def test_errors_have_a_sign_and_zero_is_not_negative():
    assert [captions.signed(x) for x in (7.4, -3.6, -0.3)] == ["+7", "\u22124", "+0"]


def film(gallery, folder, epochs=3):
    maps = np.stack([gallery.maps.values * (k + 1) for k in range(epochs)])
    panel = Panel(np.arange(epochs) + 1, IDS, maps, np.stack([PREDICTED] * epochs))
    return evolution_video.write_evolution(folder, "a_run", gallery.hands, panel, GRID)


def test_video_has_a_frame_an_epoch_and_stays_at_the_last(gallery, tmp_path, capfd):
    path = film(gallery, tmp_path)
    assert path.name == "evolution.webm"
    video = cv2.VideoCapture(str(path))
    frames = 0
    while video.read()[0]:
        frames += 1
    assert frames == 3 + 8
    assert "FFMPEG" not in capfd.readouterr().err
    assert list(tmp_path.iterdir()) == [path]


def test_video_plays_on_the_page(gallery, tmp_path, page):
    galleries.write(tmp_path, "a_run", gallery, film(gallery, tmp_path))
    page.reload()
    page.wait_for_function("document.querySelector('video').readyState >= 2")
    assert page.evaluate("document.querySelector('video').videoWidth") > 600


def test_without_any_codec_the_error_says_what_to_install(
    gallery, tmp_path, monkeypatch
):
    from boneage.errors import InputError

    monkeypatch.setattr(evolution_video, "CODECS", {".webm": "XXXX"})
    with pytest.raises(InputError, match="opencv-python-headless"):
        film(gallery, tmp_path)


def test_who_draws_changes_nothing(gallery, tmp_path):
    for jobs in (1, 2):
        galleries.write(tmp_path / str(jobs), "a_run", gallery, workers=Workers(jobs))
    one, two = (sorted((tmp_path / jobs).iterdir()) for jobs in ("1", "2"))
    assert [path.name for path in one] == [path.name for path in two]
    assert len(one) == 6
    assert [a.read_bytes() for a in one] == [b.read_bytes() for b in two]
