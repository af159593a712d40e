"""The learning rate: up within the warm-up, then down a cosine."""

from types import SimpleNamespace

import pytest

from boneage.regression.learning_rate import RateByStep, learning_rate
from boneage.regression.settings import TrainingSettings

SETTINGS = TrainingSettings(epochs=5, warmup_epochs=1, learning_rate=1.0)
STEPS = 10


def rates(settings=SETTINGS) -> list[float]:
    return [learning_rate(settings, STEPS, step) for step in range(5 * STEPS)]


def test_rises_in_equal_steps_from_above_0():
    warmup = rates()[:STEPS]
    assert warmup == pytest.approx([(step + 1) / 11 for step in range(10)])


def test_is_highest_where_the_warm_up_ends():
    assert max(rates()) == rates()[STEPS] == pytest.approx(1.0)


def test_falls_to_a_hundredth():
    cosine = rates()[STEPS:]
    assert cosine == sorted(cosine, reverse=True)
    assert cosine[20] == pytest.approx(0.505)
    assert 0.01 < cosine[-1] < 0.02
    assert learning_rate(SETTINGS, STEPS, 5 * STEPS + 7) == pytest.approx(0.01)


def test_without_warm_up_it_begins_at_the_top():
    assert rates(TrainingSettings(warmup_epochs=0, learning_rate=1.0))[0] == 1.0


def test_without_decay_it_stays():
    settings = TrainingSettings(
        epochs=5, warmup_epochs=1, learning_rate=1.0, decay="none"
    )
    assert rates(settings)[:STEPS] == rates()[:STEPS]
    assert set(rates(settings)[STEPS:]) == {1.0}


def test_warm_up_longer_than_the_training_never_passes_the_top():
    longer = TrainingSettings(epochs=1, warmup_epochs=3, learning_rate=1.0)
    assert max(learning_rate(longer, STEPS, step) for step in range(10)) < 0.5


def test_resumed_training_goes_on_with_the_rate_of_its_step():
    told = []
    callback = RateByStep(lambda step: 100 + step, first_step=20)
    optimizer = SimpleNamespace(learning_rate=SimpleNamespace(assign=told.append))
    callback.set_model(SimpleNamespace(optimizer=optimizer))
    for batch in range(3):
        callback.on_train_batch_begin(batch)
    assert told == [120, 121, 122]
