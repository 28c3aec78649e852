#!/usr/bin/env python3
"""Reads one topic and verifies each message, as docs/spec/message.md says: executions on a lane's topic, notices of
dead letters and of forged messages on a dead-letter topic.

usage: verify.py --keyring keyring.toml --topic persistent://TENANT/NAMESPACE/dealscale.workflow.short
                 [--service-url pulsar://...] [--token-file FILE] [--count N] [--wait SECONDS]
       verify.py --keyring keyring.toml --topic persistent://TENANT/NAMESPACE/dealscale.deadletter.dealscale.workflow.short ...

Prints one line of JSON a message: its claims, or the verdict and the reason. Exit code 0: --count messages were read
within --wait; 1: fewer. It reads without a subscription: the bridge's consumers get every message all the same, and no
backlog is left behind.
"""

import argparse
import base64
import hashlib
import hmac
import json
import re
import sys
import time
import tomllib
import uuid
from urllib.parse import urlparse

import pulsar
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import load_pem_public_key

# The names of the lanes' topics, as the bridge has them unless it is told otherwise.
LANES = {
    "dealscale.workflow.short", "dealscale.workflow.long", "dealscale.ai.inference", "dealscale.analytics.events",
}
DEAD_LETTERS = {f"dealscale.deadletter.{lane}" for lane in LANES}
CLAIMS = dict(v=int, iss=str, aud=str, sub=str, tid=str, iat=int, exp=int, jti=str, att=int, psh=str)
NOTICE = dict(v=int, iss=str, aud=str, sub=str, tid=str, iat=int, exp=int, jti=str, kind=str, reason=str, detail=dict)
LEEWAY = 60
LONGEST = 4096


class Rejected(Exception):
    """args: the verdict (forged or stale) and the reason."""


class Hmac:
    def __init__(self, entry):
        self.alg, self.retired = "HS256", entry.get("retired", False)
        self.secret = base64.b64decode(entry["secret"], validate=True)

    def good(self, signature, signed):
        return hmac.compare_digest(hmac.digest(self.secret, signed, hashlib.sha256), signature)


class Ed25519:
    def __init__(self, entry):
        self.alg, self.retired = "EdDSA", entry.get("retired", False)
        self.key = load_pem_public_key(entry["public_pem"].encode())

    def good(self, signature, signed):
        try:
            self.key.verify(signature, signed)
        except InvalidSignature:
            return False
        return True


def keyring(path):
    with open(path, "rb") as file:
        entries = tomllib.load(file)["keys"]
    kinds = {"HS256": Hmac, "EdDSA": Ed25519}
    return {entry["kid"]: kinds[entry["alg"]](entry) for entry in entries}


def unbase64(part):
    raw = base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
    # The decoder ignores unused bits and foreign letters; a signature must have one spelling only.
    if base64.urlsafe_b64encode(raw).rstrip(b"=").decode() != part:
        raise ValueError("not the one spelling of these bytes")
    return raw


def parse(raw):
    def once(pairs):
        if len(dict(pairs)) != len(pairs):
            raise ValueError("a field twice")
        return dict(pairs)

    if not raw.startswith(b"{"):
        raise ValueError("not an object")
    return json.loads(raw.decode(), object_pairs_hook=once)


def exact(fields, types):
    return fields.keys() == types.keys() and all(type(fields[name]) is kind for name, kind in types.items())


def is_id(sub):
    return len(sub) == 36 and uuid.UUID(sub).version == 7


def is_tenant(tid):
    return re.fullmatch("[a-z0-9][a-z0-9-]{0,62}", tid) is not None


class Work:
    """An execution that shall be fired: what a lane's topic carries."""

    topics = LANES

    @staticmethod
    def well_formed(claims):
        return (
            exact(claims, CLAIMS)
            and 0 <= claims["att"] <= 65535
            and len(unbase64(claims["psh"])) == 32
            and is_tenant(claims["tid"])
            and is_id(claims["sub"])
        )


class Notice:
    """A dead letter, or a forged message that was refused: what a dead-letter topic carries."""

    topics = DEAD_LETTERS

    @staticmethod
    def well_formed(claims):
        # It may belong to no execution.
        types = {name: kind for name, kind in NOTICE.items() if name != "sub" or "sub" in claims}
        return exact(claims, types) and is_tenant(claims["tid"]) and ("sub" not in claims or is_id(claims["sub"]))


def local_name(topic):
    path = urlparse(topic).path.strip("/").split("/")
    return path[1] if len(path) == 2 else None


def tenant_of(topic, topics):
    """The tenant of one of these topics of the bridge; None for every other topic."""
    return urlparse(topic).netloc if local_name(topic) in topics else None


def verify(body, received_from, now, keys, kind=Work):
    """The claims of a good message, or of a good notice. The order of the checks is the specification's."""
    if len(body) > LONGEST:
        raise Rejected("forged", "oversize")
    try:
        head, middle, tail = body.decode("ascii").split(".")
        header, raw, signature = parse(unbase64(head)), unbase64(middle), unbase64(tail)
        if not exact(header, dict(alg=str, kid=str, typ=str)) or header["typ"] != "JWT":
            raise ValueError("not this header")
    except ValueError:
        raise Rejected("forged", "junk") from None
    key = keys.get(header["kid"])
    if key is None:
        raise Rejected("stale", "unknown_key")
    if key.retired:
        raise Rejected("stale", "retired_key")
    if header["alg"] != key.alg:
        raise Rejected("forged", "algorithm")
    if not key.good(signature, f"{head}.{middle}".encode()):
        raise Rejected("forged", "signature")
    try:
        claims = parse(raw)
        if type(claims.get("v")) is not int or claims["v"] < 0:
            raise ValueError("no version")
        if claims["v"] != 1:
            raise Rejected("stale", "version")
        if not kind.well_formed(claims):
            raise ValueError("not these claims")
    except ValueError:
        raise Rejected("forged", "junk") from None
    topic = re.sub("-partition-[0-9]+$", "", received_from)
    tenant = tenant_of(topic, kind.topics)
    if tenant is None or claims["aud"] != topic:
        raise Rejected("forged", "audience")
    if claims["tid"] != tenant:
        raise Rejected("forged", "tenant")
    if now > claims["exp"] + LEEWAY:
        raise Rejected("stale", "expired")
    return claims


def read(options, keys):
    token = None
    if options.token_file:
        with open(options.token_file, encoding="ascii") as file:
            token = pulsar.AuthenticationToken(file.read().strip())
    client = pulsar.Client(options.service_url, authentication=token, logger=pulsar.ConsoleLogger(pulsar.LoggerLevel.Error))
    kind = Notice if local_name(options.topic) in DEAD_LETTERS else Work
    seen, deadline = 0, time.monotonic() + options.wait
    try:
        reader = client.create_reader(options.topic, pulsar.MessageId.earliest)
        while seen < options.count:
            left = deadline - time.monotonic()
            if left <= 0:
                break
            try:
                message = reader.read_next(timeout_millis=max(1, int(left * 1000)))
            except pulsar.Timeout:
                break
            try:
                line = {"claims": verify(message.data(), options.topic, time.time(), keys, kind)}
            except Rejected as rejected:
                line = {"verdict": rejected.args[0], "reason": rejected.args[1]}
            print(json.dumps(line), flush=True)
            seen += 1
    finally:
        client.close()
    return 0 if seen == options.count else 1


def main():
    parser = argparse.ArgumentParser(description="Verifies the messages of one topic of the bridge.")
    parser.add_argument("--keyring", required=True)
    parser.add_argument("--topic", required=True)
    parser.add_argument("--service-url", default="pulsar://127.0.0.1:6650")
    parser.add_argument("--token-file", help="a role that may consume from the topic")
    parser.add_argument("--count", type=int, default=1)
    parser.add_argument("--wait", type=float, default=30.0)
    options = parser.parse_args()
    return read(options, keyring(options.keyring))


if __name__ == "__main__":
    sys.exit(main())
