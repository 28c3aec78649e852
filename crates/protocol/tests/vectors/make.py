#!/usr/bin/env python3
"""Makes the golden vectors beside it. Written without a line of the Rust code, on purpose: that the
Rust keyring signs the same bytes shows that the specification is enough to build on.
Needs the `cryptography` package. The keys are the published test keys of RFC 7515 A.1 and RFC 8032 7.1."""

import base64, hashlib, hmac, json, pathlib
from cryptography.hazmat.primitives import serialization as ser
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

HERE = pathlib.Path(__file__).parent
SECRET = base64.urlsafe_b64decode(
    "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow==")
OLD_SECRET = hashlib.sha256(b"the retired key of the vectors").digest()
SEED = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
PRIVATE = Ed25519PrivateKey.from_private_bytes(SEED)
PUBLIC_RAW = PRIVATE.public_key().public_bytes(ser.Encoding.Raw, ser.PublicFormat.Raw)
PUBLIC_PEM = PRIVATE.public_key().public_bytes(ser.Encoding.PEM, ser.PublicFormat.SubjectPublicKeyInfo).decode()
PRIVATE_PEM = PRIVATE.private_bytes(ser.Encoding.PEM, ser.PrivateFormat.PKCS8, ser.NoEncryption()).decode()

IAT = 1_763_712_000  # 2025-11-21T08:00:00Z
EXP = IAT + 86_400
TOPIC = "persistent://acme/workflows/dealscale.workflow.long"
SUB = "%08x-%04x-7c3e-8b1d-2f6e4a9c0d11" % divmod(IAT * 1000, 1 << 16)  # its first 48 bits are the time

def b64(data): return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
def js(value): return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))

def claims(**changes):
    base = dict(v=1, iss="n8n-pulsar-bridge", aud=TOPIC, sub=SUB, tid="acme", iat=IAT, exp=EXP,
                jti="01JD6Z8K9Q", att=1, psh=b64(hashlib.sha256(b'{"hello":"world"}').digest()))
    base.update(changes)
    return {k: v for k, v in base.items() if v is not ...}

def head(alg, kid, **more): return {"alg": alg, "kid": kid, "typ": "JWT", **more}
HS, ED = head("HS256", "2026-hs"), head("EdDSA", "2026-ed")
def hs(signed, secret=SECRET): return hmac.new(secret, signed.encode(), hashlib.sha256).digest()
def ed(signed): return PRIVATE.sign(signed.encode())

def token(header, body, sign):
    signed = b64(js(header).encode()) + "." + b64(js(body).encode())
    return signed + "." + b64(sign(signed))

def spare_bits(message):
    """The same content with another last letter: base64url leaves bits there that decoders may ignore."""
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return message[:-1] + letters[letters.index(message[-1]) + 1]

accepted, rejected = [], []
def good(name, message, note, received_from=TOPIC, now=IAT + 5, resigned=True):
    header, body, _ = message.split(".")
    text = lambda part: base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)).decode()
    accepted.append(dict(name=name, note=note, received_from=received_from, now=now, header=text(header),
                         claims=json.loads(text(body)), resigning_yields_the_same_bytes=resigned, message=message))
def bad(name, verdict, message, note, received_from=TOPIC, now=IAT + 5):
    kind, reason = verdict.split("/")
    rejected.append(dict(name=name, note=note, received_from=received_from, now=now,
                         kind=kind, reason=reason, message=message))

plain_hs, plain_ed = token(HS, claims(), hs), token(ED, claims(), ed)
good("hs256", plain_hs, "HMAC with SHA-256, key 2026-hs")
good("eddsa", plain_ed, "Ed25519, key 2026-ed")
good("partition", plain_hs, "received from a partition; aud names the whole topic", TOPIC + "-partition-3")
good("exp plus leeway", plain_ed, "the last second in which it is accepted", now=EXP + 60)
good("before iat", plain_hs, "iat is not checked: clocks differ, and exp bounds the life", now=IAT - 3600)
good("later attempt", token(HS, claims(att=5, jti="01JD6Z8K9R"), hs), "published for the fifth attempt")
good("other order", token({"typ": "JWT", "kid": "2026-ed", "alg": "EdDSA"}, dict(reversed(claims().items())), ed),
     "the order of fields carries no meaning for a verifier; a signer keeps the order of the specification",
     resigned=False)

bad("oversize", "forged/oversize", plain_hs + "A" * (4097 - len(plain_hs)), "4097 bytes")
h, c, s = plain_hs.split(".")
for name, text, note in [
    ("empty", "", "nothing at all"),
    ("one part", "hello", "no dots"),
    ("two parts", h + "." + c, "no signature"),
    ("four parts", plain_hs + "." + s, "a part too many"),
    ("newline", plain_hs + "\n", "a letter that is not base64url"),
    ("padded", plain_hs + "=", "padding is not base64url as JWS uses it"),
    ("spare bits hs256", spare_bits(plain_hs), "last letter changed; decodes to the same 32 bytes"),
    ("spare bits eddsa", spare_bits(plain_ed), "last letter changed; decodes to the same 64 bytes"),
    ("header not json", token("hello", claims(), hs), "the first part is no JSON"),
    ("header is a list", token(["HS256", "2026-hs", "JWT"], claims(), hs), "JSON, but no object"),
    ("header field unknown", token(head("HS256", "2026-hs", crit=["x"]), claims(), hs), "only alg, kid and typ"),
    ("header field twice", token('{"alg":"HS256","alg":"HS256","kid":"2026-hs","typ":"JWT"}', claims(), hs), "alg twice"),
    ("header without typ", token({"alg": "HS256", "kid": "2026-hs"}, claims(), hs), "typ is required"),
    ("header typ other", token({**HS, "typ": "at+jwt"}, claims(), hs), "a token of another kind"),
    ("header without kid", token({"alg": "HS256", "typ": "JWT"}, claims(), hs), "kid is required"),
]: bad(name, "forged/junk", text, note)
bad("unknown key", "stale/unknown_key", token(head("HS256", "2027-hs"), claims(), hs), "a rollout has reached the signer first")
bad("retired key", "stale/retired_key", token(head("HS256", "2025-old"), claims(), lambda m: hs(m, OLD_SECRET)), "well signed, by a key that is no longer accepted")
bad("alg none", "forged/algorithm", token(head("none", "2026-hs"), claims(), lambda m: b""), "no signature asked for")
bad("alg confusion", "forged/algorithm", token(head("HS256", "2026-ed"), claims(), lambda m: hs(m, PUBLIC_RAW)), "HMAC keyed with the public key")
bad("alg confusion pem", "forged/algorithm", token(head("HS256", "2026-ed"), claims(), lambda m: hs(m, PUBLIC_PEM.encode())), "HMAC keyed with the public key's PEM")
bad("alg of another key", "forged/algorithm", token(head("EdDSA", "2026-hs"), claims(), ed), "the algorithm must be the key's own")
bad("other secret", "forged/signature", token(HS, claims(), lambda m: hs(m, OLD_SECRET)), "signed by somebody else")
bad("cut signature", "forged/signature", h + "." + c + "." + s[:40], "30 bytes of a good signature")
bad("no signature", "forged/signature", h + "." + c + ".", "three parts, the last one empty")
bad("claims changed", "forged/signature", h + "." + b64(js(claims(att=2)).encode()) + "." + s, "signature of other claims")
bad("unverified version", "forged/signature", h + "." + b64(js(claims(v=2)).encode()) + "." + s, "claims are not looked at before the signature is good")
bad("unverified expiry", "forged/signature", h + "." + b64(js(claims(exp=1)).encode()) + "." + s, "claims are not looked at before the signature is good")
bad("newer version", "stale/version", token(HS, claims(v=2, new="field"), hs), "a newer bridge may say more; that is skew, not forgery")
for name, body, note in [
    ("claim unknown", claims(url="http://example.com"), "well signed, but this version has no such claim"),
    ("claim missing", claims(psh=...), "every claim is required"),
    ("claim twice", js(claims())[:-1] + ',"tid":"acme"}', "tid twice"),
    ("claims a list", list(claims().values()), "JSON, but no object"),
    ("claims trailing", js(claims()) + "{}", "something behind the object"),
    ("version as text", claims(v="1"), "v is a number"),
    ("sub not version 7", claims(sub="6f1f4f0e-3c1a-4a57-9d0e-0b6f5f0d9c11"), "a version 4 UUID"),
    ("psh short", claims(psh="AAAA"), "three bytes instead of 32"),
    ("tid not an id", claims(tid="Acme"), "tenant ids are lower case"),
    ("att too large", claims(att=65536), "att has 16 bits"),
    ("iat a fraction", claims(iat=IAT + 0.5), "whole seconds"),
]: bad(name, "forged/junk", token(HS, body, hs), note)
bad("other lane", "forged/audience", plain_hs, "same tenant, other lane", "persistent://acme/workflows/dealscale.workflow.short")
bad("other tenant's topic", "forged/audience", plain_ed, "replayed onto another tenant's topic", "persistent://globex/workflows/dealscale.workflow.long")
bad("other namespace", "forged/audience", plain_hs, "a topic that is not the bridge's", "persistent://acme/other/dealscale.workflow.long")
DEAD = "persistent://acme/workflows/dealscale.deadletter.dealscale.workflow.long"
bad("dead letter topic", "forged/audience", token(HS, claims(aud=DEAD), hs), "nothing is fired from a dead-letter topic", DEAD)
bad("aud with partition", "forged/audience", token(HS, claims(aud=TOPIC + "-partition-0"), hs), "aud names the whole topic", TOPIC + "-partition-0")
bad("foreign tenant", "forged/tenant", token(ED, claims(tid="globex"), ed), "well signed for this topic, but for another tenant")
bad("expired", "stale/expired", plain_hs, "one second past exp and leeway", now=EXP + 61)

def notice(**changes):
    base = dict(v=1, iss="n8n-pulsar-bridge", aud=DEAD, sub=SUB, tid="acme", iat=IAT, exp=EXP, jti="notice-17",
                kind="dead_lettered", reason="attempts_exhausted",
                detail={"attempts": 5, "error": "the webhook answered 500", "workflow_id": "lead-enrichment"})
    base.update(changes)
    return {k: v for k, v in base.items() if v is not ...}

notices = [dict(name=name, note=note, received_from=received_from, now=IAT + 5, kid=header["kid"], claims=body,
                message=token(header, body, sign))
           for name, header, sign, body, received_from, note in [
    ("dead letter hs256", HS, hs, notice(), DEAD, "an execution whose last attempt failed"),
    ("dead letter eddsa", ED, ed, notice(), DEAD + "-partition-1", "the same, signed by the other key, from a partition"),
    ("forged message", HS, hs, notice(sub=..., jti="notice-18", kind="forged", reason="signature",
     detail={"message_id": "12:3:0", "topic": TOPIC}), DEAD, "belongs to no execution: there is no sub"),
    ("no detail", ED, ed, notice(detail={}), DEAD, "detail is an object, and may be empty"),
]]

rejected_notices = [dict(name=name, note=note, received_from=received_from, now=now, kind=verdict.split("/")[0],
                         reason=verdict.split("/")[1], message=token(header, body, hs))
                    for name, verdict, header, body, received_from, now, note in [
    ("work", "forged/junk", HS, claims(aud=DEAD), DEAD, IAT + 5, "an execution's message is no notice, wherever it stands"),
    ("claim of a message", "forged/junk", HS, notice(att=1), DEAD, IAT + 5, "a notice has no attempt"),
    ("detail a list", "forged/junk", HS, notice(detail=[]), DEAD, IAT + 5, "detail is an object"),
    ("sub empty", "forged/junk", HS, notice(sub=""), DEAD, IAT + 5, "who belongs to no execution has no sub at all"),
    ("kind missing", "forged/junk", HS, notice(kind=...), DEAD, IAT + 5, "every claim but sub is required"),
    ("lane's topic", "forged/audience", HS, notice(aud=TOPIC), TOPIC, IAT + 5, "no notice is read from a lane's topic"),
    ("other dead letters", "forged/audience", HS, notice(), DEAD.replace("long", "short"), IAT + 5, "another lane's"),
    ("foreign tenant", "forged/tenant", HS, notice(tid="globex"), DEAD, IAT + 5, "well signed for this topic, but for another tenant"),
    ("unknown key", "stale/unknown_key", head("HS256", "2027-hs"), notice(), DEAD, IAT + 5, "a rollout has reached the signer first"),
    ("newer version", "stale/version", HS, notice(v=2, new="field"), DEAD, IAT + 5, "a newer bridge may say more"),
    ("expired", "stale/expired", HS, notice(), DEAD, EXP + 61, "one second past exp and leeway"),
]]

def write(name, vectors):
    (HERE / name).write_text(json.dumps(vectors, indent=2) + "\n")
write("accepted.json", accepted)
write("rejected.json", rejected)
write("notices.json", notices)
write("rejected_notices.json", rejected_notices)
b = lambda data: base64.b64encode(data).decode()
(HERE / "keyring.toml").write_text(f'''# Keys of the golden vectors: published test keys, good for nothing else.
signing = "2026-hs"

[[keys]]
kid = "2026-hs"
alg = "HS256"
secret = "{b(SECRET)}"

[[keys]]
kid = "2026-ed"
alg = "EdDSA"
public_pem = """
{PUBLIC_PEM}"""
private_pem = """
{PRIVATE_PEM}"""

[[keys]]
kid = "2025-old"
alg = "HS256"
secret = "{b(OLD_SECRET)}"
retired = true
''')
