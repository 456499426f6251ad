package awsproto

import (
	"errors"
	"math/big"
	"strconv"
	"strings"
	"time"
)

// Epoch is a time on the wire: in JSON a number of seconds since 1970 with up to three
// decimals, in XML and queries an ISO 8601 string. It reads both forms. Tag optional fields
// with omitzero.
type Epoch struct{ time.Time }

const isoFormat = "2006-01-02T15:04:05.999Z"

// The range of years of an Epoch. Every time within it can be written in both forms.
var (
	minEpoch = time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC).Unix()
	maxEpoch = time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC).Unix()
)

// NewEpoch returns t for the wire; the zero time stays zero.
func NewEpoch(t time.Time) Epoch { return Epoch{t} }

// MarshalJSON returns the seconds since 1970, to the millisecond.
func (e Epoch) MarshalJSON() ([]byte, error) {
	ms := e.UnixMilli()
	b := []byte{}
	if ms < 0 {
		b, ms = append(b, '-'), -ms
	}
	b = strconv.AppendInt(b, ms/1000, 10)
	if frac := ms % 1000; frac != 0 {
		b = append(b, strings.TrimRight("."+strconv.FormatInt(1000+frac, 10)[1:], "0")...)
	}
	return b, nil
}

// UnmarshalJSON accepts a number of seconds or an ISO 8601 string.
func (e *Epoch) UnmarshalJSON(b []byte) error {
	s := string(b)
	if s == "null" {
		return nil
	}
	if unquoted, ok := strings.CutPrefix(s, `"`); ok {
		return e.UnmarshalText([]byte(strings.TrimSuffix(unquoted, `"`)))
	}
	// Long exponents would make big.Rat work for minutes.
	if len(s) > 32 || strings.ContainsAny(s, "eE") && !shortExponent(s) {
		return errors.New("timestamp out of range")
	}
	r, ok := new(big.Rat).SetString(s)
	if !ok {
		return errors.New("not a timestamp")
	}
	ms := r.Mul(r, big.NewRat(1000, 1))
	n := new(big.Int).Div(ms.Num(), ms.Denom())
	if !n.IsInt64() || n.Int64() < minEpoch*1000 || n.Int64() > maxEpoch*1000 {
		return errors.New("timestamp out of range")
	}
	e.Time = time.UnixMilli(n.Int64()).UTC()
	return nil
}

func shortExponent(s string) bool {
	_, exp, _ := strings.Cut(strings.ToLower(s), "e")
	n, err := strconv.Atoi(exp)
	return err == nil && -30 <= n && n <= 30
}

// MarshalText returns the ISO 8601 form, in UTC.
func (e Epoch) MarshalText() ([]byte, error) {
	return []byte(e.UTC().Format(isoFormat)), nil
}

// UnmarshalText accepts ISO 8601 with or without a time of day, and a number
// of seconds.
func (e *Epoch) UnmarshalText(b []byte) error {
	s := string(b)
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05", "2006-01-02"} {
		if t, err := time.Parse(layout, s); err == nil {
			if t.Unix() < minEpoch || t.Unix() > maxEpoch {
				return errors.New("timestamp out of range")
			}
			e.Time = t.UTC()
			return nil
		}
	}
	if s == "" || strings.HasPrefix(s, `"`) || s == "null" || strings.Contains(s, "/") {
		return errors.New("not a timestamp")
	}
	return e.UnmarshalJSON(b)
}
