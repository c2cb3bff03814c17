import numpy as np
import pytest

from worker.science.probe import neutral_probe


def _features(seed: int, count: int = 200) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 3, count)
    features = generator.normal(0, 1, (count, 8))
    features[:, :3] += 4 * np.eye(3)[labels]
    features[:, 7] = 5.0  # a dead feature
    return (features * 1_000).astype(np.float32), labels


def test_features_that_tell_the_classes_apart_are_found_whatever_their_scale() -> None:
    result = neutral_probe(*_features(0), *_features(1))
    assert result.accuracy > 0.9
    assert result.train_accuracy > 0.9
    assert result.converged
    assert 0 < result.num_iterations < 200


def test_noise_is_worth_chance() -> None:
    features, labels = _features(0, 600)
    shuffled = np.random.default_rng(2).permutation(labels)
    assert neutral_probe(features[:300], shuffled[:300], features[300:], shuffled[300:]).accuracy < 0.45


def test_the_probe_is_deterministic() -> None:
    assert neutral_probe(*_features(0), *_features(1)) == neutral_probe(*_features(0), *_features(1))


def test_a_solver_that_was_stopped_says_so_without_a_warning() -> None:
    result = neutral_probe(*_features(0), *_features(1), max_iterations=1)
    assert not result.converged
    assert result.num_iterations == 1


def test_a_class_unseen_in_training_counts_as_wrong() -> None:
    features, labels = _features(0)
    seen = labels < 2
    assert neutral_probe(features[seen], labels[seen], features[~seen], labels[~seen]).accuracy == 0.0


def test_features_that_are_not_finite_are_refused() -> None:
    features, labels = _features(0)
    broken = features.copy()
    broken[3, 3] = np.nan
    with pytest.raises(ValueError, match="finite features"):
        neutral_probe(broken, labels, features, labels)


def test_a_single_class_is_refused() -> None:
    features, labels = _features(0)
    with pytest.raises(ValueError, match="at least two classes"):
        neutral_probe(features, np.zeros_like(labels), features, labels)
