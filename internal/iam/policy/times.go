package policy

import (
	"slices"
	"strconv"
	"strings"
	"time"
)

// timeKeys are the keys that depend on the time of a request. Simulations set
// aws:TokenIssueTime to that time, too.
func timeKeys() []string { return []string{"aws:currenttime", "aws:epochtime", "aws:tokenissuetime"} }

// Times returns the whole seconds, within a period, at which a decision of the set can change as
// time passes, sorted: those named by conditions on the time, the seconds after them, and the
// bounds of recurring times. exact is false if policies also use the time as text, as a variable or
// with a string operator: then decisions can also change at other times.
func (s *Set) Times(from, to time.Time) (at []time.Time, exact bool) {
	first, last := from.Unix(), to.Unix()
	seconds, exact := []int64{}, true
	for _, sc := range append(slices.Clone(s.scp), s.resource, s.trust, s.identity, s.boundary, s.session) {
		if sc == nil {
			continue
		}
		for _, d := range sc.docs {
			if d.Err() != nil {
				continue // it always denies everything
			}
			for _, st := range d.statements {
				exact = exact && !variesByText(st.resources)
				for _, c := range st.conditions {
					if c.recurs != nil {
						seconds = append(seconds, c.changes(first, last)...)
						continue
					}
					named, ok := c.seconds()
					seconds = append(seconds, named...)
					exact = exact && ok && !variesByText(c.patterns)
				}
			}
		}
	}
	slices.Sort(seconds)
	for _, sec := range slices.Compact(seconds) {
		if first <= sec && sec <= last {
			at = append(at, time.Unix(sec, 0).UTC())
		}
	}
	return at, exact
}

// variesByText reports whether patterns contain the time as a variable.
func variesByText(patterns []pattern) bool {
	return slices.ContainsFunc(patterns, func(p pattern) bool {
		return slices.ContainsFunc(
			p.toks,
			func(t token) bool { return t.kind == tokVar && slices.Contains(timeKeys(), t.key) },
		)
	})
}

// seconds returns when the result of a condition can change; ok is false if it can also change at
// other times.
func (c *condition) seconds() (at []int64, ok bool) {
	if !slices.Contains(timeKeys(), c.key) {
		return nil, true
	}
	switch c.cmp {
	case cmpDate:
		for _, t := range c.instants {
			at = append(at, t.sec, t.sec+1)
		}
	case cmpNumeric:
		for _, text := range c.raw {
			if sec, found := floor(text); found {
				at = append(at, sec, sec+1)
			}
		}
	case cmpString, cmpFold, cmpLike, cmpARN, cmpBinary:
		return nil, false
	case cmpBool, cmpAddress, cmpNull: // a time never matches these
	}
	return at, true
}

// floor rounds a decimal number down to whole seconds.
func floor(text string) (int64, bool) {
	if _, ok := parseDecimal(text); !ok {
		return 0, false
	}
	f, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
	const most = 1 << 40
	if err != nil || f > most || f < -most {
		return 0, false
	}
	sec := int64(f)
	if float64(sec) > f {
		sec--
	}
	return sec, true
}
