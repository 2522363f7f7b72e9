"""Artifacts that are attached at the same time, to a registry that keeps no track of them."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from ensemble.artifacts import referrers
from ensemble.artifacts.manifest import EMPTY, MANIFEST, Descriptor, Manifest
from ensemble.artifacts.registry import Registry


@pytest.fixture
def image(shared, request):
    """An image in a repository of its own."""
    with Registry(shared.host) as registry:
        repository = request.node.name.replace("_", "-")
        registry.push_blob(repository, EMPTY, b"{}")
        content = Manifest(artifact_type="application/x.image").encode()
        registry.push_manifest(repository, "v1", MANIFEST, content)
        yield registry, repository, Descriptor.of(MANIFEST, content)


def about(image, number):
    return Manifest(artifact_type="application/x.note", subject=image, annotations={"number": str(number)})


def numbers(registry, repository, image):
    return sorted(one.annotations["number"] for one in referrers.attached(registry, repository, image.digest))


def test_an_attach_that_overwrites_another_finds_it_out(image, monkeypatch):
    registry, repository, subject = image
    pushing = Registry.push_manifest
    index = subject.digest.replace(":", "-")

    def late(self, repository, name, *more):
        # between our reading of the index and our writing, another reads and writes it
        if name == index:
            monkeypatch.setattr(Registry, "push_manifest", pushing)
            referrers.attach(registry, repository, about(subject, 2))
        return pushing(self, repository, name, *more)

    monkeypatch.setattr(Registry, "push_manifest", late)
    referrers.attach(registry, repository, about(subject, 1))
    assert numbers(*image) == ["1", "2"]


def test_all_of_eight_attaches_at_once_survive(image, shared):
    _, repository, subject = image

    def attach(number):
        with Registry(shared.host) as registry:
            referrers.attach(registry, repository, about(subject, number))

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(attach, range(8)))
    assert numbers(*image) == list("01234567")
