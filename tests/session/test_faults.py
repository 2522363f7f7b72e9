# ruff: noqa: ASYNC110, SIM117, RUF043
"""Whatever the other side does wrong, this side says what it was and goes on."""

import asyncio
import datetime
import ipaddress
import socket

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from grpc import aio

from ensemble.members.contract import Refused
from ensemble.members.remote import RemoteMember
from ensemble.members.remote.agent import Agent, AgentError
from ensemble.members.remote.options import OUTAGE
from ensemble.model.errors import InputError, MemberError, MemberUnavailable
from ensemble.model.jobs import AttemptRef
from ensemble.session.limits import SILENCE_SECONDS
from ensemble.session.security import Security, bind, options
from ensemble.session.stream import ByeCode
from ensemble.session.tokens import Claims, SignedBy, issue, new_key, read_secret
from ensemble.session.v1 import model_pb2 as model
from ensemble.session.v1 import session_pb2 as pb
from ensemble.session.v1 import session_pb2_grpc as rpc
from tests.session.world import SECRET, AgentProcess, Proxy, Sink, both, context, job, service


def run(work):
    return asyncio.run(asyncio.wait_for(work, 60))


def test_a_peer_that_stopped_is_reported_as_down_within_30_s_where_the_file_says_nothing_else():
    assert SILENCE_SECONDS + OUTAGE <= 30


class Impostor(rpc.MemberEndpointServicer):
    """An agent that listens and does as the test says with each stream."""

    def __init__(self, behave):
        self.behave = behave

    async def Session(self, request_iterator, context):
        await self.behave(context)

    async def serve(self):
        self.server = aio.server(options=options())
        rpc.add_MemberEndpointServicer_to_server(self, self.server)
        self.address = bind(self.server, "127.0.0.1:0", Security(token_file=SECRET))
        await self.server.start()
        return self


async def greet(context, **given):
    """Say hello and answer `Open`."""
    hello = {"min_version": 1, "max_version": 1, "agent": "impostor", "kind": "counting", **given}
    await context.read()
    await context.write(pb.AgentMessage(hello=pb.AgentHello(**hello)))
    while (message := await context.read()) is not aio.EOF:
        if message.HasField("command"):
            opened = pb.Opened(stream="s", sequence=0)
            await context.write(pb.AgentMessage(result=pb.CommandResult(id=message.command.id, opened=opened)))
            return


def batch(first, count, run="run-1"):
    events = [
        model.SourceEvent(job=model.JobEvent(key=f"a-{n}", state=5, n=n, attempt=1))
        for n in range(first, first + count)
    ]
    return pb.AgentMessage(events=pb.EventBatch(first=first, events=events, run=run))


async def byes(context):
    """The goodbye that the service says."""
    while (message := await context.read()) is not aio.EOF:
        if message.HasField("bye"):
            return message.bye.code
    return None


@pytest.mark.parametrize(
    ("messages", "name", "code"),
    [
        ([batch(1, 9000)], "flood", ByeCode.FLOOD),
        ([batch(1, 5, "run-2")], "wrong-run", ByeCode.PROTOCOL),
        ([batch(3, 5)], "protocol", ByeCode.PROTOCOL),
        ([pb.AgentMessage(events=pb.EventBatch(first=1, run="run-1", events=[model.SourceEvent()]))], "protocol", 8),
    ],
)
def test_an_agent_that_misbehaves_is_told_so_and_the_engine_hears_it(messages, name, code):
    async def work():
        said = asyncio.get_running_loop().create_future()

        async def behave(context):
            await greet(context)
            for message in messages:
                await context.write(message)
            heard = await byes(context)
            if not said.done():
                said.set_result(heard)

        impostor = await Impostor(behave).serve()
        sink, member = Sink(), RemoteMember()
        await member.open(context(sink, options={"address": impostor.address, "outage": 5}))
        assert await said == code
        await sink.until(lambda: sink.named("down"))
        assert name in sink.named("fault")[0].text
        assert not sink.numbers
        with pytest.raises(MemberError) as raised:
            await member.submit(1, [job("job-1")])
        assert raised.value.transient
        await member.close("detach")
        await impostor.server.stop(0)

    run(work())


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"min_version": 7, "max_version": 9}, "no protocol version in common: this side speaks 1, .* speaks 7 to 9"),
        ({"kind": "other"}, "needs a queue of kind 'counting', and the agent serves 'other'"),
        ({"run": "run-9", "member": "far"}, "this agent is for member 'far' of run 'run-9'"),
    ],
)
def test_an_agent_that_is_not_the_right_one_is_refused_for_good(given, said):
    async def work():
        impostor = await Impostor(lambda context: greet(context, **given)).serve()
        with pytest.raises(MemberError, match=said) as raised:
            await RemoteMember().open(context(Sink(), options={"address": impostor.address, "inner": "counting"}))
        assert not raised.value.transient
        await impostor.server.stop(0)

    run(work())


def test_a_stream_that_falls_silent_is_given_up_and_mended(tmp_path):
    async def work():
        quick = {"ping": 0.2, "silence": 1.0}
        async with both("listen", tmp_path, proxy={}, **quick) as (_, proxy, make, where):
            proxy.whole = True
            sink, member = Sink(), make()
            opts = {**where, **quick, "events": 2000, "batch": 10, "pause": 0.005, "outage": 30}
            await member.open(context(sink, options=opts))
            await sink.until(lambda: sink.position > 100)
            proxy.frozen.clear()
            stream = member._connection._stream
            assert (await stream.over()).code is ByeCode.STALLED
            proxy.frozen.set()
            await sink.until(lambda: sink.position >= 2000)
            assert sink.numbers == list(range(1, 2001))
            await member.close("cancel")

    run(work())


def test_an_agent_that_never_comes_back_puts_the_member_down_and_calls_fail_for_now(tmp_path):
    async def work():
        async with both("listen", tmp_path) as (_agent, _, make, where):
            sink, member = Sink(), make()
            await member.open(context(sink, options={**where, "outage": 0.5, "leave": True}))
            with pytest.raises(MemberError) as raised:
                await member.cancel([AttemptRef("run-1", "job-1")], 1.0)
            assert raised.value.transient
            await sink.until(lambda: sink.named("down"))
            with pytest.raises(MemberError, match="no agent within 0.5 s") as raised:
                await member.open(context(sink, options={**where, "wait": 0.5}))
            assert raised.value.transient
            await member.close("detach")

    run(work())


def test_a_job_too_large_for_a_message_is_refused_alone(tmp_path):
    async def work():
        async with both("listen", tmp_path) as (agent, _, make, where):
            sink, member = Sink(), make()
            await member.open(context(sink, options=where))
            jobs = [
                job("job-1"),
                job("job-2", setup="x" * 3_000_000),
                *(job(f"job-{n}", setup="y" * 600_000) for n in (3, 4, 5, 6, 7, 8, 9)),
            ]
            receipts = await member.submit(1, jobs)
            assert isinstance(receipts[1], Refused)
            assert "3000" in receipts[1].reason
            assert not any(isinstance(one, Refused) for one in (receipts[0], *receipts[2:]))
            assert [words[2] for words in agent.ledger if words[0] == "submit"] == [
                f"job-{n}" for n in (1, 3, 4, 5, 6, 7, 8, 9)
            ]
            await member.close("cancel")

    run(work())


def test_a_peer_that_never_says_hello_is_sent_away():
    async def work():
        faults = []
        async with service(hello_seconds=0.3, fault=lambda name, text: faults.append(name)) as (_, address):
            async with aio.insecure_channel(address) as channel:
                call = rpc.MembersStub(channel).Session()
                assert (await call.read()).bye.code == ByeCode.NO_HELLO
                assert await call.read() is aio.EOF
        assert faults == ["no-hello"]
        silent = await Impostor(lambda context: asyncio.sleep(30)).serve()
        with pytest.raises(MemberError, match="no agent within 1 s"):
            await RemoteMember().open(context(Sink(), options={"address": silent.address, "wait": 1}))
        await silent.server.stop(0)

    run(work())


def test_an_agent_of_another_version_is_told_and_ends():
    async def work():
        faults = []
        async with service(fault=lambda name, text: faults.append(name)) as (_, address):
            async with aio.insecure_channel(address) as channel:
                call = rpc.MembersStub(channel).Session()
                await call.write(
                    pb.AgentMessage(hello=pb.AgentHello(min_version=8, max_version=8, run="r", member="m"))
                )
                bye = (await call.read()).bye
                assert bye.code == ByeCode.VERSION
                assert "upgrade the older one" in bye.text
        assert faults == ["version"]

    run(work())


def test_a_message_beyond_the_bound_ends_the_stream_and_not_the_service(tmp_path):
    async def work():
        async with service() as (acceptor, address):
            async with aio.insecure_channel(address) as channel:
                call = rpc.MembersStub(channel).Session()
                with pytest.raises(aio.AioRpcError, match="larger than max"):
                    await call.write(pb.AgentMessage(hello=pb.AgentHello(run="x" * (5 << 20))))
                    while await call.read() is not aio.EOF:
                        pass
                    raise_for = await call.code()
                    raise AssertionError(raise_for)
            async with AgentProcess("connect", address, tmp_path, run="run-1", member="far"):
                member = RemoteMember(acceptor)
                await member.open(context(Sink()))
                await member.close("cancel")

    run(work())


def test_two_agents_for_one_member_the_newest_wins_and_the_older_ends(tmp_path):
    async def work():
        async with service() as (acceptor, address):
            first = AgentProcess("connect", address, tmp_path / "1", run="run-1", member="far")
            second = AgentProcess("connect", address, tmp_path / "2", run="run-1", member="far")
            async with first:
                sink, member = Sink(), RemoteMember(acceptor)
                await member.open(context(sink))
                async with second:
                    assert await first.end() == 2
                    assert any("a newer stream has replaced this one" in line for line in first.lines)
                    await sink.until(lambda: sink.named("down"))
                    await member.open(context(sink, stream="counting", resumed=True))
                    assert second.ledger[0][0] == "open"
                    await member.close("cancel")

    run(work())


# ---- who may -----------------------------------------------------------------------------------------

KEY = new_key()


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """A certificate of its own for 127.0.0.1, and one that is over."""
    folder = tmp_path_factory.mktemp("tls")

    def make(name, days):
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        now = datetime.datetime.now(datetime.UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=10))
            .not_valid_after(now + datetime.timedelta(days=days))
            .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
            .sign(key, hashes.SHA256())
        )
        (folder / f"{name}.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        (folder / f"{name}.key").write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )

    make("good", 10)
    make("old", -1)
    make("other", 10)
    return folder


def token_file(folder, claims):
    path = folder / "token"
    path.write_text(issue(KEY, claims))
    path.chmod(0o600)
    return str(path)


@pytest.mark.parametrize(
    ("claims", "said"),
    [
        (Claims("agent", "run-1", "far"), ""),
        (Claims("agent", "run-2", "far"), "the token is for run 'run-2', not for 'run-1'"),
        (Claims("user"), "the token is for role 'user'"),
        (Claims("agent", "run-1", "far", 1.0), "the token expired"),
        (None, "a token is needed"),
    ],
)
def test_a_dialling_agent_needs_a_token_for_its_run(claims, said, tmp_path, certificates):
    async def work():
        theirs = Security(cert=str(certificates / "good.pem"), key=str(certificates / "good.key"), token_file=SECRET)
        ours = Security(ca=str(certificates / "good.pem"), token_file=token_file(tmp_path, claims) if claims else "")
        faults = []
        async with service(security=theirs, verifier=SignedBy(KEY), fault=lambda *one: faults.append(one)) as (
            acceptor,
            address,
        ):
            agent = Agent("local", lambda: None, run="run-1", member="far")
            if said:
                with pytest.raises(AgentError, match=said):
                    await agent.connect(address, ours)
                assert said in faults[0][1]
                return
            task = asyncio.create_task(agent.connect(address, ours))
            while not acceptor.agents():
                await asyncio.sleep(0.01)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    run(work())


@pytest.mark.parametrize("name", ["old", "other"])
def test_the_token_is_not_sent_to_whom_the_certificate_does_not_vouch_for(name, tmp_path, certificates):
    async def work():
        tokens = []

        class Listener:
            def verify(self, token):
                tokens.append(token)
                raise AssertionError

        theirs = Security(
            cert=str(certificates / f"{name}.pem"), key=str(certificates / f"{name}.key"), token_file=SECRET
        )
        trusted = "old" if name == "old" else "good"
        ours = Security(ca=str(certificates / f"{trusted}.pem"), token_file=token_file(tmp_path, Claims("agent")))
        said = []
        async with service(security=theirs, verifier=Listener()) as (_, address):
            agent = Agent("local", lambda: None, run="run-1", member="far", report=said.append)
            task = asyncio.create_task(agent.connect(address, ours))
            while not said:
                await asyncio.sleep(0.01)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        assert not tokens
        assert "CERTIFICATE_VERIFY_FAILED" in said[0] or "certificate" in said[0].lower()

    run(work())


@pytest.mark.parametrize("right", [True, False])
def test_a_listening_agent_takes_the_token_it_holds_alone(right, tmp_path, certificates):
    async def work():
        path = token_file(tmp_path, Claims("agent", "run-1", "far"))
        given = {"cert": str(certificates / "good.pem"), "key": str(certificates / "good.key"), "token_file": path}
        async with AgentProcess("listen", "127.0.0.1:0", tmp_path / "a", security=given) as agent:
            if not right:
                (tmp_path / "b").mkdir()
                path = token_file(tmp_path / "b", Claims("agent", "run-1", "far"))
            member = RemoteMember()
            opts = {"address": agent.address, "ca": str(certificates / "good.pem"), "token_file": path}
            if right:
                assert (await member.open(context(Sink(), options=opts))).stream == "counting"
            else:
                with pytest.raises(MemberError, match="not the one that is expected here") as raised:
                    await member.open(context(Sink(), options=opts))
                assert not raised.value.transient
            await member.close("detach")

    run(work())


@pytest.mark.parametrize("address", ["127.0.0.1:0", "localhost:0", "[::1]:0"])
def test_nothing_listens_on_tcp_without_a_token_not_even_on_loopback(address):
    async def work():
        with pytest.raises(InputError, match="a TCP address needs a token"):
            bind(aio.server(), address, Security())
        with pytest.raises(InputError, match="a TCP address needs a token"):
            await Agent("local", lambda: None).listen(address, Security())

    run(work())


def test_an_agent_on_loopback_takes_no_command_without_its_token(tmp_path):
    async def work():
        async with AgentProcess("listen", "127.0.0.1:0", tmp_path, security={"token_file": SECRET}) as agent:
            with pytest.raises(MemberError, match="a token is needed, and none was sent"):
                await RemoteMember().open(context(Sink(), options={"address": agent.address}))
            async with aio.insecure_channel(agent.address) as channel:
                with pytest.raises(aio.AioRpcError, match="a token is needed") as raised:
                    await rpc.MemberEndpointStub(channel).Status(pb.StatusRequest(), timeout=10)
                assert raised.value.code() is grpc.StatusCode.UNAUTHENTICATED
        assert not agent.ledger

    run(work())


def test_nothing_listens_beyond_this_machine_without_tls_and_token():
    async def work():
        server = aio.server()
        with pytest.raises(InputError, match="it needs TLS and a token, and there is no certificate and no key"):
            bind(server, ":0", Security())
        with pytest.raises(MemberUnavailable, match="on another machine"):
            await RemoteMember().open(context(Sink(), options={"address": "node7:1"}))
        with pytest.raises(MemberUnavailable, match="no agent can dial in here"):
            await RemoteMember().open(context(Sink()))
        with pytest.raises(MemberUnavailable, match="did you mean token_file"):
            await RemoteMember().open(context(Sink(), options={"tokenfile": "x"}))

    run(work())


def test_a_port_in_use_and_a_socket_in_use_are_said_to_be(tmp_path):
    async def work():
        with socket.create_server(("127.0.0.1", 0)) as taken:
            with pytest.raises(InputError, match="cannot listen on .*address already in use"):
                bind(aio.server(), f"127.0.0.1:{taken.getsockname()[1]}", Security(token_file=SECRET))
        path = str(tmp_path / "s")
        async with service(path) as (_, address):
            assert address == f"unix:{path}"
            assert (tmp_path / "s").stat().st_mode & 0o777 == 0o600
            with pytest.raises(InputError, match="another process listens there"):
                bind(aio.server(), path, Security())

    run(work())


def test_the_endpoint_says_nodes_and_queue_and_that_it_is_well(tmp_path):
    from grpc_health.v1 import health_pb2, health_pb2_grpc
    from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

    async def work():
        async with both("listen", tmp_path) as (agent, _, make, where):
            sink, member = Sink(), make()
            await member.open(context(sink, options={**where, "events": 3}))
            await sink.until(lambda: sink.position == 3)
            async with aio.insecure_channel(agent.address) as channel:
                token = (("authorization", f"Bearer {read_secret(SECRET)}"),)
                stub = rpc.MemberEndpointStub(channel)
                found = await stub.Status(pb.StatusRequest(), timeout=10, metadata=token)
                assert (found.nodes.node_up_count, found.nodes.node_cores_up, found.queue.run) == (2, 4, 3)
                with pytest.raises(aio.AioRpcError, match="no member"):
                    await stub.Status(pb.StatusRequest(run="x"), timeout=10, metadata=token)
                health = health_pb2_grpc.HealthStub(channel)
                asked = health_pb2.HealthCheckRequest(service="ensemble.v1.MemberEndpoint")
                assert (await health.Check(asked, timeout=10)).status == 1
                reflected = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(
                    iter([reflection_pb2.ServerReflectionRequest(list_services="")])
                )
                names = [one.name async for answer in reflected for one in answer.list_services_response.service]
                assert "ensemble.v1.MemberEndpoint" in names
            await member.close("cancel")

    run(work())


def test_a_proxy_cuts():
    """The tool itself: what goes through is what was sent, up to the cut."""

    async def work():
        async def echo(reader, writer):
            writer.write(await reader.read(100))
            writer.close()

        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with Proxy(address, least=4, most=4) as proxy:
            host, port = proxy.address.split(":")
            _, writer = await asyncio.open_connection(host, int(port))
            writer.write(b"hello")
            await asyncio.sleep(0)
            while not proxy.cuts:
                await asyncio.sleep(0.01)
        server.close()

    run(work())
