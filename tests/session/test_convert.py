"""Everything comes out of a message as it went in."""

from hypothesis import given
from hypothesis import strategies as st

from ensemble.members.contract import Hello, InventoryItem, Page
from ensemble.members.remote import messages
from ensemble.members.remote.directories import relocate
from ensemble.model.events import JobEvent, MemberEvent, NativeEvent
from ensemble.model.jobs import OUTCOMES, STATES, AttemptRef, FileInput, JobSpec, OutputSpec, Resources
from ensemble.session import convert
from ensemble.session.stream import ByeCode
from ensemble.session.v1 import model_pb2, session_pb2

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
number = st.floats(allow_nan=False, allow_infinity=False)
count = st.integers(0, 2**31)
size = st.integers(-1, 2**31)
scalar = st.one_of(st.booleans(), st.integers(-(2**80), 2**80), number, text)
plain = st.recursive(
    st.one_of(st.none(), scalar),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(text, inner, max_size=4)),
    max_leaves=12,
)
refs = st.lists(st.tuples(text, count), max_size=3).map(tuple)
job_events = st.builds(
    JobEvent,
    st.just("far"),
    text,
    st.sampled_from(STATES[:-1]),
    number,
    st.integers(0, 2**60),
    count,
    count,
    native_id=text,
    hosts=text,
    start=number,
    text=text,
)
ends = st.builds(
    JobEvent,
    st.just("far"),
    text,
    st.just("inactive"),
    number,
    st.integers(0, 2**60),
    count,
    count,
    st.sampled_from(OUTCOMES),
    text,
    st.integers(-1, 255),
    st.integers(0, 64),
    number,
    st.none() | st.dictionaries(text, number, min_size=1, max_size=4),
    st.lists(text, max_size=3).map(tuple),
    text,
    text,
    text,
)
natives = st.builds(
    NativeEvent, st.just("far"), text, text, number, count, count, st.dictionaries(text, plain, max_size=4)
)
members = st.builds(
    MemberEvent,
    st.just("far"),
    text,
    number,
    count,
    text,
    size,
    size,
    size,
    size,
    size,
    count,
    st.lists(text, max_size=3).map(tuple),
    refs,
    refs,
    st.none()
    | st.dictionaries(st.sampled_from(["run", "sched", "held"]), count).map(
        lambda given: {
            **dict.fromkeys(("new", "depend", "priority", "sched", "run", "cleanup", "inactive"), 0),
            **given,
        }
    ),
    text,
    size,
    st.none() | st.dictionaries(text, count, max_size=3),
)


@given(st.one_of(job_events, ends, natives, members))
def test_an_event(event):
    wire = convert.event_to_message(event).SerializeToString()
    found = convert.event_from_message(model_pb2.SourceEvent.FromString(wire), "far")
    assert found == event


@given(plain)
def test_a_value_keeps_its_kind(value):
    found = convert.value_from_message(model_pb2.Value.FromString(convert.value_to_message(value).SerializeToString()))
    assert found == value
    assert repr(found) == repr(value)


specs = st.builds(
    JobSpec,
    st.builds(AttemptRef, text, text, count),
    text,
    text,
    st.lists(text, max_size=4).map(tuple),
    text,
    st.builds(Resources, count, count, count, count, st.booleans(), text),
    text,
    number,
    st.dictionaries(text, text, max_size=3),
    text,
    text,
    st.lists(
        st.one_of(st.builds(FileInput, text, text), st.builds(lambda to, x: FileInput(to, text=x), text, text)),
        max_size=3,
    ).map(tuple),
    st.lists(
        st.one_of(
            st.builds(OutputSpec, text, text, pattern=text.filter(bool), take=text, required=st.booleans()),
            st.builds(OutputSpec, text, text, pointer=text.filter(bool)),
        ),
        max_size=3,
    ).map(tuple),
    text,
    text,
    text,
    st.dictionaries(text, scalar, max_size=3),
    st.lists(text, max_size=3).map(tuple),
    st.dictionaries(text, plain, max_size=3),
    st.dictionaries(text, scalar, max_size=3),
)


@given(specs)
def test_a_job(spec):
    found = convert.spec_from_message(model_pb2.JobSpec.FromString(convert.spec_to_message(spec).SerializeToString()))
    assert found == spec
    assert list(found.point.items()) == list(spec.point.items())


def test_a_hello_and_a_page():
    hello = Hello(frozenset({"a", "b"}), "s", 1, -1, 0, 4, -1, 8, "t")
    assert messages.hello_from(messages.opened_to(hello, 3, hello.text)) == hello
    ended = JobEvent("far", "a-1", "inactive", 1.0, outcome="lost")
    items = tuple(InventoryItem(AttemptRef("r", f"a-{i}"), "inactive", "7", ended) for i in range(30_000))
    parts = list(messages.page_parts(Page(items, last=True, complete=True, text="x")))
    assert len(parts) > 1
    assert all(part.ByteSize() < 2 << 20 for part in parts)
    pages = [messages.page_from(part, "far", "r") for part in parts]
    assert [page.last for page in pages] == [False] * (len(pages) - 1) + [True]
    assert tuple(item for page in pages for item in page.items) == items


def test_a_runs_directory_is_moved_and_its_neighbours_are_not():
    move = relocate("/a/run-1", "/b/run-1")
    spec = JobSpec(
        AttemptRef("run-1", "k-1"),
        "k",
        "/a/run-1/jobs/k-1",
        command=("cat", "/a/run-1", "--x=/a/run-1/y:/a/run-10/z"),
        env={"D": "/a/run-1"},
    )
    found = move(spec)
    assert found.workdir == "/b/run-1/jobs/k-1"
    assert found.command == ("cat", "/b/run-1", "--x=/b/run-1/y:/a/run-10/z")
    assert found.env == {"D": "/b/run-1"}


def test_the_reasons_for_a_goodbye_are_those_of_the_proto():
    assert {f"BYE_CODE_{one.name}": int(one) for one in ByeCode} == dict(session_pb2.ByeCode.items())
