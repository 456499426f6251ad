package policy

import (
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// relation is the order that an operator requires of request and policy value.
type relation uint8

const (
	relEqual relation = iota
	relLess
	relLessEqual
	relGreater
	relGreaterEqual
)

// holds reports whether the relation accepts the result of a three-way
// comparison of request and policy value.
func (rel relation) holds(c int) bool {
	switch rel {
	case relLess:
		return c < 0
	case relLessEqual:
		return c <= 0
	case relGreater:
		return c > 0
	case relGreaterEqual:
		return c >= 0
	case relEqual:
	}
	return c == 0
}

// decimal is an exact decimal number: ±0.(whole)(frac) × 10^point. It refers to the parsed text, so
// that parsing does not allocate.
type decimal struct {
	neg         bool
	zero        bool
	whole, frac string
	point       int
}

const maxExponent = 1 << 20

func parseDecimal(s string) (decimal, bool) {
	var d decimal
	if s != "" && (s[0] == '-' || s[0] == '+') {
		d.neg = s[0] == '-'
		s = s[1:]
	}
	exp := 0
	if i := strings.IndexAny(s, "eE"); i >= 0 {
		n, err := strconv.Atoi(s[i+1:])
		if err != nil || n > maxExponent || n < -maxExponent {
			return d, false
		}
		exp, s = n, s[:i]
	}
	whole, frac, _ := strings.Cut(s, ".")
	if len(whole)+len(frac) == 0 || !allDigits(whole) || !allDigits(frac) {
		return d, false
	}
	whole = strings.TrimLeft(whole, "0")
	frac = strings.TrimRight(frac, "0")
	d.point = len(whole) + exp
	if whole == "" {
		n := len(frac)
		frac = strings.TrimLeft(frac, "0")
		d.point -= n - len(frac)
	}
	d.whole, d.frac = whole, frac
	if whole == "" && frac == "" {
		d = decimal{zero: true}
	}
	return d, true
}

// parseSmallInteger parses most whole numbers, faster than parseDecimal.
func parseSmallInteger(s string) (n int64, ok bool) {
	const maxDigits = 18
	if s == "" || len(s) > maxDigits {
		return 0, false
	}
	for i := 0; i < len(s); i++ {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
		n = n*10 + int64(s[i]-'0')
	}
	return n, true
}

func (d *decimal) digit(i int) byte {
	if i < len(d.whole) {
		return d.whole[i]
	}
	if i -= len(d.whole); i < len(d.frac) {
		return d.frac[i]
	}
	return '0'
}

func (d *decimal) sign() int {
	switch {
	case d.zero:
		return 0
	case d.neg:
		return -1
	}
	return 1
}

func (d *decimal) compare(e *decimal) int {
	s := d.sign()
	if t := e.sign(); s != t {
		return cmpInt(s, t)
	}
	if d.point != e.point {
		return s * cmpInt(d.point, e.point)
	}
	for i := range max(len(d.whole)+len(d.frac), len(e.whole)+len(e.frac)) {
		if a, b := d.digit(i), e.digit(i); a != b {
			return s * cmpInt(int(a), int(b))
		}
	}
	return 0
}

func cmpInt[T int | int64](a, b T) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

func allDigits(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}

// instant is a point in time with as many digits of a second as were written.
type instant struct {
	sec  int64
	frac string
}

func (a instant) compare(b instant) int {
	switch {
	case a.sec < b.sec:
		return -1
	case a.sec > b.sec:
		return 1
	}
	// Fractional digits without trailing zeros sort like strings.
	return strings.Compare(a.frac, b.frac)
}

func (a instant) String() string {
	s := time.Unix(a.sec, 0).UTC().Format("2006-01-02T15:04:05")
	if a.frac != "" {
		s += "." + a.frac
	}
	return s + "Z"
}

// parseInstant parses the W3C subset of ISO 8601, or epoch seconds. Plain digits are always
// seconds: "2020" is not a year.
func parseInstant(s string) (instant, bool) {
	if digits := strings.TrimPrefix(s, "-"); digits != "" && allDigits(digits) {
		n, err := strconv.ParseInt(s, 10, 64)
		return instant{sec: n}, err == nil
	}
	r := dateReader{rest: s, ok: true}
	year := r.digits(4)
	r.skip('-', '-')
	month, day, hour, minute, second := r.digits(2), 1, 0, 0, 0
	var in instant
	offset := 0
	if r.ok && r.rest != "" {
		r.skip('-', '-')
		day = r.digits(2)
	}
	if r.ok && r.rest != "" {
		r.skip('T', 't')
		hour = r.digits(2)
		r.skip(':', ':')
		minute = r.digits(2)
		if r.peek(':') {
			r.skip(':', ':')
			second = r.digits(2)
			if r.peek('.') {
				r.skip('.', '.')
				in.frac = strings.TrimRight(r.fraction(), "0")
			}
		}
		offset = r.zone()
	}
	if !r.ok || r.rest != "" ||
		month < 1 || month > 12 || day < 1 || hour > 23 || minute > 59 || second > 59 {
		return instant{}, false
	}
	t := time.Date(year, time.Month(month), day, hour, minute, second, 0, time.UTC)
	if t.Day() != day {
		return instant{}, false // the month has no such day
	}
	in.sec = t.Unix() - int64(offset)
	return in, true
}

type dateReader struct {
	rest string
	ok   bool
}

func (r *dateReader) peek(c byte) bool { return r.ok && r.rest != "" && r.rest[0] == c }

func (r *dateReader) skip(a, b byte) {
	if r.ok = r.peek(a) || r.peek(b); r.ok {
		r.rest = r.rest[1:]
	}
}

func (r *dateReader) digits(n int) int {
	if r.ok = r.ok && len(r.rest) >= n && allDigits(r.rest[:n]); !r.ok {
		return 0
	}
	v := 0
	for _, c := range []byte(r.rest[:n]) {
		v = v*10 + int(c-'0')
	}
	r.rest = r.rest[n:]
	return v
}

func (r *dateReader) fraction() string {
	n := 0
	for n < len(r.rest) && r.rest[n] >= '0' && r.rest[n] <= '9' {
		n++
	}
	r.ok = r.ok && n > 0
	f := r.rest[:n]
	r.rest = r.rest[n:]
	return f
}

// zone parses Z, ±hh:mm or nothing, which means UTC, and returns seconds east of UTC.
func (r *dateReader) zone() int {
	sign := 1
	switch {
	case !r.ok || r.rest == "":
		return 0
	case r.peek('Z') || r.peek('z'):
		r.rest = r.rest[1:]
		return 0
	case r.peek('-'):
		sign = -1
		fallthrough
	case r.peek('+'):
		r.rest = r.rest[1:]
		h := r.digits(2)
		r.skip(':', ':')
		m := r.digits(2)
		r.ok = r.ok && h < 24 && m < 60
		return sign * (h*3600 + m*60)
	}
	r.ok = false
	return 0
}

// parseNet parses an IP address or a CIDR range; it ignores host bits.
func parseNet(s string) (netip.Prefix, bool) {
	if strings.IndexByte(s, '/') < 0 {
		a, ok := parseAddr(s)
		if !ok {
			return netip.Prefix{}, false
		}
		return netip.PrefixFrom(a, a.BitLen()), true
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return p, false
	}
	if a := p.Addr(); a.Is4In6() && p.Bits() >= 96 {
		p = netip.PrefixFrom(a.Unmap(), p.Bits()-96)
	}
	return p.Masked(), true
}

func parseAddr(s string) (netip.Addr, bool) {
	// The zone of a link-local peer names an interface, not the peer.
	if i := strings.IndexByte(s, '%'); i >= 0 {
		s = s[:i]
	}
	a, err := netip.ParseAddr(s)
	return a.Unmap(), err == nil
}
