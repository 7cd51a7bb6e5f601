"""Sealed blobs and keyrings: who can open them, who cannot, and what they give away."""

import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_agent.errors import ArtifactError, Reason
from edge_agent.release.chunks import CHUNK_BYTES, MAX_BLOB_BYTES, MAX_PAYLOAD_BYTES, pack
from edge_agent.release.sealing import (
    Purpose,
    format_public,
    format_secret,
    make_key,
    make_keyring,
    open_keyring,
    parse_public,
    parse_secret,
    public_of,
    seal,
    unseal,
)
from tests.sim.releases import noise

KEY, OTHER_KEY = bytes(range(32)), bytes(range(1, 33))
DIGEST, OTHER_DIGEST = "a" * 64, "b" * 64
SECRETS = [make_key() for _ in range(20)]
PUBLIC = [public_of(secret) for secret in SECRETS]
# Points of small order on Curve25519 (https://cr.yp.to/ecdh.html#validate), and one that is not canonical.
SMALL_ORDER = [
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0100000000000000000000000000000000000000000000000000000000000000",
    "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
    "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
]


def refused(attempt: object) -> ArtifactError:
    assert callable(attempt)
    with pytest.raises(ArtifactError) as caught:
        attempt()
    assert caught.value.reason is Reason.INTEGRITY
    assert caught.value.hint
    return caught.value


@given(content=st.binary(max_size=200))
def test_what_was_sealed_is_opened_and_the_same_again_gives_the_same_bytes(content: bytes) -> None:
    blob = seal(KEY, Purpose.CHUNK, content)

    assert unseal(KEY, Purpose.CHUNK, blob) == content
    assert seal(KEY, Purpose.CHUNK, content) == blob
    assert len(blob) == len(content) + 28


def test_other_content_has_another_nonce_and_so_has_another_purpose_or_key() -> None:
    nonces = {
        seal(key, purpose, content)[:12] for key in (KEY, OTHER_KEY) for purpose in Purpose for content in (b"a", b"b")
    }
    assert len(nonces) == 8


@settings(max_examples=60)
@given(position=st.integers(0, 127), bit=st.integers(0, 7))
def test_a_blob_with_any_bit_altered_is_refused(position: int, bit: int) -> None:
    blob = bytearray(seal(KEY, Purpose.CHUNK, bytes(100)))
    blob[position] ^= 1 << bit
    refused(lambda: unseal(KEY, Purpose.CHUNK, bytes(blob)))


@given(content=st.binary(max_size=60))
def test_what_was_never_sealed_is_refused(content: bytes) -> None:
    refused(lambda: unseal(KEY, Purpose.CHUNK, content))


def test_a_blob_is_opened_with_its_own_key_and_as_what_it_is_only() -> None:
    blob = seal(KEY, Purpose.CHUNK, b"model")
    refused(lambda: unseal(OTHER_KEY, Purpose.CHUNK, blob))
    refused(lambda: unseal(KEY, Purpose.INDEX, blob))


def test_a_chunk_that_does_not_compress_fits_into_a_blob_and_that_into_a_payload() -> None:
    blob = seal(KEY, Purpose.CHUNK, pack(noise(CHUNK_BYTES, "noise")))

    assert len(blob) <= MAX_BLOB_BYTES
    assert len(pack(blob)) <= MAX_PAYLOAD_BYTES


def test_each_recipient_finds_the_content_key_and_nobody_else() -> None:
    keyring = make_keyring(KEY, DIGEST, PUBLIC)

    assert [open_keyring(keyring, DIGEST, secret) for secret in SECRETS] == [KEY] * len(SECRETS)
    assert open_keyring(keyring, DIGEST, make_key()) is None


def test_a_keyring_opens_the_release_it_was_made_for_only() -> None:
    assert open_keyring(make_keyring(KEY, DIGEST, PUBLIC), OTHER_DIGEST, SECRETS[0]) is None


def test_a_keyring_does_not_tell_who_its_recipients_are() -> None:
    first, second = make_keyring(KEY, DIGEST, PUBLIC), make_keyring(KEY, DIGEST, PUBLIC)

    assert len(first) == len(second)
    assert not any(public in first for public in PUBLIC)
    entries = [{keyring[at : at + 56] for at in range(54, len(keyring), 56)} for keyring in (first, second)]
    assert len(entries[0]) == len(PUBLIC)
    assert not entries[0] & entries[1]
    ordered = [first[at : at + 56] for at in range(54, len(first), 56)]
    assert ordered == sorted(ordered)  # not as they were named


def test_a_recipient_that_is_named_twice_is_one() -> None:
    assert len(make_keyring(KEY, DIGEST, PUBLIC[:1] * 3)) == len(make_keyring(KEY, DIGEST, PUBLIC[:1]))


@pytest.mark.parametrize("point", SMALL_ORDER)
def test_a_recipient_key_of_small_order_is_refused_because_anybody_could_read(point: str) -> None:
    with pytest.raises(ValueError, match="small order"):
        make_keyring(KEY, DIGEST, [*PUBLIC, bytes.fromhex(point)])


@pytest.mark.parametrize("point", SMALL_ORDER)
def test_a_keyring_with_an_ephemeral_key_of_small_order_is_refused(point: str) -> None:
    keyring = make_keyring(KEY, DIGEST, PUBLIC)
    altered = keyring.replace(keyring[22:54], bytes.fromhex(point))

    assert "small order" in str(refused(lambda: open_keyring(altered, DIGEST, SECRETS[0])))


def test_a_truncated_keyring_is_refused_or_lacks_whole_recipients() -> None:
    keyring = make_keyring(KEY, DIGEST, PUBLIC[:1])
    for size in range(len(keyring)):
        if size == 54:  # a whole keyring for nobody
            assert open_keyring(keyring[:size], DIGEST, SECRETS[0]) is None
        else:
            refused(lambda size=size: open_keyring(keyring[:size], DIGEST, SECRETS[0]))


def test_an_altered_entry_is_refused() -> None:
    keyring = bytearray(make_keyring(KEY, DIGEST, PUBLIC[:1]))
    keyring[-1] ^= 1

    assert "altered" in str(refused(lambda: open_keyring(bytes(keyring), DIGEST, SECRETS[0])))


@given(keyring=st.binary(max_size=300) | st.binary(max_size=300).map(lambda rest: b"edge-deploy keyring 1\n" + rest))
def test_no_keyring_breaks_out_of_artifact_error(keyring: bytes) -> None:
    try:
        assert open_keyring(keyring, DIGEST, SECRETS[0]) is None
    except ArtifactError:
        return


def test_keys_survive_as_text() -> None:
    for secret, public in zip(SECRETS, PUBLIC, strict=True):
        assert parse_secret(format_secret(secret)) == secret
        assert parse_public(format_public(public)) == public


@pytest.mark.parametrize("text", ["", "edge-x25519:", "edge-x25519:" + "A" * 42, "edge-x25519:" + "A" * 44, "A" * 43])
def test_text_that_is_no_key_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no key"):
        parse_public(text)


def test_a_public_key_has_one_text_only() -> None:
    text = format_public(PUBLIC[0])
    last = "AEIMQUYcgkosw048"
    others = [text[:-1] + other for other in "BCDFGH" if other not in last]
    for other in others:  # bits that no byte has
        with pytest.raises(ValueError, match="no key"):
            parse_public(other)


def test_a_secret_is_no_public_key_and_no_error_repeats_it() -> None:
    text = format_secret(SECRETS[0])
    for parse in (parse_public, lambda text: parse_secret(text + "x")):
        with pytest.raises(ValueError, match="no key") as caught:
            parse(text)
        assert text[-20:] not in str(caught.value)


def test_nothing_foreign_is_imported_until_something_is_sealed_or_opened() -> None:
    code = (
        "import sys, edge_agent.release.sealing, edge_agent.release.device_key, edge_agent.service.compose;"
        "print([name for name in sys.modules if name.split('.')[0] == 'cryptography'],"
        " 'edge_agent.link.https' in sys.modules)"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.split() == ["[]", "False"]
