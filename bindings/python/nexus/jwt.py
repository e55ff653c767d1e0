"""Tokens: nexus/jwt.h."""
import ctypes
import json

from ._library import OUT, P, SIZE, SIZE_OUT, SLICE_OUT, TEXT, Handle, Slice, function, take

_generate = function("nexus_key_generate", "status", OUT, TEXT, TEXT)
_parse_jwk = function("nexus_key_parse_jwk", "status", OUT, TEXT, SIZE, TEXT)
_print_jwk = function("nexus_key_print_jwk", "status", P, ctypes.c_bool, OUT, SIZE_OUT)
_key_id = function("nexus_key_id", TEXT, P)
_key_alg = function("nexus_key_alg", TEXT, P)
_key_free = function("nexus_key_free", None, P)
_set_parse = function("nexus_keyset_parse", "status", OUT, TEXT, SIZE, P)
_set_free = function("nexus_keyset_free", None, P)
_sign = function("nexus_jwt_sign", "status", OUT, SIZE_OUT, P, TEXT, TEXT, SIZE)
_claims_json = function("nexus_claims_json", None, P, SLICE_OUT)
_claims_free = function("nexus_claims_free", None, P)


class _Rules(ctypes.Structure):
    _fields_ = [("size", SIZE), ("issuer", TEXT), ("audience", TEXT), ("typ", TEXT), ("now_s", ctypes.c_int64),
                ("skew_s", ctypes.c_uint32), ("max_lifetime_s", ctypes.c_uint32)]


_verify = function("nexus_jwt_verify", "status", P, TEXT, SIZE, ctypes.POINTER(_Rules), OUT)


class Key(Handle):
    """One signing or verification key."""

    _end = _key_free

    @classmethod
    def generate(cls, alg="ES256", kid=None):
        out = P()
        _generate(ctypes.byref(out), alg.encode(), kid.encode() if kid else None)
        return cls(out)

    @classmethod
    def from_jwk(cls, jwk, alg=None):
        out, text = P(), json.dumps(jwk).encode()
        _parse_jwk(ctypes.byref(out), text, len(text), alg.encode() if alg else None)
        return cls(out)

    @property
    def kid(self):
        return _key_id(self).decode()

    @property
    def alg(self):
        return _key_alg(self).decode()

    def jwk(self, private=False):
        out, size = P(), SIZE()
        _print_jwk(self, private, ctypes.byref(out), ctypes.byref(size))
        return json.loads(take(out, size))

    def sign(self, claims, typ="at+jwt"):
        out, size, text = P(), SIZE(), json.dumps(claims).encode()
        _sign(ctypes.byref(out), ctypes.byref(size), self, typ.encode(), text, len(text))
        return take(out, size).decode()


class KeySet(Handle):
    """A JWK Set that verifies tokens."""

    _end = _set_free

    def __init__(self, jwks):
        out, text = P(), json.dumps(jwks).encode()
        _set_parse(ctypes.byref(out), text, len(text), None)
        super().__init__(out)

    def verify(self, token, issuer, audience, typ="at+jwt", now=0):
        """The claims of a valid token; NexusError (NEXUS_EAUTH) for every other."""
        rules = _Rules(ctypes.sizeof(_Rules), issuer.encode(), audience.encode(), typ.encode(), now, 0, 0)
        claims, raw = P(), token.encode()
        _verify(self, raw, len(raw), ctypes.byref(rules), ctypes.byref(claims))
        try:
            text = Slice()
            _claims_json(claims, ctypes.byref(text))
            return json.loads(text.bytes())
        finally:
            _claims_free(claims)
