"""The calls of `ensemble.v1.Ensembles` at a real server: what each gives, and the status of what it refuses."""

import asyncio
import json

import pytest

pytest.importorskip("grpc", reason="the service needs the extra `service`")

from grpc import RpcError, StatusCode, aio

from ensemble.model.events import Requested
from ensemble.runs.remote import RemoteRuns
from ensemble.session.convert import map_to_message
from ensemble.session.limits import MESSAGE_BYTES
from ensemble.session.security import Security
from ensemble.session.v1 import ensembles_pb2 as pb
from tests.service.world import LONG, SMALL, local, make_token, write

STEERED = """
name: steered
jobs:
  - {name: waits, command: sleep 600}
  - {name: more, command: 'true', submit: rules}
  - {name: axes, command: 'echo {N}', parameters: {N: [1]}, submit: rules}
"""


def ask(server, name, request, token=""):
    """The answer to a call, or its status and text."""

    with RemoteRuns(server.bound, Security(token_file=token)) as runs:
        connection = runs.connection
        try:
            call = getattr(connection._stub, name)(request, metadata=connection._metadata, timeout=30)
            return list(call) if name in ("Events", "Watch", "Results", "Logs") else call
        except RpcError as error:
            return error.code(), error.details()


def begun(server, tmp_path, text):
    assert server.verb("run", "--detach", write(tmp_path, text)).returncode == 0


def steer(server, run, token="", **what):
    given = {kind: map_to_message(plain) for kind, plain in what.items()}
    return ask(server, "Steer", pb.SteerRequest(run=run, **given), token)


def records(server, run, *more):
    return [json.loads(line) for line in server.verb("events", run, *more).stdout.splitlines()]


def test_an_action_is_carried_out_and_is_durable_when_it_is_answered(serve, tmp_path):
    server = serve()
    begun(server, tmp_path, STEERED)
    answer = steer(server, "steered-1", action={"name": "submit", "label": "more", "value": 3})
    asked = next(one for one in records(server, "steered-1") if one["event"]["type"] == "request")
    assert asked["seq"] <= answer.seq
    assert asked["event"]["action"] == {"name": "submit", "label": "more", "value": 3}
    assert steer(server, "steered-1", action={"name": "terminate"}).seq > answer.seq
    events = records(server, "steered-1", "--follow")
    keys = {one["event"]["key"] for one in events if one["event"].get("key", "").startswith("more-")}
    assert keys == {"more-0", "more-1", "more-2"}
    assert "steered-1: terminated" in server.verb("status", "steered-1").stdout
    assert local(tmp_path, "verify", "state/runs/steered-1").returncode == 0


def test_the_answer_to_a_submission_names_the_jobs_that_it_made_also_when_it_is_repeated(serve, tmp_path):
    server = serve()
    begun(server, tmp_path, STEERED)
    with RemoteRuns(server.bound, Security()) as runs:
        run = runs.find("steered-1")
        request = Requested("action", action={"name": "submit", "label": "more", "value": 2}, key="once")
        assert [run.ask(request).jobs for _ in range(2)] == [("more-0", "more-1")] * 2
        request = Requested("action", action={"name": "submit", "label": "axes", "points": [{"N": 2}, {"N": 5}]})
        assert run.ask(request).jobs == ("axes-0", "axes-1")
        assert run.cancel().done


def test_a_rule_that_was_added_fires(serve, tmp_path):
    server = serve()
    begun(server, tmp_path, STEERED)
    rule = {"id": "late", "trigger": "metric", "when": "count.more.success >= 2", "action": {"name": "terminate"}}
    first = steer(server, "steered-1", rule=rule)
    assert steer(server, "steered-1", action={"name": "submit", "label": "more", "value": 2}).seq > first.seq
    server.verb("events", "--follow", "steered-1")
    assert "steered-1: terminated" in server.verb("status", "steered-1").stdout
    assert "count.more.success = 2" in server.verb("explain", "steered-1", "late").stdout


def test_what_cannot_be_done_is_refused_with_a_sentence_and_changes_nothing(serve, tmp_path):
    server = serve()
    begun(server, tmp_path, STEERED)
    before = len(records(server, "steered-1"))
    for what, said in (
        ({"action": {"name": "submit", "label": "mroe"}}, "Did you mean more?"),
        ({"action": {"name": "fly"}}, "fly"),
        ({"action": {}}, "name"),
        ({"rule": {"trigger": "metric", "when": "count.nix.success > 1", "action": {"name": "stop"}}}, "nix"),
        ({"action": {"name": "custom", "label": "f"}}, "--allow-custom"),
        ({"rule": {"trigger": "start", "action": {"name": "custom", "label": "f"}}}, "--allow-custom"),
        (
            {"action": {"name": "add-rule", "rule": {"trigger": "start", "action": {"name": "custom", "label": "f"}}}},
            "--allow-custom",
        ),
        ({}, "an action or a rule is missing"),
    ):
        code, text = steer(server, "steered-1", **what)
        assert code is StatusCode.INVALID_ARGUMENT, (what, text)
        assert said in text, text
    assert [one for one in records(server, "steered-1")[before:] if one["event"]["type"] == "request"] == []
    assert steer(server, "nix", action={"name": "stop"})[0] is StatusCode.NOT_FOUND
    assert server.verb("cancel", "steered-1").returncode == 0
    server.verb("events", "--follow", "steered-1")
    code, text = steer(server, "steered-1", action={"name": "stop"})
    assert code is StatusCode.FAILED_PRECONDITION
    assert text == "run steered-1 is over (cancelled); nothing can be asked of it any more"


def test_a_token_for_one_run_opens_no_other(serve, tmp_path):
    server = serve(address="127.0.0.1:0")
    every, own = make_token(tmp_path), make_token(tmp_path, "--subject", "bob", "--run", "long-1")
    for name in ("long", "other"):
        text = LONG.replace("long", name)
        assert server.verb("run", "--detach", write(tmp_path, text), "--token-file", every).returncode == 0
    action = map_to_message({"name": "cancel", "label": "work"})
    calls = {
        "Status": pb.RunStatusRequest,
        "Events": pb.EventsRequest,
        "Watch": pb.WatchRequest,
        "Explain": pb.ExplainRequest,
        "Results": pb.ResultsRequest,
        "Logs": lambda run: pb.LogsRequest(run=run, key="work-0"),
        "Cancel": pb.CancelRequest,
        "Steer": lambda run: pb.SteerRequest(run=run, action=action),
        "Resume": pb.ResumeRequest,
        "Remove": pb.RemoveRequest,
    }
    for name, request in calls.items():
        code, text = ask(server, name, request(run="other-1"), own)
        assert code is StatusCode.PERMISSION_DENIED, name
        assert text == "the token is for run 'long-1', not for 'other-1'"
        # whether there is such a run is no business of his either
        assert ask(server, name, request(run="nix"), own)[0] is StatusCode.PERMISSION_DENIED, name
        assert ask(server, name, request(run="last"), own)[0] is StatusCode.PERMISSION_DENIED, name
    assert ask(server, "List", pb.ListRequest(), own)[0] is StatusCode.PERMISSION_DENIED
    assert ask(server, "Submit", pb.SubmitRequest(), own)[0] is StatusCode.PERMISSION_DENIED
    assert steer(server, "long-1", own, action={"name": "terminate"}).seq
    server.verb("events", "--follow", "long-1", "--token-file", own)
    asked = [one["event"]["by"] for one in records(server, "long-1", "--token-file", own) if "by" in one["event"]]
    assert asked[-1] == "bob"
    assert server.verb("cancel", "other-1", "--token-file", every).returncode == 0


def test_a_check_says_what_is_wrong_and_leaves_nothing_behind(serve, tmp_path):
    server = serve()
    wrong = b"jobs:\n  - {name: s, cout: 4, command: 'true'}\n"
    found = ask(server, "Check", pb.CheckRequest(file=pb.EnsembleFile(name="a.yaml", content=wrong)))
    assert [(one.file, one.line, one.column) for one in found.errors] == [("a.yaml", 2, 15)]
    good = ask(server, "Check", pb.CheckRequest(file=pb.EnsembleFile(name="a.yaml", content=SMALL.encode())))
    assert (list(good.errors), list(good.warnings)) == ([], [])
    assert server.verb("run", write(tmp_path, wrong.decode())).returncode == 2
    for name in ("../../x", "/x", "a\0b", "."):
        outside = pb.EnsembleFile(name="a\0.yaml", content=SMALL.encode(), beside={name: b""})
        code, text = ask(server, "Submit", pb.SubmitRequest(file=outside))
        assert code is StatusCode.INVALID_ARGUMENT
        assert "not a path beside the file" in text
    assert list((tmp_path / "state/files").iterdir()) == []
    assert list((tmp_path / "state/runs").iterdir()) == []


def test_the_server_says_what_it_allows_and_who_the_caller_is(serve, tmp_path):
    server = serve("--max-jobs", "7", "--max-nodes", "2", "--submit-rate", "5", address="127.0.0.1:0")
    info = ask(server, "Info", pb.InfoRequest(), make_token(tmp_path, "--subject", "alice"))
    assert (info.caller, info.max_jobs, info.max_nodes, info.max_submit_rate) == ("alice", 7, 2, 5.0)
    assert not info.allows_custom
    assert {"local", "remote", "simulated"} <= set(info.member_kinds)


def test_runs_are_listed_page_by_page_and_by_phase(serve, tmp_path):
    server = serve()
    for _ in range(3):
        assert server.verb("run", write(tmp_path, SMALL)).returncode == 0
    begun(server, tmp_path, LONG)
    names, token = [], ""
    while True:
        page = ask(server, "List", pb.ListRequest(page_size=2, page_token=token))
        names += [one.run for one in page.runs]
        token = page.next_page_token
        if not token:
            break
    assert names == ["long-1", "small-3", "small-2", "small-1"]
    over = ask(server, "List", pb.ListRequest(phases=[pb.RUN_PHASE_OVER])).runs
    assert [one.run for one in over] == ["small-3", "small-2", "small-1"]
    assert all(one.total.success == 2 and one.outcome == "success" for one in over)
    assert server.verb("cancel", "long-1").returncode == 0


def test_events_of_one_job_alone_and_from_a_number_on(serve, tmp_path):
    server = serve()
    assert server.verb("run", write(tmp_path, SMALL)).returncode == 0
    parts = ask(server, "Events", pb.EventsRequest(run="small-1", key="work-1"))
    keys = {one.event.job.event.key for part in parts for one in part.records}
    assert keys == {"work-1"}
    whole = records(server, "small-1")
    parts = ask(server, "Events", pb.EventsRequest(run="small-1", **{"from": 4}))
    assert [one.seq for part in parts for one in part.records] == [one["seq"] for one in whole if one["seq"] >= 4]


def test_a_message_too_large_is_refused_and_the_server_goes_on(serve, tmp_path):
    server = serve()

    async def send():
        unbound = [("grpc.max_send_message_length", -1)]
        async with aio.insecure_channel(server.address, options=unbound) as channel:
            from ensemble.session.v1 import ensembles_pb2_grpc as rpc

            file = pb.EnsembleFile(name="a.yaml", content=SMALL.encode() + b"#" * MESSAGE_BYTES)
            with pytest.raises(aio.AioRpcError) as raised:
                await rpc.EnsemblesStub(channel).Submit(pb.SubmitRequest(file=file), timeout=30)
            return raised.value

    error = asyncio.run(send())
    assert error.code() is StatusCode.RESOURCE_EXHAUSTED
    assert "larger than max" in error.details()
    assert server.verb("run", write(tmp_path, SMALL)).returncode == 0
    assert [one["name"] for one in json.loads(server.verb("list", "-o", "json").stdout)] == ["small-1"]


def test_health_is_told_to_whoever_asks_and_changes_when_the_server_stops(serve):
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    server = serve(address="127.0.0.1:0")
    serving, stopping = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING

    async def work():
        async with aio.insecure_channel(server.bound) as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            for name in ("", "ensemble.v1.Ensembles", "ensemble.v1.Members"):
                assert (await stub.Check(health_pb2.HealthCheckRequest(service=name), timeout=30)).status == serving
            with pytest.raises(aio.AioRpcError) as raised:
                await stub.Check(health_pb2.HealthCheckRequest(service="nix"), timeout=30)
            assert raised.value.code() is StatusCode.NOT_FOUND
            watch = stub.Watch(health_pb2.HealthCheckRequest(service=""))
            assert (await watch.read()).status == serving
            server.process.terminate()
            assert (await watch.read()).status == stopping

    asyncio.run(work())
    assert server.process.wait(30) == 0


def test_reflection_tells_every_call_and_its_messages(serve):
    from google.protobuf import descriptor_pb2
    from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

    server = serve()

    async def work():
        async with aio.insecure_channel(server.address) as channel:
            asked = [
                reflection_pb2.ServerReflectionRequest(list_services=""),
                reflection_pb2.ServerReflectionRequest(file_containing_symbol="ensemble.v1.Ensembles"),
            ]
            stub = reflection_pb2_grpc.ServerReflectionStub(channel)
            return [one async for one in stub.ServerReflectionInfo(iter(asked), timeout=30)]

    services, files = asyncio.run(work())
    named = {one.name for one in services.list_services_response.service}
    assert named >= {"ensemble.v1.Ensembles", "ensemble.v1.Members", "grpc.health.v1.Health"}
    found = [
        descriptor_pb2.FileDescriptorProto.FromString(one)
        for one in files.file_descriptor_response.file_descriptor_proto
    ]
    calls = {call.name for file in found for one in file.service if one.name == "Ensembles" for call in one.method}
    assert calls == {call.name for call in pb.DESCRIPTOR.services_by_name["Ensembles"].methods}
