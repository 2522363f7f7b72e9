"""The stubs that are committed are those of the proto files."""

import subprocess
import sys
import typing
from pathlib import Path

import pytest

STATUS = {
    "Status": "RunStatus",
    "CellStatus": "CellStatus",
    "RuleExplanation": "RuleExplanation",
}
FROM_MEMBERS = ("JobEvent", "MemberEvent", "NativeEvent")
ROOT = Path(__file__).parents[2]


def test_the_committed_stubs_are_current(tmp_path):
    pytest.importorskip("grpc_tools", reason="grpcio-tools is not installed here")
    pytest.importorskip("mypy_protobuf", reason="mypy-protobuf is not installed here")
    subprocess.run([sys.executable, ROOT / "proto/generate.py", tmp_path], check=True, timeout=120)
    committed = ROOT / "src/ensemble/session/v1"
    fresh = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert fresh == {path.name: path.read_text() for path in committed.iterdir() if path.is_file()}


def test_every_effect_event_and_status_is_in_the_proto_with_all_its_fields():
    """What a journal can hold, a server can send."""
    from ensemble import engine
    from ensemble.model import decisions, events
    from ensemble.session.messages import TAGS
    from ensemble.session.v1 import ensembles_pb2, model_pb2, record_pb2

    pairs = [(getattr(engine, name), getattr(ensembles_pb2, other)) for name, other in STATUS.items()]
    pairs += [(getattr(events, name), getattr(model_pb2, name)) for name in FROM_MEMBERS]
    for union, message in ((decisions.Effect, record_pb2.Effect), (events.Event, record_pb2.Event)):
        kinds = {field.name: field.message_type for field in message.DESCRIPTOR.oneofs_by_name["kind"].fields}
        for struct in typing.get_args(union):
            tag = struct.__struct_config__.tag
            assert TAGS.get(tag, tag) in kinds
            if struct.__name__ not in FROM_MEMBERS:
                pairs.append((struct, kinds[TAGS.get(tag, tag)]))
    for struct, message in pairs:
        named = {field.name for field in getattr(message, "DESCRIPTOR", message).fields}
        # the state of a run is its `phase`
        assert set(struct.__struct_fields__) - named <= {"member", "state"}, struct


def test_every_message_field_and_call_has_a_name_of_its_kind():
    from ensemble.session.v1 import ensembles_pb2, model_pb2, record_pb2, session_pb2

    for module in (model_pb2, record_pb2, session_pb2, ensembles_pb2):
        file = module.DESCRIPTOR
        assert file.package == "ensemble.v1"
        for message in file.message_types_by_name.values():
            assert message.name[0].isupper()
            assert "_" not in message.name
            assert all(field.name == field.name.lower() for field in message.fields)
        for enum in file.enum_types_by_name.values():
            prefix = "".join(f"_{c}" if c.isupper() else c.upper() for c in enum.name).lstrip("_") + "_"
            assert enum.values[0].name == prefix + "UNSPECIFIED"
            assert all(value.name.startswith(prefix) for value in enum.values)
