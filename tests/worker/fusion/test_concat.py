import torch

from worker.fusion.concat import ConcatFusion


def test_the_split_logits_add_up_to_the_fused_ones():
    torch.manual_seed(0)
    fusion = ConcatFusion(5, 7, 4).double()
    audio, visual = torch.randn(6, 5).double(), torch.randn(6, 7).double()
    parts = fusion.split(audio, visual)
    torch.testing.assert_close(parts[0] + parts[1], fusion(audio, visual), atol=1e-12, rtol=0)


def test_each_part_depends_on_its_own_modality_alone():
    fusion = ConcatFusion(5, 7, 4)
    audio, visual = torch.randn(6, 5), torch.randn(6, 7)
    assert torch.equal(fusion.split(audio, visual)[0], fusion.split(audio, visual + 1)[0])
    assert torch.equal(fusion.split(audio, visual)[1], fusion.split(audio + 1, visual)[1])
