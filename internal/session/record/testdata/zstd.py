"""Zstandard decompression, RFC 8878, without dictionaries."""


class Error(Exception):
    pass


class Backward:
    """Reads bits from the end of a stream to its beginning."""

    def __init__(self, data):
        if not data or not data[-1]:
            raise Error("a bit stream has no end mark")
        self.value = int.from_bytes(data, "little")
        self.left = self.value.bit_length() - 1

    def read(self, n):
        self.left -= n
        if self.left >= 0:
            return self.value >> self.left & ((1 << n) - 1)
        return self.value << -self.left & ((1 << n) - 1)  # zeros before the beginning


def read_fse(data, at, max_accuracy):
    """Reads a description of an FSE table. Returns accuracy, probabilities and where it ends."""
    value = int.from_bytes(data[at:at + 512], "little")
    bits = 0

    def take(n):
        nonlocal bits
        bits += n
        return value >> (bits - n) & ((1 << n) - 1)

    accuracy = take(4) + 5
    if accuracy > max_accuracy:
        raise Error("an FSE table is too large")
    remaining, probabilities = 1 << accuracy, []
    while remaining > 0:
        n = (remaining + 1).bit_length()
        low, threshold = (1 << (n - 1)) - 1, (1 << n) - 1 - (remaining + 1)
        v = take(n - 1)
        if v >= threshold:
            v += take(1) << (n - 1)
            if v > low:
                v -= threshold
        p = v - 1
        remaining -= abs(p)
        probabilities.append(p)
        if p == 0:
            while True:
                repeat = take(2)
                probabilities += [0] * repeat
                if repeat < 3:
                    break
    if remaining < 0:
        raise Error("an FSE table is invalid")
    return accuracy, probabilities, at + (bits + 7) // 8


def fse_table(accuracy, probabilities):
    """Returns symbol, number of bits and baseline of each state."""
    size = 1 << accuracy
    symbols, high = [0] * size, size
    for s, p in enumerate(probabilities):
        if p == -1:
            high -= 1
            symbols[high] = s
    at, step = 0, (size >> 1) + (size >> 3) + 3
    for s, p in enumerate(probabilities):
        for _ in range(max(p, 0)):
            symbols[at] = s
            at = (at + step) % size
            while at >= high:
                at = (at + step) % size
    following = [1 if p == -1 else p for p in probabilities]
    table = []
    for s in symbols:
        n = following[s]
        following[s] += 1
        bits = accuracy - (n.bit_length() - 1)
        table.append((s, bits, (n << bits) - size))
    return accuracy, table


class State:
    def __init__(self, table, stream):
        accuracy, self.table = table
        self.stream = stream
        self.state = stream.read(accuracy)

    def symbol(self):
        return self.table[self.state][0]

    def next(self):
        _, bits, base = self.table[self.state]
        self.state = base + self.stream.read(bits)


def read_huffman(data, at):
    """Returns a table from codes of the greatest length to symbol and length, and where it ends."""
    head = data[at]
    at += 1
    weights = []
    if head >= 128:
        for i in range(head - 127):
            b = data[at + i // 2]
            weights.append(b >> 4 if i % 2 == 0 else b & 15)
        at += (head - 126) // 2
    else:
        accuracy, probabilities, begin = read_fse(data, at, 6)
        stream = Backward(data[begin:at + head])
        table = fse_table(accuracy, probabilities)
        states = [State(table, stream), State(table, stream)]
        i = 0
        while True:
            s = states[i % 2]
            weights.append(s.symbol())
            s.next()
            i += 1
            if stream.left < 0:
                weights.append(states[i % 2].symbol())
                break
        at += head
    total = sum(1 << w >> 1 for w in weights)
    longest = total.bit_length()
    last = (1 << longest) - total
    if not total or last & (last - 1):
        raise Error("a Huffman table is invalid")
    weights.append(last.bit_length())
    table = []
    for weight in range(1, longest + 1):
        for symbol, w in enumerate(weights):
            if w == weight:
                table += [(symbol, longest + 1 - weight)] * (1 << weight >> 1)
    return (longest, table), at


def decode_huffman(huffman, data, size):
    longest, table = huffman
    stream = Backward(data)
    out = bytearray()
    code = stream.read(longest)
    mask = (1 << longest) - 1
    while len(out) < size:
        symbol, bits = table[code]
        out.append(symbol)
        code = code << bits & mask | stream.read(bits)
    if stream.left != -longest:
        raise Error("literals have another size")
    return bytes(out)


LENGTH_CODES = [(i, 0) for i in range(16)] + [
    (16, 1), (18, 1), (20, 1), (22, 1), (24, 2), (28, 2), (32, 3), (40, 3), (48, 4), (64, 6), (128, 7), (256, 8),
    (512, 9), (1024, 10), (2048, 11), (4096, 12), (8192, 13), (16384, 14), (32768, 15), (65536, 16)]
MATCH_CODES = [(i + 3, 0) for i in range(32)] + [
    (35, 1), (37, 1), (39, 1), (41, 1), (43, 2), (47, 2), (51, 3), (59, 3), (67, 4), (83, 4), (99, 5), (131, 7),
    (259, 8), (515, 9), (1027, 10), (2051, 11), (4099, 12), (8195, 13), (16387, 14), (32771, 15), (65539, 16)]
LENGTH_DEFAULT = fse_table(6, [4, 3, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 2, 3, 2, 1, 1, 1, 1,
                               1, -1, -1, -1, -1])
MATCH_DEFAULT = fse_table(6, [1, 4, 3, 2, 2, 2, 2, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
                              1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, -1, -1, -1, -1, -1, -1, -1])
OFFSET_DEFAULT = fse_table(5, [1, 1, 1, 1, 1, 1, 2, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, -1, -1, -1, -1, -1])


class Frame:
    def __init__(self):
        self.out = bytearray()
        self.huffman = None
        self.tables = [None, None, None]
        self.repeats = [1, 4, 8]

    def literals(self, b):
        kind, form = b[0] & 3, b[0] >> 2 & 3
        if kind < 2:
            if form in (0, 2):
                size, at = b[0] >> 3, 1
            elif form == 1:
                size, at = int.from_bytes(b[:2], "little") >> 4, 2
            else:
                size, at = int.from_bytes(b[:3], "little") >> 4, 3
            if kind == 0:
                return b[at:at + size], at + size
            return b[at:at + 1] * size, at + 1
        bits, at = [(10, 3), (10, 3), (14, 4), (18, 5)][form]
        head = int.from_bytes(b[:at], "little") >> 4
        size, packed = head & ((1 << bits) - 1), head >> bits
        end = at + packed
        if kind == 2:
            self.huffman, at = read_huffman(b, at)
        if self.huffman is None:
            raise Error("a Huffman table is missing")
        if form == 0:
            return decode_huffman(self.huffman, b[at:end], size), end
        sizes = [int.from_bytes(b[at + i:at + i + 2], "little") for i in (0, 2, 4)]
        at += 6
        part, out = (size + 3) // 4, b""
        for i in range(4):
            stop = at + sizes[i] if i < 3 else end
            out += decode_huffman(self.huffman, b[at:stop], part if i < 3 else size - 3 * part)
            at = stop
        return out, end

    def table(self, which, mode, b, at, default, accuracy):
        if mode == 0:
            self.tables[which] = default
        elif mode == 1:
            self.tables[which] = (0, [(b[at], 0, 0)])
            at += 1
        elif mode == 2:
            got, probabilities, at = read_fse(b, at, accuracy)
            self.tables[which] = fse_table(got, probabilities)
        return at

    def block(self, b):
        literals, at = self.literals(b)
        count = b[at]
        at += 1
        if count >= 255:
            count, at = b[at] + (b[at + 1] << 8) + 0x7F00, at + 2
        elif count >= 128:
            count, at = (count - 128 << 8) + b[at], at + 1
        if count == 0:
            self.out += literals
            return
        modes, at = b[at], at + 1
        at = self.table(0, modes >> 6, b, at, LENGTH_DEFAULT, 9)
        at = self.table(1, modes >> 4 & 3, b, at, OFFSET_DEFAULT, 8)
        at = self.table(2, modes >> 2 & 3, b, at, MATCH_DEFAULT, 9)
        stream = Backward(b[at:])
        lengths, offsets, matches = (State(t, stream) for t in self.tables)
        done = 0
        for i in range(count):
            code = offsets.symbol()
            offset = (1 << code) + stream.read(code)
            base, bits = MATCH_CODES[matches.symbol()]
            match = base + stream.read(bits)
            base, bits = LENGTH_CODES[lengths.symbol()]
            length = base + stream.read(bits)
            offset = self.offset(offset, length)
            if i < count - 1:
                lengths.next()
                matches.next()
                offsets.next()
            self.out += literals[done:done + length]
            done += length
            if not 0 < offset <= len(self.out):
                raise Error("an offset is out of range")
            for _ in range(match):
                self.out.append(self.out[-offset])
        if stream.left != 0:
            raise Error("sequences have another size")
        self.out += literals[done:]

    def offset(self, value, length):
        r = self.repeats
        if value > 3:
            self.repeats = [value - 3, r[0], r[1]]
        else:
            i = value - 1 + (length == 0)
            if i == 0:
                return r[0]
            offset = r[0] - 1 if i == 3 else r[i]
            self.repeats = [offset, r[0], r[1] if i > 1 else r[2]]
        return self.repeats[0]


def decompress(b, size):
    """Decompresses one frame to exactly size bytes."""
    if b[:4] != b"\x28\xb5\x2f\xfd":
        raise Error("not a frame")
    descriptor, at = b[4], 5
    single = descriptor >> 5 & 1
    at += 1 - single  # the window is as large as the frame
    if descriptor & 3:
        raise Error("a dictionary is needed")
    at += (single, 2, 4, 8)[descriptor >> 6]
    frame, last = Frame(), 0
    while not last:
        head = int.from_bytes(b[at:at + 3], "little")
        at += 3
        last, kind, n = head & 1, head >> 1 & 3, head >> 3
        if kind == 0:
            frame.out += b[at:at + n]
        elif kind == 1:
            frame.out += b[at:at + 1] * n
            n = 1
        elif kind == 2:
            frame.block(b[at:at + n])
        else:
            raise Error("a block of unknown kind")
        at += n
        if len(frame.out) > size:
            raise Error("the frame is too long")
    at += 4 * (descriptor >> 2 & 1)  # the checksum is not needed: the block is authenticated
    if at != len(b) or len(frame.out) != size:
        raise Error("the frame has another size")
    return bytes(frame.out)
