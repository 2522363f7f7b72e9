"""A token is good for what it says, until it says, and from whom it says."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ensemble.model.errors import InputError
from ensemble.session.security import Security, dial, is_local, target
from ensemble.session.tokens import Claims, Held, SignedBy, TokenError, issue, new_key, read_secret

KEY = new_key()


def test_a_token_says_again_what_was_signed():
    claims = Claims("agent", "run-1", "far", time.time() + 100, "me", "t1")
    assert SignedBy(KEY).verify(issue(KEY, claims)) == claims


@given(st.data())
def test_no_byte_of_a_token_can_be_changed(data):
    token = issue(KEY, Claims("agent", "run-1", id="x"))
    # of the last character only some bits count (base64)
    place = data.draw(st.integers(0, len(token) - 2))
    other = data.draw(st.characters(min_codepoint=33, max_codepoint=126).filter(lambda c: c != token[place]))
    changed = token[:place] + other + token[place + 1 :]
    with pytest.raises(TokenError):
        SignedBy(KEY).verify(changed)


@given(st.text(max_size=200))
def test_any_other_text_is_refused_with_a_sentence(text):
    with pytest.raises(TokenError, match="token"):
        SignedBy(KEY).verify(text)


@pytest.mark.parametrize(
    ("claims", "asked", "said"),
    [
        (Claims("agent", "run-1"), ("agent", "run-2", "far"), "for run 'run-1', not for 'run-2'"),
        (Claims("agent", "*", "far"), ("agent", "run-2", "near"), "for member 'far', not for 'near'"),
        (Claims("user"), ("agent", "", ""), "for role 'user', and 'agent' is needed"),
    ],
)
def test_a_token_for_something_else_says_what_it_is_for(claims, asked, said):
    with pytest.raises(TokenError, match=said) as raised:
        claims.require(*asked)
    assert raised.value.bound


def test_a_token_without_a_signature_or_with_another_algorithm_is_refused():
    import jwt

    for forged in (jwt.encode({"role": "admin"}, "", "none"), jwt.encode({"role": "admin"}, KEY + KEY, "HS512")):
        with pytest.raises(TokenError, match="not a token of Ensemble"):
            SignedBy(KEY + KEY).verify(forged)


def test_a_token_of_the_last_version_is_refused_with_what_to_do():
    with pytest.raises(TokenError, match="ask for a new one"):
        SignedBy(KEY).verify("ens1.eyJyb2xlIjoidXNlciJ9.abc")


def test_an_expired_token_says_since_when():
    old = issue(KEY, Claims("agent", expires=time.time() - 7200))
    with pytest.raises(TokenError, match="expired 2 hours ago"):
        SignedBy(KEY).verify(old)


def test_clocks_may_differ_by_less_than_a_minute():
    assert SignedBy(KEY).verify(issue(KEY, Claims("agent", expires=time.time() - 30))).role == "agent"


def test_the_token_of_another_key_and_a_revoked_one_are_refused():
    with pytest.raises(TokenError, match="not issued by this server"):
        SignedBy(KEY).verify(issue(new_key(), Claims("admin")))
    with pytest.raises(TokenError, match="revoked"):
        SignedBy(KEY, frozenset({"bad"})).verify(issue(KEY, Claims("admin", id="bad")))


def test_an_agent_takes_its_own_token_alone():
    token = issue(KEY, Claims("agent", "run-1"))
    held = Held(token)
    held.verify(token).require("service", "run-1", "far")
    with pytest.raises(TokenError, match="not for 'run-2'"):
        held.verify(token).require("service", "run-2")
    with pytest.raises(TokenError, match="not the one"):
        held.verify(issue(KEY, Claims("agent", "run-1")))
    with pytest.raises(TokenError, match="guessed"):
        Held("short")


def test_a_secret_that_others_can_read_is_refused(tmp_path):
    path = tmp_path / "token"
    path.write_text("secret\n")
    path.chmod(0o644)
    with pytest.raises(InputError, match="chmod 600"):
        read_secret(path)
    path.chmod(0o600)
    assert read_secret(path) == "secret"


@pytest.mark.parametrize(
    ("address", "where", "local"),
    [
        ("127.0.0.1:80", "127.0.0.1:80", True),
        ("localhost", "localhost:50051", True),
        ("[::1]:7", "[::1]:7", True),
        (":50051", "[::]:50051", False),
        ("node7:9", "node7:9", False),
        ("/tmp/x.sock", "unix:/tmp/x.sock", True),
        ("127.0.0.1.example.org:1", "127.0.0.1.example.org:1", False),
    ],
)
def test_an_address_is_read_and_known_to_be_of_this_machine_or_not(address, where, local):
    assert target(address) == where
    assert is_local(address) is local


@pytest.mark.parametrize("address", ["host:port", "host:99999", "a b:1", "http://x/y"])
def test_what_is_no_address_is_said_to_be_none(address):
    with pytest.raises(InputError, match="is not an address"):
        target(address)


def test_an_address_beyond_this_machine_is_not_dialled_without_tls_and_token(tmp_path):
    with pytest.raises(InputError, match="CA that verifies its certificate"):
        dial("node7:9", Security())
    (tmp_path / "ca").write_text("x")
    with pytest.raises(InputError, match="needs a token"):
        dial("node7:9", Security(ca=str(tmp_path / "ca")))
