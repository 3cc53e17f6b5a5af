"""Segmentation, detection and grounding scores: values by hand, by numpy and by pycocotools."""

import contextlib
import io

import numpy as np
import pytest
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from data_modules.images.transforms import Placement
from mpma_lightning.evaluation.bootstrap import mean_interval
from mpma_lightning.evaluation.detection import PUBLISHED, Boxes, detection_scores
from mpma_lightning.evaluation.detection_interval import map_interval, matches
from mpma_lightning.evaluation.grounding import (
    guess_scores,
    inside,
    map_scores,
    most_often_right,
    patches_on,
    pointed_at,
    resized_maps,
    smoothed,
)
from mpma_lightning.evaluation.metric import by_name
from mpma_lightning.evaluation.segmentation import mean_mask, per_image, segmentation_scores
from mpma_lightning.protocols import GroundingProtocol, protocol_named


def test_value_dice_three_ways() -> None:
    """Half right, rightly nothing, wrongly something."""
    scores = by_name(segmentation_scores(np.array([2, 0, 0]), np.array([4, 0, 3]), np.array([4, 0, 0])))
    assert scores["dice"] == pytest.approx((0.5 + 1 + 0) / 3) and scores["iou"] == pytest.approx((2 / 6 + 1 + 0) / 3)
    assert scores["dice_positive"] == pytest.approx(0.5) and scores["iou_positive"] == pytest.approx(2 / 6)
    assert scores["dice_empty_prediction"] == pytest.approx(2 / 3)


def test_value_without_any_mask() -> None:
    scores = by_name(segmentation_scores(np.zeros(2), np.array([0, 5]), np.zeros(2)))
    assert scores == {"dice": 0.5, "iou": 0.5, "dice_empty_prediction": 1.0}


def test_value_predicting_nothing_is_the_baseline() -> None:
    truth = np.random.default_rng(0).integers(0, 3, 50)
    scores = by_name(segmentation_scores(np.zeros(50), np.zeros(50), truth))
    assert scores["dice"] == scores["dice_empty_prediction"] == pytest.approx((truth == 0).mean())
    assert scores["dice_positive"] == 0


def test_value_mean_mask() -> None:
    masks = np.zeros((4, 2, 3), np.uint8)
    masks[:3, 0, 0] = masks[0, 0, 1] = 1  # shares 1 and 1/3 of the three positives
    assert mean_mask(masks).tolist() == [[True, False, False], [False] * 3]
    dice, _ = per_image(np.array([1, 1, 1]), np.array([1, 1, 1]), np.array([2, 1, 1]))
    assert dice.tolist() == [pytest.approx(2 / 3), 1, 1]
    assert not mean_mask(np.zeros((2, 2, 2))).any()


def test_value_mean_interval_draws_patients() -> None:
    assert mean_interval(np.full(9, 0.25), np.arange(9)) == (0.25, 0.25)
    values = np.repeat([0.0, 1.0], 50)
    low, high = mean_interval(values, np.arange(100))
    assert 0.38 < low < 0.45 and 0.55 < high < 0.62  # 0.5 ± 1.96 · 0.05
    assert mean_interval(values, np.repeat([0, 1], 50)) == (0.0, 1.0)  # two patients: both alike one time in two


def drawn(boxes: list[list[float]], labels: list[int], scores: list[float] | None = None) -> Boxes:
    one = {"boxes": torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4), "labels": torch.tensor(labels).long()}
    return one if scores is None else {**one, "scores": torch.tensor(scores, dtype=torch.float32)}


def random_boxes(count: int, seed: int, classes: int = 2) -> tuple[list[Boxes], list[Boxes]]:
    """Truth of 0 to 3 boxes an image; detections near them, and some elsewhere."""
    rng = np.random.default_rng(seed)
    found, truth = [], []
    for _ in range(count):
        n, more = int(rng.integers(0, 4)), int(rng.integers(0, 3))
        corner = rng.uniform(0, 60, (n, 2))
        true = np.concatenate([corner, corner + rng.uniform(8, 40, (n, 2))], 1)
        stray = rng.uniform(0, 50, (more, 2))
        near = np.concatenate([true + rng.normal(0, 2.5, (n, 4)), np.concatenate([stray, stray + 20], 1)])
        labels = rng.integers(0, classes, n).tolist()
        guesses = [*labels, *rng.integers(0, classes, more).tolist()]
        truth.append(drawn(true.tolist(), labels))
        found.append(drawn(near.tolist(), guesses, rng.uniform(0.01, 1, n + more).tolist()))
    return found, truth


def by_pycocotools(found: list[Boxes], truth: list[Boxes], thresholds: list[float] | None = None) -> np.ndarray:
    """The twelve figures of COCOeval."""

    def rows(images: list[Boxes]) -> list[dict[str, object]]:
        out: list[dict[str, object]] = []
        for i, one in enumerate(images):
            for k, (x1, y1, x2, y2) in enumerate(one["boxes"].tolist()):
                row = {"id": len(out) + 1, "image_id": i, "category_id": int(one["labels"][k]), "iscrowd": 0}
                row |= {"bbox": [x1, y1, x2 - x1, y2 - y1], "area": (x2 - x1) * (y2 - y1)}
                out.append(row | ({"score": float(one["scores"][k])} if "scores" in one else {}))
        return out

    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        categories = sorted({int(k) for one in (*truth, *found) for k in one["labels"]})
        coco.dataset = {
            "images": [{"id": i} for i in range(len(truth))],
            "categories": [{"id": k} for k in categories],
            "annotations": rows(truth),
        }
        coco.createIndex()
        evaluation = COCOeval(coco, coco.loadRes(rows(found)), "bbox")
        if thresholds:
            evaluation.params.iouThrs = np.array(thresholds)
        evaluation.evaluate()
        evaluation.accumulate()
        if thresholds:
            precision = evaluation.eval["precision"][..., 0, -1]
            return np.array([precision[precision > -1].mean()])
        evaluation.summarize()
    return np.asarray(evaluation.stats)


@pytest.mark.parametrize("seed", range(5))
def test_value_coco_scores_as_pycocotools(seed: int) -> None:
    found, truth = random_boxes(40, seed)
    scores = by_name(detection_scores(found, truth, ["a", "b"]))
    stats = by_pycocotools(found, truth)
    for name, place in (("map", 0), ("map_50", 1), ("map_75", 2), ("mar_100", 8)):
        assert scores[name] == stats[place]
    assert scores["map"] == pytest.approx((scores["map/a"] + scores["map/b"]) / 2, abs=1e-6)
    sure = [{k: v[one["scores"] >= 0.5] for k, v in one.items()} for one in found]
    kept = [i for i in range(40) if len(sure[i]["boxes"]) and len(truth[i]["boxes"])]
    assert scores["published_images"] == len(kept) < 40
    thresholds = [0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75]
    published = by_pycocotools([sure[i] for i in kept], [truth[i] for i in kept], thresholds)
    assert scores[PUBLISHED.name] == published[0]


def test_value_images_without_boxes_count() -> None:
    """A surer detection on an image without a box halves the precision at every recall; the published figure does
    not see it, nor the missed box of the third image."""
    box = [[0.0, 0.0, 10.0, 10.0]]
    found = [drawn(box, [0], [0.8]), drawn(box, [0], [0.9]), drawn([], [], [])]
    truth = [drawn(box, [0]), drawn([], []), drawn([], [])]
    scores = by_name(detection_scores(found, truth, ["a"]))
    assert scores["map"] == pytest.approx(0.5) and scores[PUBLISHED.name] == pytest.approx(1.0)
    missed = by_name(detection_scores(found, [*truth[:2], drawn(box, [0])], ["a"]))
    assert missed["map"] == pytest.approx(0.5 * 51 / 101) and missed[PUBLISHED.name] == pytest.approx(1.0)
    assert missed["published_images"] == 1


def test_value_no_box_at_all() -> None:
    nothing = [drawn([], [])] * 2
    assert by_name(detection_scores([drawn([], [], [])] * 2, nothing, ["a"])) == {"published_images": 0.0}
    assert by_name(detection_scores([drawn([[0, 0, 9, 9]], [0], [0.9])] * 2, nothing, ["a"])) == {
        "published_images": 0.0
    }


def test_value_interval_recomputes_coco() -> None:
    found, truth = random_boxes(30, 1)
    matched = matches(found, truth)
    once = np.mean([one.average_precision(np.ones(30)) for one in matched])
    assert once == pytest.approx(by_pycocotools(found, truth)[0], abs=1e-6)
    weights = np.random.default_rng(2).integers(0, 3, 30)
    repeated = [np.repeat(np.arange(30), weights)]
    again = by_pycocotools([found[i] for i in repeated[0]], [truth[i] for i in repeated[0]])[0]
    assert np.mean([one.average_precision(weights.astype(float)) for one in matched]) == pytest.approx(again, abs=1e-3)
    low, high = map_interval(found, truth, [str(i) for i in range(30)])
    assert low < once < high and high - low < 0.5
    assert map_interval(found, truth, ["one patient"] * 30) == (pytest.approx(once), pytest.approx(once))


def test_value_map_scores() -> None:
    similarity = np.array([[0.9, 0.7], [0.1, 0.3]])
    region = np.array([[True, True], [False, False]])
    scores = by_name(map_scores(similarity, similarity, region))
    assert scores["pointing_game"] == 1
    assert scores["signed_cnr"] == scores["absolute_cnr"] == pytest.approx((0.8 - 0.2) / np.sqrt(0.01 + 0.01))
    assert scores["border_maxima"] == 1
    # scaled to 1, .75, 0, .25: over .1 and .2 three pixels, above that two
    assert scores["iou"] == pytest.approx((2 / 3 + 2 / 3 + 1 + 1 + 1) / 5)
    other = by_name(map_scores(similarity, similarity, ~region))
    assert other["pointing_game"] == 0 and other["absolute_cnr"] == pytest.approx(scores["absolute_cnr"])
    assert other["signed_cnr"] == pytest.approx(-scores["signed_cnr"])
    whole = by_name(map_scores(similarity, similarity, np.ones((2, 2), bool)))
    assert "signed_cnr" not in whole and "absolute_cnr" not in whole
    assert np.isfinite(list(map_scores(np.ones((2, 2)), np.ones((2, 2)), region).values())).all()


def test_value_the_centre_of_the_best_patch_is_pointed_at() -> None:
    patches = np.array([[0.0, 0.0, 0.9], [0.0, 0.1, 0.0]])
    assert pointed_at(patches, 20, 60) == (5, 50)
    drawn, region = np.zeros((20, 60)), np.zeros((20, 60), bool)
    region[3:8, 45:55] = True
    assert by_name(map_scores(patches, drawn, region))["pointing_game"] == 1
    assert by_name(map_scores(patches[::-1], drawn, region))["pointing_game"] == 0


def test_value_the_most_similar_pixel_lies_at_the_edge() -> None:
    """As RadZero points: the argmax after upsampling, which the border patch repeats up to the edge."""
    patches = np.array([[0.0, 0.0, 0.9], [0.0, 0.1, 0.0]])
    resized = torch.nn.functional.interpolate(torch.tensor(patches)[None, None], (20, 60), mode="bilinear")[0, 0]
    resized = resized.numpy()
    region = inside(np.array([[50.0, 0.0, 60.0, 3.0]]), 20, 60)  # beside the middle of the patch, at the upper edge
    radzero, ours = (protocol_named(f"ground-{name}", GroundingProtocol) for name in ("radzero", "pointing"))
    assert by_name(map_scores(patches, resized, region, rule=radzero))["pointing_game"] == 1
    assert by_name(map_scores(patches, resized, region, rule=ours))["pointing_game"] == 0
    film = (slice(8, 20), slice(0, 60))
    assert by_name(map_scores(patches, resized, region, film, radzero))["pointing_game"] == 0


def test_value_smoothed_maps_and_cosines_of_biovil() -> None:
    """hi-ml's ``_get_similarity_map_from_embeddings``: sigma 1.5 patches."""
    biovil = protocol_named("ground-biovil", GroundingProtocol)
    maps = np.zeros((2, 31, 31))
    maps[0, 15, 15], maps[1] = 1, 0.4
    done = smoothed(maps, biovil.smoothing)
    for distance in (1, 2, 3):
        decline = np.exp(-(distance**2) / (2 * 1.5**2))
        assert done[0, 15, 15 + distance] / done[0, 15, 15] == pytest.approx(decline, rel=1e-4)
    assert np.allclose(done[1], 0.4) and done[0].sum() == pytest.approx(1)
    assert smoothed(maps, 0) is maps
    similarity, region = np.array([[0.9, 0.7], [0.1, 0.3]]), np.array([[True, True], [False, False]])
    # at the cosine: over .1 three pixels, over .2 three, over .3, .4 and .5 two
    assert by_name(map_scores(similarity, similarity, region, rule=biovil))["iou"] == pytest.approx((2 / 3 * 2 + 3) / 5)


def test_value_bars_of_a_letterbox_count_nowhere() -> None:
    """A film of 4 x 8 in a crop of 8 x 8, patches of 2: whatever the bars say, the scores are those of the film."""
    film = Placement.of(40, 80, 8, "letterbox").film(8)
    assert film == (slice(2, 6), slice(0, 8))
    patches = np.array([[0.1, 0.2, 0.9, 0.3], [0.4, 0.0, 0.5, 0.2]])
    boxes, drawn = np.array([[4.0, 0.0, 6.0, 3.0]]), np.repeat(np.repeat(patches, 2, 0), 2, 1)
    region = inside(boxes, 4, 8)
    barred = np.full((4, 4), 7.0)
    barred[1:3] = patches
    framed = np.full((8, 8), -7.0)
    framed[2:6] = drawn
    lower = inside(boxes + np.array([0, 2, 0, 2]), 8, 8)
    assert pointed_at(barred, 8, 8, film) == (3, 5)
    assert map_scores(barred, framed, lower, film) == map_scores(patches, drawn, region)
    for phrase in ("left effusion", "effusion"):
        assert guess_scores(lower, phrase, (4, 4), film) == guess_scores(region, phrase, (2, 4))
    up = resized_maps(torch.tensor(barred)[None], [film], 8)[0, 2:6]
    alone = torch.nn.functional.interpolate(torch.tensor(patches)[None, None].float(), (4, 8), mode="bilinear")[0, 0]
    assert torch.allclose(up, alone)


def test_value_other_fits_show_the_film_everywhere() -> None:
    for fit in ("crop", "stretch"):
        assert Placement.of(40, 81, 8, fit).film(8) == (slice(0, 8), slice(0, 8))
    assert Placement.of(8, 900, 8, "letterbox").film(8)[1] == slice(0, 8)
    assert patches_on(slice(3, 4), 2, 8)[1].tolist() == [2]  # no centre on so narrow a film: the nearest


@pytest.mark.parametrize(("place", "border"), [((0, 2), 1), ((2, 1), 0), ((1, 3), 0), ((3, 3), 1), ((2, 4), 1)])
def test_value_border_maxima(place: tuple[int, int], border: int) -> None:
    patches = np.zeros((4, 5))
    patches[place] = 1
    assert by_name(map_scores(patches, np.zeros((8, 10)), np.ones((8, 10), bool)))["border_maxima"] == border
    if place[0] == 1:  # the first row on the film of a letterbox
        film = (slice(2, 6), slice(0, 10))
        assert by_name(map_scores(patches, np.zeros((8, 10)), np.ones((8, 10), bool), film))["border_maxima"] == 1


def test_value_the_constant_patch_is_in_most_training_boxes() -> None:
    left, right = np.array([[0.0, 0.0, 4.0, 4.0], [0.0, 6.0, 4.0, 8.0]]), np.array([[4.0, 0.0, 8.0, 4.0]])
    assert most_often_right([left, right, right], (2, 2), 8) == (2, 6)
    assert most_often_right([left, left, right], (2, 2), 8) == (2, 2)
    twice = np.concatenate([right, right])  # one phrase counts once
    assert most_often_right([left, left, twice], (2, 2), 8) == (2, 2)
    assert most_often_right([], (2, 2), 8) is None
    assert most_often_right([np.array([[0.0, 0.0, 1.0, 1.0]])], (2, 2), 8) is None


def test_value_boxes_go_to_the_crop_and_back() -> None:
    boxes = np.array([[4.0, 6.0, 14.0, 26.0]])
    for fit in ("letterbox", "stretch", "crop"):
        placement = Placement.of(80, 60, 40, fit)
        np.testing.assert_allclose(placement.boxes_back(placement.boxes(boxes)), boxes)
    np.testing.assert_allclose(Placement.of(80, 60, 40, "letterbox").boxes(boxes), [[7, 3, 12, 13]])


def test_value_regions_and_guesses() -> None:
    region = inside(np.array([[0.0, 0.0, 0.4, 10.0], [2.0, 3.0, 5.0, 6.0]]), 10, 10)
    assert region.sum() == 9 and region[3:6, 2:5].all()  # a box narrower than half a pixel covers no centre
    guesses = by_name(guess_scores(region, "Right effusion", (2, 2)))
    assert guesses == {"random_patch": 0.0, "centre_of_lung": 0.5, "centre_of_named_lung": 1.0}
    assert by_name(guess_scores(region, "left effusion", (10, 10)))["centre_of_named_lung"] == 0
    assert by_name(guess_scores(region, "left effusion", (10, 10)))["random_patch"] == pytest.approx(0.09)
    assert by_name(guess_scores(region, "right and left effusion", (2, 2)))["centre_of_named_lung"] == 0.5
    assert not inside(np.zeros((0, 4)), 3, 3).any()
