"""As written for slime: a sample with its prompt, response, label and metadata."""


async def custom_rm(args, sample, **kwargs):
    assert isinstance(sample.metadata, dict)
    return 1.0 if sample.label in sample.response else 0.0
