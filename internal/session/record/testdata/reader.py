"""A reader of recordings, written from docs/formats/recording.md alone.

    reader.py DIRECTORY PUBLIC-KEY.pem [CONTENT-KEY]

verifies session.rec and seal.json in DIRECTORY. With the content key, in
hexadecimal, it also decrypts the records, and the tails of a recording that is
not sealed. It prints JSON. It needs only Python's standard library: Ed25519
(RFC 8032), AES-256-GCM (SP 800-38D) and Zstandard (RFC 8878) are in the other
files of this folder. They are slow, and not safe against timing attacks.
"""

import base64
import hashlib
import json
import os
import struct
import sys

import aesgcm
import ed25519
import zstd

HEADER, RECORDS, INDEX = 0, 1, 2
COMPRESSED, ENCRYPTED, KEYFRAME = 1, 2, 4
MAX_BLOCK, MAX_HEADER = 4 << 20, 64 << 10
SPKI_PREFIX = bytes.fromhex("302a300506032b6570032100")


class Invalid(Exception):
    pass


def check(condition, problem):
    if not condition:
        raise Invalid(problem)


def uvarint(b, i):
    value = shift = 0
    while True:
        check(i < len(b) and shift < 64, "a number is cut short")
        value |= (b[i] & 0x7F) << shift
        shift += 7
        i += 1
        if b[i - 1] < 0x80:
            return value, i


def varint(b, i):
    value, i = uvarint(b, i)
    return (value >> 1) ^ -(value & 1), i


def read_public_key(name):
    with open(name) as f:
        lines = [line for line in f.read().split("\n") if line and not line.startswith("-")]
    der = base64.b64decode("".join(lines))
    check(der.startswith(SPKI_PREFIX) and len(der) == len(SPKI_PREFIX) + 32, "not an Ed25519 key")
    return der[len(SPKI_PREFIX):], hashlib.sha256(der).hexdigest()


def split_blocks(data):
    """Yields header fields, header, payload and signature of each block."""
    at = 0
    while at < len(data):
        header = data[at:at + 128]
        check(len(header) == 128, "the file ends within a block")
        magic, kind, flags, zero1, stored, plain, records, zero2 = struct.unpack(">4sBBHIIII", header[:24])
        number, first, last, total, out, typed = struct.unpack(">6Q", header[24:72])
        check(magic == b"SBK2", "not a block")
        check(kind <= INDEX and flags < 8 and zero1 == zero2 == 0 and header[84:88] == bytes(4), "unknown bits")
        limit = MAX_HEADER if kind == HEADER else MAX_BLOCK
        check(plain <= limit and stored <= limit + limit // 64 + 1024, "the block is too large")
        end = at + 128 + stored + 64
        check(end <= len(data), "the file ends within a block")
        fields = {
            "offset": at, "size": end - at, "kind": kind, "flags": flags, "plain": plain, "records": records,
            "number": number, "first": first, "last": last, "total": total, "out": out, "in": typed,
            "nonce": header[72:84], "key": header[88:96], "prev": header[96:128],
        }
        yield fields, header, data[at + 128:end - 64], data[end - 64:end]
        at = end


def unpack(fields, header, payload, content_key):
    if fields["flags"] & ENCRYPTED:
        payload = aesgcm.decrypt(content_key, fields["nonce"], payload, b"B" + header)
        check(payload is not None, "the block cannot be decrypted")
    if fields["flags"] & COMPRESSED:
        payload = zstd.decompress(payload, fields["plain"])
    check(len(payload) == fields["plain"], "the block has another size")
    return payload


def parse_records(payload):
    """Yields kind, time and data. The time of the first record is since the start."""
    i = time = 0
    while i < len(payload):
        kind = chr(payload[i])
        delta, i = uvarint(payload, i + 1)
        size, i = uvarint(payload, i)
        check(i + size <= len(payload), "a record is cut short")
        time += delta
        yield kind, time, payload[i:i + size]
        i += size


def describe(kind, time, data):
    r = {"kind": kind, "time": time}
    if kind == "r":
        r["cols"], i = uvarint(data, 0)
        r["rows"], i = uvarint(data, i)
    elif kind == "h":
        r["hidden"], _ = uvarint(data, 0)
    elif kind == "x":
        r["status"], i = varint(data, 0)
        r["reason"] = data[i:].decode()
    elif kind == "j":
        size, i = uvarint(data, 1)
        r["by"] = data[i:i + size].decode()
        if data[0] == 1:
            r["hidden"], _ = uvarint(data, i + size)
        else:
            r["data"] = data[i + size:].hex()
    elif kind == "k":
        r["cols"], i = uvarint(data, 0)
        r["rows"], i = uvarint(data, i)
        r["data"] = data[i:].hex()
    elif kind == "p":
        r["direction"] = data[0]
        r["connection"], i = uvarint(data, 1)
        r["data"] = data[i:].hex()
    elif kind in "tcf":
        r["json"] = json.loads(data)
    elif kind == "m":
        r["text"] = data.decode()
    else:
        r["data"] = data.hex()
    return r


def check_index(index, blocks):
    count, i = uvarint(index, 0)
    check(count == len(blocks), "the index has another number of blocks")
    previous = {"last": 0, "total": 0, "out": 0, "in": 0}
    for b in blocks:
        want = [
            1 if b["flags"] & KEYFRAME else 0, b["size"], b["first"] - previous["last"], b["last"] - b["first"],
            b["total"] - previous["total"], b["out"] - previous["out"], b["in"] - previous["in"],
        ]
        got = [index[i]]
        i += 1
        for _ in range(6):
            value, i = uvarint(index, i)
            got.append(value)
        check(got == want, "the index contradicts block %d" % b["number"])
        previous = b
    check(i == len(index), "the index is too long")


def verify_line(line, purpose, public_key):
    body, separator, rest = line.rpartition(b',"sig":"')
    check(separator and rest.endswith(b'"}') and len(rest) == 90, "a line has no signature")
    check(ed25519.verify(public_key, purpose + b"\n" + body, base64.b64decode(rest[:-2])), "a signature does not match")
    return json.loads(line)


def read_tails(directory, number, content_key):
    """Yields the records that are not in session.rec yet."""
    for n in (number, number + 1):
        name = os.path.join(directory, "session.tail.%d" % (n % 2))
        if not os.path.exists(name):
            return
        with open(name, "rb") as f:
            tail = f.read()
        at, frame, payload = 0, 0, b""
        while at + 28 <= len(tail):
            block, f, size = struct.unpack(">QII", tail[at:at + 16])
            if block != n or f != frame:
                break
            records = aesgcm.decrypt(content_key, tail[at + 16:at + 28], tail[at + 28:at + 28 + size], b"T" + tail[at:at + 16])
            if records is None:
                break
            payload += records
            at += 28 + size
            frame += 1
        yield from parse_records(payload)


def main(directory, key_file, content_key=None):
    public_key, fingerprint = read_public_key(key_file)
    content_key = bytes.fromhex(content_key) if content_key else None
    with open(os.path.join(directory, "session.rec"), "rb") as f:
        data = f.read()
    out = {"records": []}
    blocks, digest = [], bytes(32)
    for fields, header, payload, signature in split_blocks(data):
        check(fields["number"] == len(blocks) and fields["prev"] == digest, "block %d does not follow" % len(blocks))
        check(not blocks or blocks[-1]["kind"] != INDEX, "a block follows the index")
        check((fields["kind"] == HEADER) == (not blocks), "the header is not the first block")
        check(fields["key"].hex() == fingerprint[:16], "signed with another key")
        message = b"sekisho recording block 2\n" + hashlib.sha256(header + payload).digest()
        check(ed25519.verify(public_key, message, signature), "the signature of block %d does not match" % len(blocks))
        digest = hashlib.sha256(header + payload + signature).digest()
        if fields["kind"] == HEADER:
            out["header"] = json.loads(payload)
            check(out["header"]["format"] == "sekisho-recording-2", "unknown format")
        elif fields["kind"] == INDEX:
            check_index(unpack(fields, header, payload, None), blocks)
        elif content_key:
            records = list(parse_records(unpack(fields, header, payload, content_key)))
            check(len(records) == fields["records"], "another number of records")
            check(bool(fields["flags"] & KEYFRAME) == (records[0][0] == "k"), "the flag of the keyframe is wrong")
            out["records"] += [describe(*r) for r in records]
        blocks.append(fields)
    out["blocks"] = len(blocks)
    last = blocks[-1]
    seal_name = os.path.join(directory, "seal.json")
    if os.path.exists(seal_name):
        with open(seal_name, "rb") as f:
            text = f.read()
        check(text.endswith(b"\n"), "the seal is cut short")
        seal = verify_line(text[:-1], b"sekisho recording seal 1", public_key)
        check(seal["format"] == "sekisho-seal-2" and seal["key"] == fingerprint, "unknown seal")
        check(seal["session"] == out["header"]["session_id"], "the seal belongs to another session")
        want = {
            "file_bytes": len(data), "blocks": len(blocks), "head": digest.hex(), "index": last["offset"],
            "events": last["total"], "bytes_out": last["out"], "bytes_in": last["in"], "duration_us": last["last"],
        }
        check(all(seal[k] == v for k, v in want.items()), "the seal contradicts the recording")
        out["sealed"] = True
    elif content_key:
        out["records"] += [describe(*r) for r in read_tails(directory, len(blocks), content_key)]
    json.dump(out, sys.stdout)


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except Invalid as e:
        sys.exit(str(e))
