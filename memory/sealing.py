"""Sealing what people said, with a key of the person's own: dropping it erases the words everywhere.

A prompt that holds the words of several people is sealed with all their keys together, and shut for good when
one of them is dropped. AES-256-GCM, with a random nonce before the ciphertext, as URL-safe base64.
"""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Iterable

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

NONCE_BYTES = 12


def new_key() -> str:
    """Return a person's key: 32 random bytes as base64."""
    return base64.urlsafe_b64encode(os.urandom(32)).decode()


def seal(text: str, keys: Iterable[str]) -> str:
    """Return a text that only all of `keys`, in this order, open. Sealing twice gives two different texts."""
    nonce = os.urandom(NONCE_BYTES)
    sealed = _cipher(keys).encrypt(nonce, text.encode("utf-8", "surrogatepass"), None)
    return base64.urlsafe_b64encode(nonce + sealed).decode()


def unseal(sealed: str, keys: Iterable[str]) -> str:
    """Undo `seal`. Raises ValueError when it was sealed with other keys, or changed since."""
    try:
        content = base64.urlsafe_b64decode(sealed.encode())
        text = _cipher(keys).decrypt(content[:NONCE_BYTES], content[NONCE_BYTES:], None)
    except (InvalidTag, ValueError) as error:
        raise ValueError("what is sealed here was sealed with other keys, or is damaged") from error
    return text.decode("utf-8", "surrogatepass")


def _cipher(keys: Iterable[str]) -> AESGCM:
    return AESGCM(hashlib.sha256(b"".join(base64.urlsafe_b64decode(key) for key in keys)).digest())
