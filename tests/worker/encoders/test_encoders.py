import pytest
import torch

from worker.encoders.resnet import ResNet18Pair
from worker.encoders.small_cnn import SmallCnnPair, grid_means


@pytest.mark.parametrize(("num_mels", "num_steps", "side", "num_frames"), [(16, 9, 16, 1), (33, 40, 30, 3)])
def test_the_small_pair_takes_any_input_size(num_mels, num_steps, side, num_frames):
    pair = SmallCnnPair(width=4, num_features=6)
    assert pair.audio(torch.randn(2, 1, num_mels, num_steps)).shape == (2, 6)
    assert pair.visual(torch.randn(2, num_frames, 3, side, side)).shape == (2, 6)


def test_a_clips_features_do_not_depend_on_its_neighbours():
    torch.manual_seed(0)
    pair = SmallCnnPair(width=4, num_features=6)
    frames = torch.randn(3, 2, 3, 16, 16)
    torch.testing.assert_close(pair.visual(frames)[1:2], pair.visual(frames[1:2]))


def test_frames_are_averaged_so_their_order_does_not_matter():
    torch.manual_seed(0)
    pair = SmallCnnPair(width=4, num_features=6)
    frames = torch.randn(2, 3, 3, 16, 16)
    torch.testing.assert_close(pair.visual(frames), pair.visual(frames.flip(1)))


@pytest.mark.parametrize(("size", "grid"), [((8, 8), (4, 4)), ((7, 5), (3, 2)), ((2, 3), (4, 1))])
def test_grid_means_are_adaptive_average_pooling(size, grid):
    planes = torch.randn(2, 3, *size)
    expected = torch.nn.functional.adaptive_avg_pool2d(planes, grid)
    torch.testing.assert_close(grid_means(planes, grid), expected)


def test_the_resnet_pair_fits_its_first_convolution_to_the_modality():
    pair = ResNet18Pair()
    assert pair.audio.conv1.in_channels == 1
    with torch.no_grad():
        assert pair.audio(torch.randn(2, 1, 32, 32)).shape == (2, 512)
        assert pair.visual(torch.randn(2, 2, 3, 32, 32)).shape == (2, 512)
