"""The stubs that are committed are those of the proto files."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_the_committed_stubs_are_current(tmp_path):
    pytest.importorskip("grpc_tools", reason="grpcio-tools is not installed here")
    pytest.importorskip("mypy_protobuf", reason="mypy-protobuf is not installed here")
    subprocess.run([sys.executable, ROOT / "proto/generate.py", tmp_path], check=True, timeout=120)
    committed = ROOT / "src/ensemble/session/v1"
    fresh = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert fresh == {path.name: path.read_text() for path in committed.iterdir() if path.is_file()}


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
